"""The driver's side of a training run: resolve and check the job, start the workers, add up what they bring back."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from firesteel.data.manifest import Dataset
from firesteel.data.sampling import sampling_note
from firesteel.errors import ConfigError, FiresteelError, WorkerFailed
from firesteel.launch import Question
from firesteel.models.registry import ZOO, resolve_model, travelling_source
from firesteel.monitoring.events import LAUNCHER, STOP_REQUESTED, EventWriter, read_events
from firesteel.monitoring.state import RunState
from firesteel.specs import Spec
from firesteel.storage import Place
from firesteel.sync import check_sync
from firesteel.training.attempts import Attempts
from firesteel.training.class_weights import class_weights
from firesteel.training.interruption import Interruption
from firesteel.training.job import TrainJob, TrainPayload, checked
from firesteel.training.run import RunDirectory
from firesteel.training.schedules import Timing
from firesteel.training.settings import check_settings
from firesteel.training.stop_specs import check_stopping, resolve_stopping
from firesteel.training.stopping import Stopping

if TYPE_CHECKING:
    from firesteel.data.direct import DirectData
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


@dataclass(frozen=True)
class Training:
    """A job, and what of it is no JSON.

    Attributes:
        job: as it lies in the run directory.
        model: as :func:`firesteel.train` was given it.
        stopping: conditions and score.
        workers: to start with.
        rows: of the training split.
        steps_per_epoch: of the job.
        direct: what the workers read the source with; None for a prepared dataset. Rows and steps are expected ones then.
        notes: on the job, for people.
        continued: whether the run was begun before.
    """

    job: TrainJob
    model: Any
    stopping: Stopping
    workers: int
    rows: int
    steps_per_epoch: int
    direct: DirectData | None = None
    notes: list[str] = field(default_factory=list)
    continued: bool = False

    @property
    def least_workers(self) -> int:
        """With fewer it does not begin."""
        return min(self.workers, self.job.min_workers or self.workers)


def resolve_training(
    dataset: Dataset,
    model: Any,
    workers: int | str,
    sync: str | None,
    options: Mapping[str, Any],
) -> Training:
    """What these arguments of :func:`firesteel.train` mean, checked as far as that goes without torch.

    Args:
        dataset: prepared.
        model: name or factory.
        workers: a number, or ``2..8``: as many as there are, within these bounds.
        sync: strategy, or None.
        options: of the job.

    Raises:
        ConfigError: for a wrong option, or too few rows for the workers.
        ModelError: if there is no such model.
    """
    least, most = workers_of(workers)
    stopping = resolve_stopping(several(options.get("stop", ())), options.get("score", "accuracy"))
    resolved = {
        "dataset": dataset.place.uri,
        "fingerprint": dataset.manifest.fingerprint,
        "model": resolve_model(model).spec,
        "input_shape": dataset.feature.shape,
        "num_classes": dataset.num_classes,
        "workers": most,
        "min_workers": least if least < most else None,
        "lanes": options.get("lanes") or most,
        "sync": check_sync(sync or ("none" if most == 1 else "allreduce"), most),
        "stop": stopping.specs,
        "score": stopping.score.spec,
        **evaluation_of(dataset, stopping, options),
    }
    job: TrainJob = checked(TrainJob, dict(options) | resolved)
    notes = check_job(job, dataset, stopping)
    if job.validation_split == "test" and options.get("validation_split") is None:
        notes.append(
            "the split test chooses the model here, so that its score flatters; better: --split"
            " train=0.8,validation=0.1,test=0.1"
        )
    order = job.order(dataset)
    return Training(job, model, stopping, most, order.rows, order.steps_per_epoch, notes=notes)


def check_options_early(model: Any, options: Mapping[str, Any]) -> None:
    """Check options by themselves, before anything is known of the rows.

    Raises:
        ConfigError: for a wrong option.
        ModelError: if there is no such model.
    """
    spec = resolve_model(model).spec
    stopping = resolve_stopping(several(options.get("stop", ())), options.get("score", "accuracy"))
    known = {"dataset": "", "fingerprint": "", "model": spec, "input_shape": (1,), "num_classes": 2, "workers": 1}
    checked(TrainJob, dict(options) | known | {"stop": stopping.specs, "score": stopping.score.spec})


def evaluated_at_the_end(dataset: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with which the split test is evaluated once, at the end, if nothing is said: nobody can do it later.

    Args:
        dataset: expected.
        options: of the user.
    """
    said = any(options.get(name) is not None for name in ("validation_split", "evaluate_every"))
    splits = dataset.manifest.splits
    if said or "validation" in splits or "test" not in splits or not splits["test"].rows or options.get("stop"):
        return dict(options)
    epochs = options.get("epochs", TrainJob.model_fields["epochs"].default)
    once = {"validation_split": "test", "evaluate_every": f"{epochs} epochs", "final_model": "last"}
    return {**options, **{name: value for name, value in once.items() if options.get(name) is None}}


