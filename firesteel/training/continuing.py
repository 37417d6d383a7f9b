"""A run that goes on: what may be changed of its job, and what it can begin with."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError, RunError
from firesteel.models.description import DESCRIPTION_NAME, find_model_folder
from firesteel.models.registry import resolve_model
from firesteel.monitoring.events import read_events
from firesteel.storage import Place
from firesteel.sync import check_sync
from firesteel.training.checkpoint import Checkpoint, find_checkpoint
from firesteel.training.job import TrainJob, checked
from firesteel.training.resolving import Training, check_job, evaluation_of, several, workers_of
from firesteel.training.run import RunDirectory
from firesteel.training.stop_specs import resolve_stopping

FIXED = {
    "dataset": "its rows", "prepare": "its rows", "fingerprint": "its rows", "split": "its rows", "input_shape": "its rows",
    "num_classes": "its rows", "model": "its weights", "batch_size": "the rows of a step", "lanes": "the rows of a step",
    "seed": "the order of its rows", "sampling": "the order of its rows", "normalize": "what its weights were made for", "init": "how its weights began", "init_from": "how its weights began",
    "pretrained": "how its weights began", "completes": "its weights", "freeze_until": "what its optimizer has kept", "train_only": "what its optimizer has kept",
    "sync": "what its workers have kept", "optimizer": "what its optimizer has kept",
}  # fmt: skip
"""Options that a run keeps for good -> what they decide."""


def resume_training(
    directory: RunDirectory,
    dataset: Dataset,
    model: Any,
    workers: int | str | None,
    sync: str | None,
    options: Mapping[str, Any],
) -> Training:
    """What goes on in a run directory.

    Args:
        directory: of the run.
        dataset: that was given now.
        model: that was given now, or None.
        workers: that were given now, or None. The rows of a step stay those of the job's own number.
        sync: that was given now, or None.
        options: of the job that were given now.

    Raises:
        RunError: if the run is finished, has nothing to go on from, or is still being trained.
        ConfigError: if something is changed that a run keeps.
    """
    before = directory.job()
    _refuse_if_led(directory)
    check_same_dataset(before, dataset)
    changes = dict(options)
    if sync is not None:
        changes["sync"] = check_sync(sync, before.workers)
    if model is not None:
        changes["model"] = resolve_model(model).spec
    least, most = (before.min_workers, before.workers) if workers is None else workers_of(workers)
    if workers is not None:
        changes["min_workers"] = least if least is not None and least < most else None
    stopping = resolve_stopping(several(changes.get("stop", before.stop)), changes.get("score", before.score))
    changes |= {"stop": stopping.specs, "score": stopping.score.spec, "dataset": before.dataset}
    job, lines = continued_job(before, changes)
    if job.validation_split is None and (not job.evaluate_every.is_never or "score" in options):
        job = job.model_copy(update=evaluation_of(dataset, stopping, options))
    checkpoint = find_checkpoint(directory.place)
    if directory.has_model:
        _refuse_if_finished(directory, job, lines, checkpoint)
    if most != before.workers:
        lines.append(f"workers {before.workers} -> {most}, with the same {job.global_batch_size} rows a step")
    where = "the beginning: it has no checkpoint" if checkpoint is None else f"step {checkpoint.info.step:,}"
    notes = [f"going on from {where}", *lines, *check_job(job, dataset, stopping)]
    order = job.order(dataset)
    return Training(
        job, before.model if model is None else model, stopping, most, order.rows, order.steps_per_epoch,
        notes=notes, continued=True,
    )  # fmt: skip


def _refuse_if_led(directory: RunDirectory) -> None:
    from firesteel.monitoring.events import EventReader
    from firesteel.monitoring.progress import present_state
    from firesteel.monitoring.state import RunState

    state = present_state(EventReader(directory.place), RunState())
    ours = (socket.gethostname(), os.getpid())  # what this process has begun it has also ended
    if state.in_progress and state.driver is not None and state.driver[0] == ours[0] and state.driver != ours:
        raise RunError(
            f"{directory.place} is being trained by process {state.driver[1]} on this machine. Stop that one first,"
            f" or look at it: firesteel watch {directory.place}"
        )


def _refuse_if_finished(
    directory: RunDirectory, job: TrainJob, changes: list[str], checkpoint: Checkpoint | None
) -> None:
    if checkpoint is None:
        raise RunError(
            f"{directory.place} is finished and has kept no checkpoint to go on from.\n"
            "Start a new run with --init-from, which takes its weights."
        )
    done = checkpoint.info.epoch
    if done >= job.epochs:
        raise RunError(
            f"{directory.place} is finished: {done} of {job.epochs} epochs. --epochs {done + 5} would go on."
        )
    if not changes:
        finish: dict[str, Any] = next((e for e in reversed(read_events(directory.place)) if e["event"] == "finish"), {})
        raise RunError(
            f"{directory.place} is finished, after {done} of {job.epochs} epochs: {finish.get('stop')}.\n"
            "It goes on with another --stop, or another --epochs."
        )


def continued_job(before: TrainJob, changes: Mapping[str, Any]) -> tuple[TrainJob, list[str]]:
    """The job of a run that goes on.

    Args:
        before: as the run was started.
        changes: options that were given now.

    Returns:
        the job, and a line for each option that is another one now.

    Raises:
        ConfigError: if something is changed that a run keeps.
    """
    job: TrainJob = checked(TrainJob, before.model_dump() | dict(changes))
    lines = []
    for name in TrainJob.model_fields:
        old, new = getattr(before, name), getattr(job, name)
        if old == new:
            continue
        if name in FIXED:
            raise ConfigError(
                f"a run keeps its {name}, which decides {FIXED[name]}: it has {_shown(old)}, got {_shown(new)}.\n"
                f"Leave --{name.replace('_', '-')} out, or start a new run, with --init-from RUN to keep the weights."
            )
        lines.append(f"{name} {_shown(old)} -> {_shown(new)}")
    return job, lines


def check_same_dataset(job: TrainJob, dataset: Dataset) -> None:
    """Raises:
    RunError: if the run was trained on other rows."""
    if dataset.manifest.fingerprint != job.fingerprint:
        raise RunError(
            f"the run was trained on {job.dataset}, whose fingerprint is {job.fingerprint[:12]}; {dataset.place} has"
            f" {dataset.manifest.fingerprint[:12]}.\nGive the same dataset, or start a new run with --init-from."
        )


def initial_weights(where: str) -> Place:
    """The folder that ``--init-from RUN[@STEP]`` means: of a checkpoint or a model.

    Args:
        where: a run, whose model is taken, or if it has none its newest checkpoint; a run and a step; or a model folder.

    Raises:
        RunError: if there is neither.
        CheckpointError: if the run has no checkpoint of that step.
    """
    path, at, step = where.rpartition("@")
    if at and step.isdecimal():
        checkpoint = find_checkpoint(Place.of(path), step)
        assert checkpoint is not None
        return checkpoint.place
    place = Place.of(where)
    if not (place / "model" / DESCRIPTION_NAME).exists() and (newest := find_checkpoint(place)) is not None:
        return newest.place
    return find_model_folder(place)


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


__all__ = ["FIXED", "check_same_dataset", "continued_job", "initial_weights", "resume_training"]
