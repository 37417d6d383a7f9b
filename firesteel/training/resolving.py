"""What the arguments of a training mean: the job, checked as far as that goes without torch and without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from firesteel.data.manifest import Dataset
from firesteel.data.sampling import sampling_note
from firesteel.errors import ConfigError
from firesteel.models.registry import resolve_model
from firesteel.sync import check_sync
from firesteel.training.class_weights import class_weights
from firesteel.training.job import TrainJob, checked
from firesteel.training.schedules import Timing
from firesteel.training.settings import check_settings
from firesteel.training.stop_specs import check_stopping, resolve_stopping
from firesteel.training.stopping import Stopping

if TYPE_CHECKING:
    from firesteel.data.direct import DirectData


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
    chooses = job.final_model == "best" and not job.evaluate_every.is_never
    if job.validation_split == "test" and options.get("validation_split") is None and chooses:
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