def as_many_as_there_are(training: Training, slots: int | None) -> Training:
    """The same with no more workers than slots are known to be there, and no fewer than it wants at least."""
    if slots is None or training.workers <= slots:
        return training
    return replace(training, workers=max(training.least_workers, slots))


def check_job(job: TrainJob, dataset: Dataset, stopping: Stopping) -> list[str]:
    """Check what follows from several options together; returns notes for people.

    Raises:
        ConfigError: for what contradicts itself, or too few rows for the workers.
    """
    steps = job.order(dataset).steps_per_epoch
    check_settings(job, Timing(steps, job.epochs), job.device)
    return _check_classes(job, dataset) + check_stopping(
        stopping, evaluate_every=job.evaluate_every, epochs=job.epochs, steps_per_epoch=steps,
        labels=dataset.manifest.labels,
    )  # fmt: skip


def _check_classes(job: TrainJob, dataset: Dataset) -> list[str]:
    """Check augmentation, class weights and sampling against the rows; returns notes for people."""
    rows_per_class = dataset.split(job.split).rows_per_class
    weights, order = class_weights(job.class_weights, rows_per_class), job.order(dataset)
    if job.augment is not None and dataset.feature.kind != "image":
        raise ConfigError(
            f"--augment is for pictures; {dataset.place} holds arrays of shape {dataset.feature.shape}. Leave it out."
        )
    notes = []
    if order.sampling is not None:
        notes.append(sampling_note(order.sampling, rows_per_class, dataset.manifest.labels))
        if weights is not None:
            notes.append("class weights and sampling both make up for rare classes: together they do it twice")
    return notes


def workers_of(workers: int | str) -> tuple[int, int]:
    """``4`` is (4, 4), ``2..8`` is (2, 8).

    Raises:
        ConfigError: if it is neither.
    """
    text = str(workers).strip()
    if isinstance(workers, bool) or not (found := re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)):
        raise ConfigError(f"workers must be a whole number, 1 or more, or two as in 2..8, got {workers!r}.")
    least, most = int(found[1]), int(found[2] or found[1])
    if not 1 <= least <= most:
        raise ConfigError(f"workers must be a whole number, 1 or more, or two as in 2..8, got {workers!r}.")
    return least, most


def evaluation_of(dataset: Dataset, stopping: Stopping, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is evaluated while training, and when: what is asked for, or what a split named validation asks for."""
    splits = dataset.manifest.splits
    every, split = options.get("evaluate_every"), options.get("validation_split")
    wanted = every is not None or split is not None or any(each.score is not None for each in stopping.conditions)
    if not wanted and "validation" not in splits:
        return {"final_model": options.get("final_model") or "last"}
    if split is None:
        split = next((name for name in ("validation", "test") if name in splits), None)
    if split is None:
        raise ConfigError(
            f"nothing to evaluate while training: {dataset.place} has the splits {', '.join(splits)} only.\n"
            "Prepare it with --split train=0.8,validation=0.1,test=0.1, or name a split with --validation-split."
        )
    dataset.split(split)
    every = "1 epoch" if every is None else every
    best = "last" if str(every).strip() == "never" else "best"
    return {"validation_split": split, "evaluate_every": every, "final_model": options.get("final_model") or best}


def several(stop: Any) -> Iterable[Any]:
    """One condition, or several."""
    return stop if isinstance(stop, list | tuple) else (stop,)


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
