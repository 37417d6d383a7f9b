"""The exceptions that Firesteel raises on purpose.

::

    FiresteelError
    ├── ConfigError (ValueError)       a wrong option or argument; the command line exits with 2
    ├── DataError (ValueError)         data that cannot be used
    │   ├── FormatError                bytes that are not what their format demands (one record; quarantined by prepare)
    │   └── DatasetError               a prepared dataset that is missing, incomplete or does not fit
    ├── RunError                       a run directory or model folder that is missing, occupied or does not fit
    ├── CheckpointError                a checkpoint that is missing, damaged, or of another network
    ├── ModelError                     a model factory that cannot be found, is not allowed, or raises
    ├── StorageError (OSError)         a place that cannot be read or written
    ├── ResourceError                  no Java, no GPU, a package that is missing
    │   └── TooFewSlots                fewer task slots than workers
    └── WorkerFailed                   a worker raised, was killed or lost its peers; names rank, host and step

Each message says what is wrong, what was given, what is allowed and what to do, in one to four lines.
"""

from __future__ import annotations


class FiresteelError(Exception):
    """Base of all errors that Firesteel raises on purpose.

    Attributes:
        worker_traceback: the Python traceback of the worker that raised it, as text; None if it was raised here.
    """

    worker_traceback: str | None = None


class ConfigError(FiresteelError, ValueError):
    """An option or argument that is wrong by itself or does not go with another."""


class DataError(FiresteelError, ValueError):
    """Data that cannot be used."""


class FormatError(DataError):
    """Bytes that are not what their format demands."""


class DatasetError(DataError):
    """A prepared dataset that is missing, incomplete, or does not fit what is asked of it."""


class RunError(FiresteelError):
    """A run directory or model folder that is missing, occupied, or does not fit."""


class CheckpointError(FiresteelError):
    """A checkpoint that is missing, damaged, or of another network."""


class ModelError(FiresteelError):
    """A model factory that cannot be found, is not allowed, or raises."""


class StorageError(FiresteelError, OSError):
    """A place on storage that cannot be read or written."""


class ResourceError(FiresteelError):
    """Something the machine or the cluster lacks: task slots, Java, a GPU, a package."""


class TooFewSlots(ResourceError):
    """The cluster has fewer task slots than workers are wanted at the same time."""


class WorkerFailed(FiresteelError):
    """A worker raised, was killed, or lost its peers.

    Attributes:
        rank: the worker that failed first, or None when only the launcher knows that one is gone.
        cause: type and message of what its code raised; None for a worker that was lost.
        step: optimizer steps that it had made; None if it is not known.
    """

    def __init__(
        self,
        message: str,
        *,
        rank: int | None = None,
        worker_traceback: str | None = None,
        cause: str | None = None,
        step: int | None = None,
    ):
        super().__init__(message)
        self.rank, self.cause, self.step = rank, cause, step
        self.worker_traceback = worker_traceback
