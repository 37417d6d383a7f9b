"""The run directory: what lies where, and who may write there."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any

from firesteel.data.manifest import Manifest
from firesteel.errors import RunError
from firesteel.monitoring.events import EVENTS_FOLDER, read_events
from firesteel.storage import Place
from firesteel.training.job import TrainJob

JOB_NAME = "job.json"
MODEL_FOLDER = "model"
REPLACED_FOLDER = "replaced"
"""Where a run that is being overwritten waits until the new one has its model."""

DATA_NAME = "data.json"
"""Of a run whose workers read the source: the manifest that a preparation of it would have written."""

QUARANTINE_FOLDER = "quarantine"
"""Of such a run: the records that could not be used."""

STOP_REQUEST_NAME = "stop-requested"
"""A file that asks the workers to keep a checkpoint and stop."""

_OURS = (
    JOB_NAME, EVENTS_FOLDER, MODEL_FOLDER, "checkpoints", "best", "latest", "report.html", "tensorboard",
    STOP_REQUEST_NAME, DATA_NAME, QUARANTINE_FOLDER,
)  # fmt: skip


@dataclass(frozen=True)
class RunDirectory:
    """One run on storage."""

    place: Place

    @classmethod
    def create(cls, where: str | os.PathLike[str] | Place, job: TrainJob, *, overwrite: bool = False) -> RunDirectory:
        """Claim a folder for a new run by writing its job.

        Raises:
            RunError: if something is there, and ``overwrite`` does not allow to replace it.
        """
        place = Place.of(where)
        run = cls(place)
        if (place / JOB_NAME).exists():
            if not overwrite:
                state = "a finished run" if run.has_model else "a run without a model"
                raise RunError(
                    f"{place} already holds {state}. Nothing was changed.\n"
                    "Choose another folder, or pass --resume to go on with it, or --overwrite to replace it."
                )
            run._set_aside()
        elif not place.is_empty_or_missing():
            raise RunError(
                f"{place} is not empty and holds no run. Nothing was changed. Choose an empty or new folder."
            )
        try:
            (place / JOB_NAME).write_text(job.model_dump_json(indent=1))
        except BaseException:  # a full disk must not leave a run set aside for one that never was
            if (place / REPLACED_FOLDER).exists():
                run.clear()
            raise
        return run

    @classmethod
    def open(cls, where: str | Place) -> RunDirectory:
        """An existing run.

        Raises:
            RunError: if there is none.
        """
        place = Place.of(where)
        if not (place / JOB_NAME).exists():
            raise RunError(f"there is no run at {place}: it has no {JOB_NAME}.")
        return cls(place)

    def job(self) -> TrainJob:
        """The job as it was started."""
        try:
            return TrainJob.model_validate(json.loads((self.place / JOB_NAME).read_text()))
        except ValueError as error:
            raise RunError(f"{self.place / JOB_NAME} is not a sound job: {str(error).splitlines()[0]}") from error

    def last_engine(self) -> tuple[Any, str | None]:
        """Engine and master that the run was started with last; (None, None) if it does not say."""
        launches = [event for event in read_events(self.place) if event["event"] == "launch"]
        return (launches[-1]["engine"], launches[-1]["master"]) if launches else (None, None)

    def change_job(self, job: TrainJob) -> None:
        """Go on with another job."""
        (self.place / JOB_NAME).write_text(job.model_dump_json(indent=1))

    def request_stop(self) -> None:
        """Ask the workers to keep a checkpoint and stop."""
        (self.place / STOP_REQUEST_NAME).write_text("")

    def forget_request(self) -> None:
        """Whatever was asked of an earlier start of this run is done."""
        (self.place / STOP_REQUEST_NAME).delete()

    @property
    def has_model(self) -> bool:
        """Whether the run has given its model."""
        return (self.model_folder / "model.json").exists()

    def manifest(self) -> Manifest | None:
        """Of what the workers have read from a source themselves; None of a run on a prepared dataset."""
        place = self.place / DATA_NAME
        return Manifest.model_validate_json(place.read_text()) if place.exists() else None

    def forget_replaced(self) -> None:
        """This run has its model: the one that it replaces goes."""
        (self.place / REPLACED_FOLDER).delete()

    def clear(self) -> None:
        """Remove what this run wrote, and nothing else; a run that it was to replace is there again."""
        for name in _OURS:
            (self.place / name).delete()
        replaced = self.place / REPLACED_FOLDER
        if replaced.exists():
            self._move_run(replaced, self.place)
            replaced.delete()
        elif self.place.is_local:
            with contextlib.suppress(OSError):  # something else lies there
                os.rmdir(self.place.uri)

    def _set_aside(self) -> None:
        """Keep the run that lies here until a new one has its model.

        A run without a model is not worth that, if one with a model is kept already.
        """
        replaced = self.place / REPLACED_FOLDER
        if replaced.exists() and not self.has_model:
            for name in _OURS:
                (self.place / name).delete()
            return
        replaced.delete()
        self._move_run(self.place, replaced)

    @staticmethod
    def _move_run(source: Place, target: Place) -> None:
        for name in reversed(_OURS):  # the job last: it makes the folder a run
            if (source / name).exists():
                (source / name).move(target / name)

    @property
    def model_folder(self) -> Place:
        return self.place / MODEL_FOLDER
