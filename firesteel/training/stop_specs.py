"""Stop conditions from their specs, and what contradicts the rest of a job."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from firesteel.errors import ConfigError
from firesteel.functions import UserFunction
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec
from firesteel.training.conditions import (
    Condition,
    FiniteLoss,
    LossBounds,
    MaximumEpochs,
    MaximumSteps,
    MaximumTime,
    Patience,
    Record,
    ScoreReached,
    UserCondition,
)
from firesteel.training.scores import Score, resolve_score, try_score
from firesteel.training.stopping import Stopping
from firesteel.training.triggers import Trigger

_FINITE = Spec(name="bounds", options={"finite": True})


def resolve_stopping(
    stop: Iterable[str | Spec | Callable[..., Any]], score: str | Spec | Score = "accuracy"
) -> Stopping:
    """Read conditions. A training loss that is NaN or infinite is one of them, unless ``bounds:finite=no`` is given.

    Args:
        stop: any number of ``epochs:maximum=N``, ``steps:maximum=N``, ``time:minutes=N`` (hours, seconds),
            ``score:reach=X``, ``patience:evaluations=N`` or ``epochs=N`` with ``min_improvement=X``, ``bounds:above=X,below=X``,
            ``MODULE:FUNCTION`` with its options, or callables. ``metric=NAME`` of score and patience is another score than
            the run's.
        score: of the run: the one that says which model is the best.

    Raises:
        ConfigError: if there is no such condition, an option is wrong, or a condition cannot hold.
    """
    chosen = resolve_score(score)
    conditions: list[Condition] = []
    finite: bool | None = None
    for each in stop:
        if not isinstance(each, str | Spec):
            function = UserFunction.of(each, "a condition")
            conditions.append(UserCondition(Spec(name=function.name), function))
            continue
        spec = parse_spec(each)
        if spec.name == "bounds":
            wanted = _flag(spec, "finite", finite)
            if finite not in (None, wanted):
                raise ConfigError(f"stop {spec}: finite is yes in one condition and no in another. Leave one out.")
            finite = wanted
            if set(spec.options) == {"finite"}:
                continue
        conditions.append(_read(spec, chosen))
    return Stopping([FiniteLoss(_FINITE), *conditions] if finite in (None, True) else conditions, chosen)


def check_stopping(
    stopping: Stopping,
    *,
    evaluate_every: Trigger,
    epochs: int,
    steps_per_epoch: int | None = None,
    labels: Sequence[str] = ("a", "b"),
) -> list[str]:
    """Refuse what contradicts the rest of a job, and try metrics and conditions of the user's own on made-up data.

    Args:
        stopping: see :func:`resolve_stopping`.
        evaluate_every: when the validation split is evaluated; :attr:`Trigger.is_never` if nothing is.
        epochs: of the job.
        steps_per_epoch: of the job, if it is known.
        labels: of the classes.

    Returns:
        a line for each condition that can never hold because the job ends before; it does no harm.

    Raises:
        ConfigError: for a condition on a score that nothing gives, or a function of the user's own that fails.
    """
    steps = None if steps_per_epoch is None else epochs * steps_per_epoch
    evaluations = _evaluations(evaluate_every, epochs, steps)
    notes = []
    for condition in stopping.conditions:
        if condition.score is not None and evaluations == 0:
            before = f"the job ends before the first evaluation ({evaluate_every})"
            when = "nothing is evaluated while it trains" if evaluate_every.is_never else before
            raise ConfigError(
                f"stop {condition.spec} looks at {condition.score.name} of the validation split, but {when}."
                " Evaluate more often (there must be a validation split), or leave it out."
            )
        late = _never_holds(condition, epochs, steps, evaluations)
        if late:
            notes.append(f"stop {condition.spec} can never hold: {late}.")
        if isinstance(condition, UserCondition):
            condition.reason(Record(step=1, epoch=1, epoch_ended=False, seconds=1.0, training_loss=1.0))
    for score in stopping.scores:
        try_score(score, list(labels))
    return notes


def _evaluations(every: Trigger, epochs: int, steps: int | None) -> float:
    """How many evaluations a job of this length has at most."""
    if every.seconds is not None or (every.steps is not None and steps is None):
        return math.inf
    by_steps = (steps or 0) // every.steps if every.steps else 0
    return by_steps + (epochs // every.epochs if every.epochs else 0)


def _never_holds(condition: Condition, epochs: int, steps: int | None, evaluations: float) -> str | None:
    if isinstance(condition, MaximumEpochs) and condition.maximum > epochs:
        return f"the job ends after {epochs} epochs"
    if isinstance(condition, MaximumSteps) and steps is not None and condition.maximum > steps:
        return f"the job ends after {steps} steps"
    if isinstance(condition, Patience):
        if condition.epochs is not None and condition.epochs > epochs:
            return f"the job ends after {epochs} epochs"
        if condition.evaluations is not None and condition.evaluations > evaluations:
            return f"the job has at most {evaluations:g} evaluations"
    return None


# -- specs ----------------------------------------------------------------------------------------------------------


def _read(spec: Spec, score: Score) -> Condition:
    if spec.name in _CONDITIONS:
        return _CONDITIONS[spec.name](spec, score)
    if ":" not in spec.name:
        raise ConfigError(
            f"there is no stop condition {spec.name!r}.{did_you_mean(spec.name, _CONDITIONS)} There are"
            f" {', '.join(_CONDITIONS)}; a condition of your own is MODULE:FUNCTION."
        )
    function = UserFunction(spec.name)
    function.load(f"condition {spec.name!r}")
    return UserCondition(spec, function, spec.options)


def _epochs(spec: Spec, score: Score) -> Condition:
    _options(spec, "maximum", example="epochs:maximum=10")
    return MaximumEpochs(spec, _whole(spec, "maximum"))


def _steps(spec: Spec, score: Score) -> Condition:
    _options(spec, "maximum", example="steps:maximum=5000")
    return MaximumSteps(spec, _whole(spec, "maximum"))


def _time(spec: Spec, score: Score) -> Condition:
    lengths = {"hours": 3600, "minutes": 60, "seconds": 1}
    _options(spec, *lengths, example="time:minutes=30")
    seconds = sum(_number(spec, unit) * length for unit, length in lengths.items() if unit in spec.options)
    if seconds <= 0:
        raise ConfigError(f"stop {spec} would end the training at once: give more than 0.")
    return MaximumTime(spec, seconds)


def _bounds(spec: Spec, score: Score) -> Condition:
    _options(spec, "above", "below", "finite", example="bounds:above=10")
    above = _number(spec, "above") if "above" in spec.options else math.inf
    below = _number(spec, "below") if "below" in spec.options else -math.inf
    if below > above:
        raise ConfigError(f"stop {spec}: every loss is above {above:g} or below {below:g}. Swap them.")
    return LossBounds(spec, above, below)


def _score(spec: Spec, score: Score) -> Condition:
    _options(spec, "reach", "metric", example="score:reach=0.99")
    score = _metric(spec, score)
    reach = _number(spec, "reach")
    worst, best = (score.lowest, score.highest) if score.higher else (score.highest, score.lowest)
    if not score.lowest <= reach <= score.highest:
        between = f"from {score.lowest:g} to {score.highest:g}" if math.isfinite(score.highest) else f"{best:g} or more"
        raise ConfigError(f"stop {spec}: {score.name} is {between}, got {reach:g}.")
    if reach == worst:
        raise ConfigError(f"stop {spec} would hold at the first evaluation: no {score.name} is worse than {reach:g}.")
    return ScoreReached(spec, score, reach)


def _patience(spec: Spec, score: Score) -> Condition:
    _options(spec, "evaluations", "epochs", "min_improvement", "metric", example="patience:evaluations=5")
    if ("evaluations" in spec.options) == ("epochs" in spec.options):
        raise ConfigError(f"stop {spec}: give either evaluations or epochs. Example: patience:evaluations=5")
    score = _metric(spec, score)
    least = _number(spec, "min_improvement") if "min_improvement" in spec.options else 0.0
    widest = score.highest - score.lowest
    if not 0 <= least <= widest:
        limit = f" and at most {widest:g}, the range of {score.name}" if math.isfinite(widest) else ""
        raise ConfigError(f"stop {spec}: min_improvement must be 0 or more{limit}, got {least:g}.")
    unit = "evaluations" if "evaluations" in spec.options else "epochs"
    return Patience(spec, score, min_improvement=least, **{unit: _whole(spec, unit)})


_CONDITIONS: dict[str, Callable[[Spec, Score], Condition]] = {
    "epochs": _epochs,
    "steps": _steps,
    "time": _time,
    "score": _score,
    "patience": _patience,
    "bounds": _bounds,
}


def _options(spec: Spec, *allowed: str, example: str) -> None:
    check_options(f"stop condition {spec.name}", spec.options, allowed)
    if not spec.options:
        raise ConfigError(f"stop condition {spec.name} needs one of {', '.join(allowed)}. Example: {example}")


def _metric(spec: Spec, score: Score) -> Score:
    return resolve_score(str(spec.options["metric"])) if "metric" in spec.options else score


def _number(spec: Spec, key: str) -> float:
    value = spec.options.get(key)
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        given = f"got {value!r}" if key in spec.options else "it is not given"
        raise ConfigError(f"stop {spec}: {key} must be a number, {given}.")
    return number


def _whole(spec: Spec, key: str) -> int:
    value = spec.options.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        given = f"got {value!r}" if key in spec.options else "it is not given"
        raise ConfigError(f"stop {spec}: {key} must be a whole number, 1 or more, {given}.")
    return value


def _flag(spec: Spec, key: str, default: bool | None) -> bool | None:
    value = spec.options.get(key, default)
    if key in spec.options and not isinstance(value, bool):
        raise ConfigError(f"stop {spec}: {key} must be yes or no, got {value!r}.")
    return value


__all__ = ["check_stopping", "resolve_stopping"]
