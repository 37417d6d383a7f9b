"""Scores: one number an evaluation, and whether more of it is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError
from firesteel.functions import UserFunction
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec

if TYPE_CHECKING:
    from firesteel.evaluation.counts import Evaluation


@dataclass(frozen=True)
class Score:
    """A number that an :class:`Evaluation` gives, and which way it is better.

    Attributes:
        spec: ``accuracy``, or ``MODULE:FUNCTION`` with ``higher=yes`` or ``higher=no``.
        higher: whether more is better.
        lowest, highest: no evaluation gives less or more.
        function: for a metric of the user's own; it takes an Evaluation and returns a number.
    """

    spec: Spec
    higher: bool
    lowest: float = -math.inf
    highest: float = math.inf
    function: UserFunction | None = None

    @property
    def name(self) -> str:
        """As people are told."""
        return self.spec.name

    @property
    def key(self) -> str:
        """As it stands in a history; two scores with one key are the same."""
        return str(self.spec)

    def of(self, evaluation: Evaluation) -> float:
        """The score of an evaluation; NaN if the metric cannot say.

        Raises:
            ConfigError: if a metric of the user's own raises, or returns something else than a number.
        """
        if self.function is None:
            return float(getattr(evaluation, self.spec.name))
        metric = self.function.load(f"score {self.name!r}")
        try:
            value = metric(evaluation)
        except Exception as error:
            raise ConfigError(f"score {self.name} raises {type(error).__name__}: {error}") from error
        try:
            if isinstance(value, bool | str | bytes):
                raise TypeError
            return float(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"score {self.name} must return a number, got {value!r} ({type(value).__name__})."
            ) from error

    def better(self, new: float, old: float | None, min_improvement: float = 0.0) -> bool:
        """Whether ``new`` is better than ``old``, by ``min_improvement`` or more if that is above 0.

        NaN is never better; any other number is better than NaN, or than None: no score yet.
        """
        if math.isnan(new):
            return False
        if old is None or math.isnan(old):
            return True
        gain = new - old if self.higher else old - new  # of two equal infinities NaN, which is no gain
        return gain > 0 and gain >= min_improvement

    def travelling(self) -> Score:
        """The score as it can travel to workers elsewhere, which cannot import the user's own module."""
        if self.function is None:
            return self
        return replace(self, function=self.function.travelling(f"score {self.name!r}"))


def _share(name: str) -> Score:
    return Score(Spec(name=name), higher=True, lowest=0.0, highest=1.0)


SCORES = {
    "loss": Score(Spec(name="loss"), higher=False, lowest=0.0),
    **{name: _share(name) for name in ("accuracy", "top5", "precision", "recall", "f1")},
}
"""Scores of :class:`firesteel.evaluation.counts.Evaluation` by name."""


def resolve_score(score: str | Spec | Score | Callable[..., Any], *, higher: bool | None = None) -> Score:
    """Find a score; nothing is computed.

    Args:
        score: a name of SCORES, ``MODULE:FUNCTION:higher=yes`` or a callable.
        higher: of a callable: whether more is better.

    Raises:
        ConfigError: if there is no such score, or a metric does not say whether more of it is better.
    """
    if isinstance(score, Score):
        return score
    if not isinstance(score, str | Spec):
        return _of_user(UserFunction.of(score, "a score"), higher)
    spec = parse_spec(score)
    if spec.name in SCORES:
        if spec.options:
            raise ConfigError(f"score {spec.name} has no options, got {spec}.")
        return SCORES[spec.name]
    if ":" not in spec.name:
        raise ConfigError(
            f"there is no score {spec.name!r}.{did_you_mean(spec.name, SCORES)} There are {', '.join(SCORES)};"
            " a metric of your own is MODULE:FUNCTION:higher=yes."
        )
    check_options(f"score {spec.name}", spec.options, ["higher"])
    function = UserFunction(spec.name)
    function.load(f"score {spec.name!r}")
    return _of_user(function, spec.options.get("higher"))


def try_score(score: Score, labels: list[str]) -> None:
    """Compute a score of a made-up evaluation: what is wrong with a metric is better known before a training.

    Args:
        score: to be tried.
        labels: of the classes.

    Raises:
        ConfigError: if it raises or returns something else than a number.
    """
    if score.function is None:
        return
    import numpy as np

    from firesteel.evaluation.counts import ClassificationCounts, metrics_of

    # Of each class one row is found and one taken for the next class: neither all nor nothing is right.
    hits = np.eye(len(labels), dtype=np.int64)
    rows = 2 * len(labels)
    score.of(metrics_of(ClassificationCounts(hits + np.roll(hits, 1, axis=1), top5=rows, loss_sum=float(rows)), labels))


def _of_user(function: UserFunction, higher: Any) -> Score:
    if not isinstance(higher, bool):
        given = "got none" if higher is None else f"got {higher!r}"
        raise ConfigError(
            f"score {function.name}: say whether more is better, {given}."
            f" Write {function.name}:higher=yes or {function.name}:higher=no."
        )
    return Score(Spec(name=function.name, options={"higher": higher}), higher, function=function)


__all__ = ["SCORES", "Score", "resolve_score", "try_score"]
