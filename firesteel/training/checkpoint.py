"""Checkpoints on storage: written aside by each worker, made visible by one small file.

::

    RUN/checkpoints/step-00001300/
        worker-00000.safetensors     state of worker 0 (see firesteel.training.state); values as JSON in its header
        worker-00001.safetensors     of worker 1: what differs from worker 0
        complete.json                written last, by worker 0, when all files are there: it is the commit
    RUN/latest                       name of the newest one, for people; readers look at the folders themselves

Training stops only while the state is copied in memory; a thread writes the copy. Old checkpoints go when a newer one is
complete: there is never a moment without a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from firesteel.errors import CheckpointError, FiresteelError
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.training.state import WorkerState  # imports torch, which a driver need not

CHECKPOINTS_FOLDER = "checkpoints"
COMPLETE_NAME = "complete.json"
LATEST_NAME = "latest"
FORMAT_VERSION = 1


class CheckpointInfo(BaseModel):
    """What ``complete.json`` holds.

    Attributes:
        format_version: of the checkpoint.
        number: 1 for the first checkpoint of the run, and so on.
        step: optimizer steps made.
        epoch: that the next step belongs to, from 0.
        step_in_epoch: steps of it that were made.
        workers: that wrote it.
        files: name -> bytes.
        seconds: of training so far.
        reason: why it was written.
        written: seconds since 1970.
        versions: of what wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    number: int
    step: int
    epoch: int
    step_in_epoch: int
    workers: int
    files: dict[str, int]
    seconds: float
    reason: str
    written: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on storage."""

    place: Place
    info: CheckpointInfo

    @property
    def name(self) -> str:
        return self.place.name

    def state_of(self, rank: int) -> WorkerState:
        """The state of one of the workers that wrote it; where it was worker 0's, that is in it.

        Raises:
            CheckpointError: if a file is damaged.
        """
        first = self._read(0)
        if rank == 0:
            return first
        own = self._read(rank)
        own.tensors = {
            name: tensor for name, tensor in first.tensors.items() if name.startswith(("model/", "optimizer/"))
        } | own.tensors
        return own

    def common_state(self) -> WorkerState:
        """The one model that the workers had together at that moment, for any number of workers.

        Parameters, floating buffers and moments of the optimizer are the mean over the workers, weighted by the rows that
        each had seen since their last exchange. Of worker 0 are integers, clocks and what the update keeps; of nobody the
        random states and what the strategy kept for each worker.
        """
        import torch

        from firesteel.training.state import WorkerState

        states = [self.state_of(rank) for rank in range(self.info.workers)]
        first = states[0]
        weights = [state.values["weight"] for state in states]
        common = WorkerState(values={k: v for k, v in first.values.items() if k not in ("sync", "random")})
        for name, tensor in first.tensors.items():
            if not name.startswith(("model/", "optimizer/")):
                continue
            parts = [state.tensors[name] for state in states]
            if tensor.is_floating_point() and any(
                part is not tensor and not torch.equal(part, tensor) for part in parts
            ):
                total = sum(weight * part.double() for weight, part in zip(weights, parts))
                common.tensors[name] = torch.as_tensor(total).to(tensor.dtype)
            else:
                common.tensors[name] = tensor
        return common

    def values_of_all(self) -> list[dict[str, Any]]:
        """The JSON values of every worker."""
        return [self._read(rank).values for rank in range(self.info.workers)]

    def _read(self, rank: int) -> WorkerState:
        from safetensors import SafetensorError
        from safetensors.torch import load

        from firesteel.training.state import WorkerState

        path = self.place / file_name(rank)
        data = path.read_bytes()
        try:
            if len(data) != self.info.files[path.name]:
                raise ValueError(f"it has {len(data)} bytes, not {self.info.files[path.name]}")
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return WorkerState(tensors, json.loads(header["__metadata__"]["values"]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged: {error}. An older checkpoint may be whole.") from error


def checkpoints_of(run: Place) -> list[Checkpoint]:
    """All whole checkpoints of a run, the oldest first."""
    folder = run / CHECKPOINTS_FOLDER
    if not folder.exists():
        return []
    found = [checkpoint_at(folder / name) for name in folder.folders()]
    return sorted((each for each in found if each is not None), key=lambda checkpoint: checkpoint.info.step)


def find_checkpoint(run: Place, which: str = "latest") -> Checkpoint | None:
    """A checkpoint of a run by step number, or the newest whose files are all there.

    Args:
        run: its directory.
        which: ``latest``, or a step.

    Raises:
        CheckpointError: if there is none of that step.
    """
    found = checkpoints_of(run)
    if which == "latest":
        whole = (each for each in reversed(found) if all(_is_there(each, name) for name in each.info.files))
        return next(whole, None)
    for checkpoint in found:
        if which.isdecimal() and checkpoint.info.step == int(which):
            return checkpoint
    steps = ", ".join(str(each.info.step) for each in found) or "none"
    raise CheckpointError(f"{run} has no checkpoint of step {which}. It has: {steps}.")


def checkpoint_at(place: Place) -> Checkpoint | None:
    """The whole checkpoint in a folder, if there is one."""
    path = place / COMPLETE_NAME
    return Checkpoint(place, _read_info(path)) if path.exists() else None


def _is_there(checkpoint: Checkpoint, name: str) -> bool:
    try:
        return (checkpoint.place / name).size() == checkpoint.info.files[name]
    except FiresteelError:
        return False


def _read_info(path: Place) -> CheckpointInfo:
    try:
        return CheckpointInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is not readable by this version: {str(error).splitlines()[0]}") from error


def file_name(rank: int) -> str:
    """Of the state of a worker."""
    return f"worker-{rank:05d}.safetensors"


def folder_name(step: int) -> str:
    """Of the checkpoint after so many steps."""
    return f"step-{step:08d}"


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay.

    Attributes:
        last: so many of the newest.
        every: of all others each N-th, counted from the first of the run; None keeps none of them.
    """

    last: int = 2
    every: int | None = None

    def superfluous(self, found: list[Checkpoint]) -> Iterator[Checkpoint]:
        """Those of all whole checkpoints, the oldest first, that need not stay."""
        for checkpoint in found[: -self.last]:
            if self.every is None or checkpoint.info.number % self.every:
                yield checkpoint
