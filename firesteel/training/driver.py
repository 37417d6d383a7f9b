"""The driver's side of a training run: start the workers of a job, and add up what they bring back."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from firesteel.errors import FiresteelError, WorkerFailed
from firesteel.launch import Question
from firesteel.models.registry import ZOO, resolve_model, travelling_source
from firesteel.monitoring.events import LAUNCHER, STOP_REQUESTED, EventWriter, read_events
from firesteel.monitoring.state import RunState
from firesteel.specs import Spec
from firesteel.storage import Place
from firesteel.training.attempts import Attempts
from firesteel.training.interruption import Interruption
from firesteel.training.job import TrainJob, TrainPayload
from firesteel.training.resolving import Training
from firesteel.training.run import RunDirectory

if TYPE_CHECKING:
    from firesteel.runtime import Runtime, Watch

TRY_JOB = "firesteel.training.trial:try_job"


@dataclass(frozen=True)
class TrainResult:
    """How a training run ended.

    Attributes:
        run: its directory.
        epochs: passes finished.
        steps: optimizer steps of each worker.
        rows: trained on by all workers together, over all epochs; each counted once, also where it was trained again
            after a failure.
        seconds: of training, without starting and loading.
        rows_per_second: over all workers.
        score: mean training loss over the rows of the last epoch.
        best: epoch (from 1) and score: of the best evaluation, with its step and the name of the score; of a run without
            evaluations, of the epoch with the lowest mean training loss.
        epoch_scores: mean training loss of every finished epoch.
        parameters: of the network.
        bytes_sent: payload that the workers have given to exchanges of models, all together.
        stop: why the training ended before its last epoch; None if it did not.
        restarts: how often it went on from a checkpoint after losing a worker.
    """

    run: str
    epochs: int
    steps: int
    rows: int
    seconds: float
    rows_per_second: float
    score: float
    best: dict[str, Any]
    epoch_scores: list[float]
    parameters: int
    bytes_sent: int
    stop: str | None = None
    restarts: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel train --json`` prints."""
        return dict(vars(self))


def run_training(training: Training, directory: RunDirectory, runtime: Runtime, watch: Watch | None) -> TrainResult:
    """Run a job in its run directory.

    Args:
        training: see :func:`resolve_training`.
        directory: of the run; a new one is cleared if the run fails before its first step.
        runtime: what runs the workers.
        watch: shows the progress.

    Raises:
        KeyboardInterrupt: if the run was asked to stop; where a signal asked, it has its usual effect instead.
    """
    interruption = Interruption()
    _forget_request(directory)  # of an earlier start that was ended at once
    try:
        with EventWriter(directory.place, LAUNCHER) as events:
            _announce(training, runtime, events)
            with watch(directory.place) if watch is not None else contextlib.nullcontext(), _failure_written(events):
                results, restarts = _run_workers(training, directory, runtime, events, interruption)
            result = _merge(directory.place.uri, results, restarts)
            events.write("finish", **result.to_json())
        directory.forget_replaced()
        return result
    except BaseException as error:
        if not training.continued:
            _clear_unless_stepped(directory)
        _forget_request(directory)
        if isinstance(error, KeyboardInterrupt):
            interruption.deliver()
        raise


def _announce(training: Training, runtime: Runtime, events: EventWriter) -> None:
    events.write(
        "launch",
        workers=training.workers,
        engine="spark" if runtime.uses_spark else "local",
        master=runtime.master,
        host=socket.gethostname(),
        pid=os.getpid(),
        continued=training.continued,
        rows=training.rows,
        steps_per_epoch=training.steps_per_epoch,
        direct=training.direct is not None,
    )
    for note in training.notes:
        events.write("warning", message=note)


