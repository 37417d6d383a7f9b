"""The driver's side of a training run: resolve and check the job, start the workers, add up what they bring back."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError, FiresteelError, WorkerFailed
from firesteel.launch import Question
from firesteel.models.registry import ZOO, resolve_model, travelling_source
from firesteel.monitoring.events import LAUNCHER, EventWriter, read_events
from firesteel.monitoring.state import RunState
from firesteel.specs import Spec
from firesteel.storage import Place
from firesteel.sync import check_sync
from firesteel.training.job import TrainJob, TrainPayload, checked
from firesteel.training.run import RunDirectory
from firesteel.training.schedules import Timing
from firesteel.training.settings import check_settings

if TYPE_CHECKING:
    from firesteel.runtime import Runtime, Watch

# By name: the driver of a network of the zoo then needs no torch, which takes a second to import.
TRAIN_WORKER = "firesteel.training.worker:train_worker"
TRY_JOB = "firesteel.training.trial:try_job"


@dataclass(frozen=True)
class TrainResult:
    """How a training run ended.

    Attributes:
        run: its directory.
        epochs: passes made.
        steps: optimizer steps of each worker.
        rows: trained on by all workers together, over all epochs.
        seconds: of training, without starting and loading.
        rows_per_second: over all workers.
        score: mean training loss over the rows of the last epoch.
        best: epoch (from 1) and score of the epoch with the lowest mean training loss.
        epoch_scores: of every epoch.
        parameters: of the network.
        bytes_sent: payload that the workers have given to exchanges of models, all together.
    """

    run: str
    epochs: int
    steps: int
    rows: int
    seconds: float
    rows_per_second: float
    score: float
    best: dict[str, float]
    epoch_scores: list[float]
    parameters: int
    bytes_sent: int

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel train --json`` prints."""
        return dict(vars(self))


def resolve_job(dataset: Dataset, model: Any, workers: int, sync: str | None, options: dict[str, Any]) -> TrainJob:
    """The job that these arguments of :func:`firesteel.train` mean, checked as far as that goes without torch.

    Raises:
        ConfigError: for a wrong option, or too few rows for the workers.
        ModelError: if there is no such model.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers must be a whole number, 1 or more, got {workers!r}.")
    resolved = {
        "dataset": dataset.place.uri,
        "fingerprint": dataset.manifest.fingerprint,
        "model": resolve_model(model).spec,
        "input_shape": dataset.feature.shape,
        "num_classes": dataset.num_classes,
        "workers": workers,
        "lanes": options.get("lanes") or workers,
        "sync": check_sync(sync or ("none" if workers == 1 else "allreduce"), workers),
    }
    job: TrainJob = checked(TrainJob, options | resolved)
    check_settings(job, Timing(job.order(dataset).steps_per_epoch, job.epochs), job.device)
    return job


def run_training(
    job: TrainJob, model: Any, directory: RunDirectory, runtime: Runtime, watch: Watch | None
) -> TrainResult:
    """Run a job in a run directory made for it.

    Args:
        job: see :func:`resolve_job`.
        model: as :func:`firesteel.train` was given it.
        directory: of the run; it is cleared if the run fails before its first step.
        runtime: what runs the workers.
        watch: shows the progress.
    """
    try:
        with EventWriter(directory.place, LAUNCHER) as events, contextlib.ExitStack() as stack:
            engine = "spark" if runtime.uses_spark else "local"
            events.write(
                "launch",
                workers=job.workers,
                engine=engine,
                master=runtime.master,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
            if watch is not None:
                stack.enter_context(watch(directory.place))
            with _failure_written(events, directory):
                launcher = stack.enter_context(runtime.launcher(job.workers, _question(job, model)))
                payload = TrainPayload(job, directory.place.uri, travelling_source(resolve_model(model)))
                results = launcher.run(TRAIN_WORKER, payload, workers=job.workers, meet=True, timeout_s=job.timeout_s)
            result = _merge(job, directory.place.uri, results)
            events.write("finish", **result.to_json())
        directory.forget_replaced()
        return result
    except BaseException:
        _clear_unless_stepped(directory)
        raise


def _question(job: TrainJob, model: Any) -> Question:
    """Can it be built? A user's own network is asked in this process, where its module is wanted anyway."""
    if job.model.name in ZOO and isinstance(model, str | Spec):
        return Question(TRY_JOB, job.model_dump(mode="json"))
    return Question(partial(_try, model, job))


def _try(model: Any, job: TrainJob, *_: object) -> None:
    from firesteel.training.trial import try_model

    try_model(resolve_model(model), job)


@contextlib.contextmanager
def _failure_written(events: EventWriter, directory: RunDirectory) -> Iterator[None]:
    """Write to the event log how the run failed."""
    try:
        yield
    except WorkerFailed as error:
        named = _naming_the_lost(error, directory.place)
        events.write("failed", error="WorkerFailed", message=str(named))
        raise named from error.__cause__
    except BaseException as error:
        kind = "stopped" if isinstance(error, KeyboardInterrupt) else type(error).__name__
        events.write("failed", error=kind, message=str(error) or kind)
        raise


def _naming_the_lost(error: WorkerFailed, run: Place) -> WorkerFailed:
    """Add to Spark's word that a worker is gone what the event log knows of it: its host and how far it came."""
    state = RunState().add(read_events(run))
    silent = state.silent_workers()
    rank = error.rank if error.rank is not None else silent[0].rank if len(silent) == 1 else None
    found = f"{'a worker' if error.rank is None else f'worker {rank}'} was lost"
    if rank not in state.by_rank or not str(error).startswith(found):
        return error
    lost = state.by_rank[rank]
    named = f"worker {rank} of {state.workers} on {lost.host} was lost (last heard of at step {lost.step})"
    return WorkerFailed(str(error).replace(found, named), rank=rank, worker_traceback=error.worker_traceback)


def _merge(job: TrainJob, run: str, results: list[dict[str, Any]]) -> TrainResult:
    scores = []
    for parts in zip(*(result["loss_sums"] for result in results)):
        rows = sum(count for _, count in parts)
        scores.append(sum(total for total, _ in parts) / max(1, rows))
    best = min(range(len(scores)), key=lambda epoch: (scores[epoch] != scores[epoch], scores[epoch]))
    rows = sum(result["rows"] for result in results)
    seconds = max(result["seconds"] for result in results)
    return TrainResult(
        run=run,
        epochs=job.epochs,
        steps=results[0]["steps"],
        rows=rows,
        seconds=round(seconds, 3),
        rows_per_second=round(rows / max(1e-9, seconds), 1),
        score=scores[-1],
        best={"epoch": best + 1, "score": scores[best]},
        epoch_scores=scores,
        parameters=results[0]["parameters"],
        bytes_sent=sum(result["bytes_sent"] for result in results),
    )


def _clear_unless_stepped(directory: RunDirectory) -> None:
    """A run that failed before its first step leaves nothing: the same command must work once its cause is mended."""
    with contextlib.suppress(FiresteelError, OSError, ValueError):
        if not any(event["event"] == "step" for event in read_events(directory.place)):
            directory.clear()
