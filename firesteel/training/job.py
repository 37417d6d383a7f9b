"""The job: everything that decides what a training run computes, resolved, as it lies in ``RUN/job.json``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from firesteel.data.augmentation.policy import Policy
from firesteel.data.manifest import Dataset, Statistics
from firesteel.data.order import Order
from firesteel.data.sampling import class_sampling
from firesteel.errors import ConfigError
from firesteel.models.description import normalization_for
from firesteel.models.registry import ModelSource
from firesteel.models.transfer.pretrained import Completion, Pretrained
from firesteel.specs import Spec, did_you_mean, parse_spec
from firesteel.training.settings import UpdateSettings
from firesteel.training.stopping import Stopping
from firesteel.training.triggers import Trigger

if TYPE_CHECKING:
    from firesteel.data.direct import DirectData


class TrainJob(UpdateSettings):
    """One training run.

    Attributes:
        learning_rate, optimizer, workers, schedule, ...: see :class:`firesteel.training.settings.UpdateSettings`.
        dataset: URI of the prepared dataset, or of the source that the workers read themselves.
        fingerprint: of that dataset; a worker that finds another one there refuses it.
        prepare: of a source that the workers read themselves: options of its preparation, see
            :class:`firesteel.data.preparation.PrepareOptions`; None for a prepared dataset.
        split: that is trained on.
        model: name in the zoo or MODULE:FACTORY, with options.
        input_shape: of one row.
        num_classes: K.
        epochs: passes over the split.
        batch_size: rows a worker and step, at most; the global batch is ``workers`` times that.
        sync: strategy and options, see :mod:`firesteel.sync`.
        augment: changes the pictures of every batch at random, see :class:`firesteel.data.augmentation.Policy`: a name, a
            file or operations; None (or ``none``) leaves them as they are.
        class_weights: of the loss, see :func:`firesteel.training.class_weights.class_weights`.
        sampling: which rows an epoch shows, see :func:`firesteel.data.sampling.class_sampling`.
        normalize: ``standardize`` (mean 0 and deviation 1 a channel over the training split), ``scale`` (uint8 to 0..1)
            ``none``, or ``model``: as the pretrained network was trained.
        device: auto, cpu or cuda.
        threads: of torch in each worker; None shares the host's cores between its workers.
        seed: of the weights, the order and dropout.
        lanes: independently shuffled parts of the data; None is ``workers``. Jobs with equal lanes and equal global
            batch see the same rows at each step, however many workers they have.
        prefetch: batches gathered ahead by a thread; None is 2 on a GPU or where the rows do not fit into memory, else 0.
        memory_bytes: for each worker's rows; None is a quarter of the host's free memory, shared by its workers.
        scratch: folder for rows that do not fit; None is the system's.
        log_every: steps between two ``step`` events.
        timeout_s: a worker that is silent, or does not move, for so many seconds is ended; the others wait so long for it.
        min_workers: with how many a run may begin, or go on after a failure, where there are no slots for ``workers``; None
            is ``workers``. The rows of a step stay the same: fewer workers have more of them each.
        init_from: URI of a checkpoint or a model folder with the weights to begin with; None takes the network's own.
        pretrained: the trained network that this one is made of, for new classes; None if it is none.
        completes: the network that this one is a part of, where the dataset holds features of the other part.
        freeze_until: layer or pattern: it and all layers before it do not learn.
        train_only: patterns on parameters: only these learn, and a new head.
        validation_split: that is evaluated while training; None if nothing is.
        evaluate_every: when.
        score: of an evaluation that says which model is the best, see :mod:`firesteel.training.scores`.
        stop: conditions that end the training before its last epoch, see :mod:`firesteel.training.stop_specs`.
        final_model: which model the run gives in the end: the ``best`` one evaluated, or the ``last``.
        checkpoint_every: when a checkpoint is kept, besides the one at the end and when the run is stopped; ``never``
            keeps none at all.
        keep_checkpoints: so many of the newest stay.
        keep_checkpoint_every: of all others each N-th stays; None keeps none of them.
        max_restarts: how often a run goes on from its last checkpoint after losing a worker.
    """

    dataset: str
    fingerprint: str
    prepare: dict[str, Any] | None = None
    split: str = "train"
    model: Spec
    input_shape: tuple[int, ...]
    num_classes: int
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    sync: Spec = Spec(name="none")
    augment: Policy | None = None
    class_weights: Spec = Spec(name="none")
    sampling: Spec = Spec(name="uniform")
    normalize: Literal["standardize", "scale", "none", "model"] = "standardize"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    lanes: int | None = Field(default=None, ge=1)
    prefetch: int | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, ge=0)
    scratch: str | None = None
    log_every: int = Field(default=10, ge=1)
    timeout_s: float = Field(default=300.0, gt=0)
    min_workers: int | None = Field(default=None, ge=1)
    init_from: str | None = None
    pretrained: Pretrained | None = None
    completes: Completion | None = None
    freeze_until: str | None = None
    train_only: tuple[str, ...] = ()
    validation_split: str | None = None
    evaluate_every: Trigger = Trigger()
    score: Spec = Spec(name="accuracy")
    stop: tuple[Spec, ...] = ()
    final_model: Literal["best", "last"] = "last"
    checkpoint_every: Trigger = Trigger(seconds=600)
    keep_checkpoints: int = Field(default=2, ge=1)
    keep_checkpoint_every: int | None = Field(default=None, ge=1)
    max_restarts: int = Field(default=3, ge=0)

    @field_validator("augment", mode="before")
    @classmethod
    def _read_policy(cls, value: Any) -> Any:
        return None if value in (None, "none") else Policy.of(value)

    @field_validator("model", "sync", "score", "class_weights", "sampling", mode="before")
    @classmethod
    def _read_names(cls, value: Any) -> Any:
        return parse_spec(value) if isinstance(value, str) else value

    @field_validator("train_only", mode="before")
    @classmethod
    def _read_patterns(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("stop", mode="before")
    @classmethod
    def _read_conditions(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else (value,)
        return tuple(parse_spec(each) if isinstance(each, str) else each for each in several)

    @model_validator(mode="after")
    def _check_transfer(self) -> TrainJob:
        if self.normalize == "model" and self.pretrained is None:
            raise ValueError("normalize must be standardize, scale or none: model is for a training --from a model")
        if self.freeze_until is not None and self.train_only:
            raise ValueError("freeze_until and train_only both say what is frozen: use one of them")
        return self

    @property
    def global_batch_size(self) -> int:
        return self.batch_size * self.workers

    def normalization(self, statistics: Statistics) -> Statistics:
        """Of the input, for a dataset with these statistics."""
        if self.normalize == "model":
            assert self.pretrained is not None
            return self.pretrained.normalization
        return normalization_for(self.normalize, statistics)

    @property
    def channel_order(self) -> Literal["rgb", "bgr"]:
        """Of what the network takes: turned round are the channels of pictures, not those of features."""
        return "rgb" if self.pretrained is None or self.completes is not None else self.pretrained.channel_order

    def order(self, dataset: Dataset) -> Order:
        """The order in which this job reads its split.

        Raises:
            ConfigError: if there are too few rows for the workers, or no such sampling.
        """
        split = dataset.split(self.split)
        shard_rows = tuple(shard.rows for shard in split.shards)
        sampling = class_sampling(self.sampling, split.rows_per_class)
        return Order(shard_rows, self.lanes or self.workers, self.global_batch_size, self.seed, sampling)


@dataclass(frozen=True)
class TrainPayload:
    """What travels to each worker of a training run.

    Attributes:
        job: as it lies in the run directory.
        run: URI of the run directory.
        model: how to make the network.
        stopping: conditions and score, with functions of the user's own by value.
        attempt: of the launcher, different for each; workers of an attempt that Spark repeats by itself notice it.
        checkpoint: step to go on from; None begins at the beginning.
        direct: what the workers read the source with, if they read it themselves.
    """

    job: TrainJob
    run: str
    model: ModelSource
    stopping: Stopping
    attempt: str = ""
    checkpoint: int | None = None
    direct: DirectData | None = None


def checked(model: type[BaseModel], values: dict[str, Any]) -> Any:
    """Build a settings object; what pydantic finds wrong becomes a ConfigError of a line each.

    Raises:
        ConfigError: naming each wrong field, what was given and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem, model.model_fields) for problem in error.errors()[:4]]
        raise ConfigError("\n".join(lines)) from error


def _explain(problem: Any, options: Iterable[str]) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem.get("input")
    if problem["type"] == "extra_forbidden":
        return f"there is no option {name!r}." + did_you_mean(name, options)
    return f"{name}: {message.rstrip('.')}" + ("" if "got" in message else f", got {given!r}") + "."
