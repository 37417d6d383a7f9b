"""When a training ends before its last epoch: one condition a class, each a function of a :class:`Record` alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from firesteel.errors import ConfigError
from firesteel.functions import UserFunction
from firesteel.specs import Spec
from firesteel.training.scores import Score

if TYPE_CHECKING:
    from firesteel.evaluation.counts import Evaluation


@dataclass(frozen=True)
class Moment:
    """Where a training is.

    Attributes:
        step: optimizer steps done.
        epoch: that this step belongs to, from 1.
        epoch_ended: whether this step is the last one of its epoch.
        seconds: trained, before a resumption too.
        training_loss: mean over the rows of all workers since the moment before; None if it is not known.
    """

    step: int
    epoch: int
    epoch_ended: bool
    seconds: float
    training_loss: float | None

    @property
    def epochs(self) -> int:
        """Epochs that have ended."""
        return self.epoch if self.epoch_ended else self.epoch - 1

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.epoch_ended else f"step {self.step} (epoch {self.epoch})"


@dataclass(frozen=True)
class Evaluated(Moment):
    """What stays of an evaluation.

    Attributes:
        scores: by key (:attr:`firesteel.training.scores.Score.key`): loss, accuracy, top5, precision, recall, f1 and those
            metrics of the user's own that the run looks at.
    """

    scores: Mapping[str, float]


@dataclass(frozen=True)
class Record(Moment):
    """What a condition may look at.

    Attributes:
        evaluation: of this moment, in full; None if there was none.
        history: of all evaluations so far, this one included, the oldest first. A training fills it in by itself.
    """

    evaluation: Evaluation | None = None
    history: Sequence[Evaluated] = ()

    @property
    def last(self) -> Evaluated | None:
        """The last evaluation so far."""
        return self.history[-1] if self.history else None


@dataclass(frozen=True)
class Condition(ABC):
    """One reason to end a training.

    Attributes:
        spec: as the user wrote it.
    """

    spec: Spec

    @property
    def score(self) -> Score | None:
        """The score that it looks at, if any."""
        return None

    @property
    def asked(self) -> Literal["check", "evaluation", "both"]:
        """When: at each synchronisation, after each evaluation, or at both."""
        return "check" if self.score is None else "evaluation"

    @abstractmethod
    def reason(self, record: Record) -> str | None:
        """Why the training ends here, as a sentence for people; None if it goes on."""

    def travelling(self) -> Condition:
        """The condition as it can travel to workers elsewhere, which cannot import the user's own module."""
        return self


@dataclass(frozen=True)
class MaximumEpochs(Condition):
    """``epochs:maximum=10``."""

    maximum: int

    def reason(self, record: Record) -> str | None:
        return f"{record.epochs} epochs, the maximum" if record.epochs >= self.maximum else None


@dataclass(frozen=True)
class MaximumSteps(Condition):
    """``steps:maximum=5000``."""

    maximum: int

    def reason(self, record: Record) -> str | None:
        return f"{record.step} steps; the maximum is {self.maximum}" if record.step >= self.maximum else None


@dataclass(frozen=True)
class MaximumTime(Condition):
    """``time:minutes=30``; of training, without starting and loading."""

    seconds: float

    def reason(self, record: Record) -> str | None:
        if record.seconds < self.seconds:
            return None
        return f"trained for {record.seconds:.6g} seconds; the maximum is {self.seconds:.6g}"


@dataclass(frozen=True)
class FiniteLoss(Condition):
    """The training loss is NaN or infinite: from there on no weight is a number."""

    def reason(self, record: Record) -> str | None:
        if record.training_loss is None or math.isfinite(record.training_loss):
            return None
        return f"the training loss is {record.training_loss} at {record}"


@dataclass(frozen=True)
class LossBounds(Condition):
    """``bounds:above=10,below=0.001``: the training loss is above or below."""

    above: float
    below: float

    def reason(self, record: Record) -> str | None:
        loss = record.training_loss
        if loss is None or not (loss > self.above or loss < self.below):
            return None
        bound = f"above {self.above:.6g}" if loss > self.above else f"below {self.below:.6g}"
        return f"the training loss {loss:.6g} is {bound} at {record}"