def _run_workers(
    training: Training, directory: RunDirectory, runtime: Runtime, events: EventWriter, interruption: Interruption
) -> tuple[list[dict[str, Any]], int]:
    """What the workers return, and how often they were begun again."""
    with runtime.launcher(training.workers, _question(training.job, training.model)) as launcher:
        attempts = Attempts(
            launcher, _payload(training, directory.place), events, workers=training.workers,
            named=partial(_naming_the_lost, directory.place), stopping=lambda: interruption.number is not None,
        )  # fmt: skip
        try:
            with interruption.asking(_stop_request(directory, events)):
                results = attempts.results()
        except Exception as error:
            if interruption.number is None:
                raise
            raise KeyboardInterrupt from error  # a signal that went to all processes has ended the cluster as well
    if results[0]["stop"] == STOP_REQUESTED:
        raise KeyboardInterrupt
    return results, attempts.restarts


def _forget_request(directory: RunDirectory) -> None:
    with contextlib.suppress(FiresteelError, OSError):
        directory.forget_request()


def _payload(training: Training, run: Place) -> TrainPayload:
    model = travelling_source(resolve_model(training.model))
    return TrainPayload(training.job, run.uri, model, training.stopping.travelling(), direct=training.direct)


def _stop_request(directory: RunDirectory, events: EventWriter) -> Callable[[], bool]:
    """What a first Ctrl-C does: where a worker trains, and checkpoints are kept, they are asked to keep one and stop."""

    def request() -> bool:
        state = RunState().add(read_events(directory.place))
        if state.status != "training" or directory.job().checkpoint_every.is_never:
            return False
        directory.request_stop()
        events.write("stopping")
        return True

    return request


def _question(job: TrainJob, model: Any) -> Question:
    """Can it be built? A user's own network is asked in this process, where its module is wanted anyway."""
    if job.model.name in ZOO and isinstance(model, str | Spec):
        return Question(TRY_JOB, job.model_dump(mode="json"))
    return Question(partial(_try, model, job))


def _try(model: Any, job: TrainJob, *_: object) -> None:
    from firesteel.training.trial import try_model

    try_model(resolve_model(model), job)


@contextlib.contextmanager
def _failure_written(events: EventWriter) -> Iterator[None]:
    """Write to the event log how the run failed."""
    try:
        yield
    except BaseException as error:
        kind = "stopped" if isinstance(error, KeyboardInterrupt) else type(error).__name__
        events.write("failed", error=kind, message=str(error) or kind)
        raise


def _naming_the_lost(run: Place, error: WorkerFailed) -> WorkerFailed:
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


def _merge(run: str, results: list[dict[str, Any]], restarts: int) -> TrainResult:
    scores = [_mean(parts) for parts in zip(*(result["loss_sums"] for result in results))]
    last = _mean([result["last_epoch"] for result in results])
    rows = sum(result["rows"] for result in results)
    seconds = max(result["seconds"] for result in results)
    return TrainResult(
        run=run,
        epochs=results[0]["epochs"],
        steps=results[0]["steps"],
        rows=rows,
        seconds=round(seconds, 3),
        rows_per_second=round(rows / max(1e-9, seconds), 1),
        score=last,
        best=results[0]["best"] or _lowest(scores or [last]),
        epoch_scores=scores,
        parameters=results[0]["parameters"],
        bytes_sent=sum(result["bytes_sent"] for result in results),
        stop=results[0]["stop"],
        restarts=restarts,
    )


def _mean(parts: Iterable[tuple[float, int]]) -> float:
    total, rows = (sum(column) for column in zip(*parts))
    return total / max(1, rows)


def _lowest(scores: list[float]) -> dict[str, Any]:
    best = min(range(len(scores)), key=lambda epoch: (scores[epoch] != scores[epoch], scores[epoch]))
    return {"epoch": best + 1, "score": scores[best]}


def _clear_unless_stepped(directory: RunDirectory) -> None:
    """A run that failed before its first step leaves nothing: the same command must work once its cause is mended."""
    with contextlib.suppress(FiresteelError, OSError, ValueError):
        if not any(event["event"] == "step" for event in read_events(directory.place)):
            directory.clear()