@dataclass(frozen=True)
class ScoreReached(Condition):
    """``score:reach=0.99``: the score of an evaluation is that good or better."""

    of: Score
    reach: float

    @property
    def score(self) -> Score:
        return self.of

    def reason(self, record: Record) -> str | None:
        value = _last_score(record, self.of)
        reached = value >= self.reach if self.of.higher else value <= self.reach
        return f"{self.of.name} reached {self.reach:.6g}: {value:.6g} at {record}" if reached else None

    def travelling(self) -> ScoreReached:
        return replace(self, of=self.of.travelling())


@dataclass(frozen=True)
class Patience(Condition):
    """``patience:evaluations=5,min_improvement=0.001``: no improvement for that many evaluations, or epochs.

    An evaluation improves if it is better, by ``min_improvement`` or more, than the last one that did; the first that is
    a number improves. Epochs are whole ones since the improvement, counted when an evaluation shows that there is none: a
    run that is evaluated every 10 epochs has at least two evaluations before ``patience:epochs=5`` ends it.
    """

    of: Score
    evaluations: int | None = None
    epochs: int | None = None
    min_improvement: float = 0.0

    @property
    def score(self) -> Score:
        return self.of

    def reason(self, record: Record) -> str | None:
        improved, since = self._last_improvement(record.history)
        if self.evaluations is not None:
            ends, waited = since >= self.evaluations, _counted(since, "evaluation")
        else:
            passed = record.epochs - (improved.epoch if improved else 0)
            ends, waited = passed >= (self.epochs or 1), _counted(passed, "epoch")
        if not ends:
            return None
        by = f" by {self.min_improvement:.6g} or more" if self.min_improvement else ""
        best = best_of(record.history, self.of)
        known = f"best {best.scores[self.of.key]:.6g} at {best}" if best else "none of them is a number"
        return f"no improvement of {self.of.name}{by} in {waited}; {known}"

    def travelling(self) -> Patience:
        return replace(self, of=self.of.travelling())

    def _last_improvement(self, history: Sequence[Evaluated]) -> tuple[Evaluated | None, int]:
        """The last evaluation that improved, and the number of those since."""
        improved, since = None, 0
        for entry in history:
            if self.of.key not in entry.scores:  # evaluated before a resumption that looks at another score
                continue
            known = improved.scores[self.of.key] if improved else None
            if self.of.better(entry.scores[self.of.key], known, self.min_improvement):
                improved, since = entry, 0
            else:
                since += 1
        return improved, since


@dataclass(frozen=True)
class UserCondition(Condition):
    """``MODULE:FUNCTION:key=value`` or a callable: gets the record and its options; gives True or a sentence to end."""

    function: UserFunction
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> Literal["both"]:
        return "both"

    def reason(self, record: Record) -> str | None:
        function = self.function.load(f"condition {self.spec.name!r}")
        try:
            answer = function(record, **self.options)
        except Exception as error:
            raise ConfigError(f"condition {self.spec} raises {type(error).__name__}: {error}") from error
        if answer is None or isinstance(answer, str):
            return answer or None
        if isinstance(answer, bool | np.bool_):
            return f"condition {self.spec} holds at {record}" if answer else None
        raise ConfigError(
            f"condition {self.spec.name} must return True, False, None or a sentence, got {answer!r}"
            f" ({type(answer).__name__})."
        )

    def travelling(self) -> UserCondition:
        return replace(self, function=self.function.travelling(f"condition {self.spec.name!r}"))


def best_of(history: Sequence[Evaluated], score: Score) -> Evaluated | None:
    """The evaluation with the best score, the first of equal ones; None if none has a score that is a number."""
    best: Evaluated | None = None
    for entry in history:
        value = entry.scores.get(score.key, math.nan)
        if score.better(value, best.scores[score.key] if best else None):
            best = entry
    return best


def _last_score(record: Record, score: Score) -> float:
    return record.last.scores.get(score.key, math.nan) if record.last else math.nan


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


__all__ = [
    "Condition",
    "Evaluated",
    "FiniteLoss",
    "LossBounds",
    "MaximumEpochs",
    "MaximumSteps",
    "MaximumTime",
    "Moment",
    "Patience",
    "Record",
    "ScoreReached",
    "UserCondition",
    "best_of",
]
