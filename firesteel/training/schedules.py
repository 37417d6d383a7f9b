"""Learning-rate schedules: how the factor on every learning rate follows from the step.

A schedule is a pure function of the number of steps made, of the steps of an epoch and of those of the run; only
``plateau`` follows a score and has a state. Each counts its time ``t`` in steps or, with ``by=epoch``, in epochs
begun, from 0; ``T`` is the time of the whole run.

=============  ====================================================================  =========  ========================
name           factor at time t                                                      by         the same in torch, Caffe
=============  ====================================================================  =========  ========================
constant       1                                                                                ConstantLR(1), fixed
step           gamma ^ floor(t / every)                                              epoch      StepLR, step
multistep      gamma ^ (milestones of ``at`` that t has reached)                     epoch      MultiStepLR, multistep
map            the learning rate of the last key that t has reached                  step
exponential    gamma ^ t                                                             epoch      ExponentialLR, exp
polynomial     final + (1 - final) * (1 - t / T) ^ power                             step       PolynomialLR, poly
inverse        (1 + gamma * t) ^ -power                                              step       inv
sigmoid        1 / (1 + exp(-gamma * (t - center)))                                  step       sigmoid
cosine         final + (1 - final) * (1 + cos(pi * t / T)) / 2                       step       CosineAnnealingLR
one_cycle      from ``start`` up to 1 within ``rise`` of the run, then to ``final``  step       OneCycleLR, three_phase off
plateau        times ``factor`` where a score has not improved for ``patience``      epoch      ReduceLROnPlateau
=============  ====================================================================  =========  ========================

Sources: the learning-rate policies of Caffe's ``SGDSolver``; Deeplearning4j's ``ISchedule`` classes, whose formulas
are Caffe's; Loshchilov and Hutter, "SGDR", ICLR 2017 (cosine, without restarts); Smith and Topin, "Super-convergence",
2017 (one_cycle, without its cycle of the momentum).
"""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec

Unit = Literal["step", "epoch"]


@dataclass(frozen=True)
class Timing:
    """How long a run is.

    Attributes:
        steps_per_epoch: optimizer steps of each worker in one pass over the data.
        epochs: passes.
    """

    steps_per_epoch: int
    epochs: int

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def time(self, step: int, by: Unit) -> int:
        """Steps made, or epochs ended."""
        return step if by == "step" else step // self.steps_per_epoch

    def total(self, by: Unit) -> int:
        """The time of the whole run."""
        return self.total_steps if by == "step" else self.epochs


class Schedule(ABC):
    """The factor by which every learning rate of a run is multiplied at each step."""

    wants_score: bool = False
    """Whether :meth:`add_score` is to be called at the end of each epoch."""

    @abstractmethod
    def factor(self, step: int) -> float:
        """The factor for the step that follows ``step`` steps; 1 is the learning rate of the job."""

    def add_score(self, score: float) -> None:
        """Take note of the score of the epoch that has ended, which must be the same on every rank."""

    def state(self) -> dict[str, Any]:
        """What the factor depends on besides the step, as JSON values."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""


class Constant(Schedule):
    """1 all the time."""

    def __init__(self, timing: Timing | None = None):
        pass

    def factor(self, step: int) -> float:
        return 1.0


class Step(Schedule):
    """``gamma ^ floor(t / every)``."""

    def __init__(self, timing: Timing, every: int, gamma: float = 0.1, by: Unit = "epoch"):
        self._timing, self._by = timing, _unit("step", by)
        self._every = _count("step", "every", every)
        self._gamma = _number("step", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** (self._timing.time(step, self._by) // self._every)


class MultiStep(Schedule):
    """``gamma`` to the power of the milestones that were reached."""

    def __init__(self, timing: Timing, at: list[int], gamma: float = 0.1, by: Unit = "epoch"):
        given = [at] if isinstance(at, int) else at
        if not isinstance(given, list | tuple) or not given:
            raise ConfigError(f"schedule multistep: at must be a list of {by}s, for example at=[30,60], got {at!r}.")
        self._timing, self._by = timing, _unit("multistep", by)
        self._at = sorted(_count("multistep", "at", each) for each in given)
        self._gamma = _number("multistep", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** bisect_right(self._at, self._timing.time(step, self._by))


class Map(Schedule):
    """Learning rates by the time from which they hold; the first, at 0, is the learning rate of the job.

    Deeplearning4j: ``MapSchedule``.
    """

    def __init__(self, timing: Timing, options: Mapping[str, Any]):
        self._timing, self._by = timing, _unit("map", options.get("by", "step"))
        rates = map_rates(options)
        self._times = list(rates)
        self._factors = [rate / rates[0] for rate in rates.values()]

    def factor(self, step: int) -> float:
        return self._factors[bisect_right(self._times, self._timing.time(step, self._by)) - 1]


class Exponential(Schedule):
    """``gamma ^ t``."""

    def __init__(self, timing: Timing, gamma: float, by: Unit = "epoch"):
        self._timing, self._by = timing, _unit("exponential", by)
        self._gamma = _number("exponential", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** self._timing.time(step, self._by)


class Polynomial(Schedule):
    """``final + (1 - final) * (1 - t / T) ^ power``."""

    def __init__(self, timing: Timing, power: float = 1.0, final: float = 0.0, by: Unit = "step"):
        self._timing, self._by = timing, _unit("polynomial", by)
        self._power = _number("polynomial", "power", power, above=0)
        self._final = _number("polynomial", "final", final, least=0)

    def factor(self, step: int) -> float:
        return self._final + (1 - self._final) * (1 - _passed(self._timing, step, self._by)) ** self._power


class Inverse(Schedule):
    """``(1 + gamma * t) ^ -power``."""

    def __init__(self, timing: Timing, gamma: float, power: float = 1.0, by: Unit = "step"):
        self._timing, self._by = timing, _unit("inverse", by)
        self._gamma = _number("inverse", "gamma", gamma, least=0)
        self._power = _number("inverse", "power", power, above=0)

    def factor(self, step: int) -> float:
        return (1 + self._gamma * self._timing.time(step, self._by)) ** -self._power


class Sigmoid(Schedule):
    """``1 / (1 + exp(-gamma * (t - center)))``: with a negative ``gamma`` it falls from 1 to 0 around ``center``."""

    def __init__(self, timing: Timing, gamma: float, center: float, by: Unit = "step"):
        self._timing, self._by = timing, _unit("sigmoid", by)
        self._gamma = _number("sigmoid", "gamma", gamma)
        self._center = _number("sigmoid", "center", center)

    def factor(self, step: int) -> float:
        exponent = -self._gamma * (self._timing.time(step, self._by) - self._center)
        return 1 / (1 + math.exp(min(exponent, 700.0)))  # exp overflows above 709


class Cosine(Schedule):
    """``final + (1 - final) * (1 + cos(pi * t / T)) / 2``."""

    def __init__(self, timing: Timing, final: float = 0.0, by: Unit = "step"):
        self._timing, self._by = timing, _unit("cosine", by)
        self._final = _number("cosine", "final", final, least=0)

    def factor(self, step: int) -> float:
        wave = (1 + math.cos(math.pi * _passed(self._timing, step, self._by))) / 2
        return self._final + (1 - self._final) * wave


class OneCycle(Schedule):
    """From ``start`` up to 1 at the step ``rise * T - 1``, then down to ``final`` at the last step.

    Defaults are those of torch's OneCycleLR: ``start`` is its 1 / div_factor, ``final`` its start / final_div_factor.
    The momentum is left alone.
    """

    def __init__(
        self,
        timing: Timing,
        rise: float = 0.3,
        start: float = 0.04,
        final: float = 4e-6,
        shape: Literal["cosine", "linear"] = "cosine",
    ):
        if shape not in ("cosine", "linear"):
            raise ConfigError(f"schedule one_cycle: shape must be cosine or linear, got {shape!r}.")
        self._rise = _number("one_cycle", "rise", rise, least=0)
        if self._rise > 1:
            raise ConfigError(f"schedule one_cycle: rise is a part of the run, from 0 to 1, got {rise!r}.")
        self._start = _number("one_cycle", "start", start, least=0)
        self._final = _number("one_cycle", "final", final, least=0)
        self._cosine = shape == "cosine"
        self._last = timing.total_steps - 1

    def factor(self, step: int) -> float:
        peak = self._rise * (self._last + 1) - 1
        if step < peak:
            return self._between(self._start, 1.0, step / peak)
        if peak >= self._last:
            return 1.0
        return self._between(1.0, self._final, (min(step, self._last) - max(peak, 0)) / (self._last - max(peak, 0)))

    def _between(self, begin: float, end: float, passed: float) -> float:
        if self._cosine:
            passed = (1 - math.cos(math.pi * passed)) / 2
        return begin + (end - begin) * passed


class Plateau(Schedule):
    """Multiplied by ``factor`` where the score has not improved for more than ``patience`` epochs.

    Args:
        timing: of the run.
        factor: 0 < factor < 1.
        patience: epochs without an improvement that are borne.
        threshold: by which a score must be better than the best one.
        threshold_mode: rel, a part of the best score, or abs, in the unit of the score.
        cooldown: epochs after a reduction in which none is counted.
        min_factor: below which it never falls.
        more_is_better: True for an accuracy, False for a loss; decided by the score that is fed, no option of the user's.

    As torch's ReduceLROnPlateau, without its ``eps``. A score that is no number is no improvement.
    """

    wants_score = True

    def __init__(
        self,
        timing: Timing,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_factor: float = 0.0,
        *,
        more_is_better: bool = False,
    ):
        self._by_factor = _number("plateau", "factor", factor, above=0)
        if self._by_factor >= 1:
            raise ConfigError(f"schedule plateau: factor must be below 1, got {factor!r}.")
        if threshold_mode not in ("rel", "abs"):
            raise ConfigError(f"schedule plateau: threshold_mode must be rel or abs, got {threshold_mode!r}.")
        self._patience = _count("plateau", "patience", patience, least=0)
        self._threshold = _number("plateau", "threshold", threshold, least=0)
        self._relative = threshold_mode == "rel"
        self._cooldown = _count("plateau", "cooldown", cooldown, least=0)
        self._min_factor = _number("plateau", "min_factor", min_factor, least=0)
        self._more_is_better = more_is_better
        self._factor, self._best, self._bad_epochs, self._cooling = 1.0, None, 0, 0

    _best: float | None

    def factor(self, step: int) -> float:
        return self._factor

    def add_score(self, score: float) -> None:
        if self._improves(score):
            self._best, self._bad_epochs = score, 0
        else:
            self._bad_epochs += 1
        if self._cooling:
            self._cooling, self._bad_epochs = self._cooling - 1, 0
        if self._bad_epochs > self._patience:
            self._factor = max(self._factor * self._by_factor, self._min_factor)
            self._cooling, self._bad_epochs = self._cooldown, 0

    def state(self) -> dict[str, Any]:
        return {
            "factor": self._factor, "best": self._best, "bad_epochs": self._bad_epochs, "cooling": self._cooling,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        self._factor, self._best = state["factor"], state["best"]
        self._bad_epochs, self._cooling = state["bad_epochs"], state["cooling"]

    def _improves(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if self._best is None:
            return True
        # torch takes the part of the best score itself, with its sign: a negative score may then count as improved
        # where it is worse. The part of its magnitude is the same for scores above 0.
        margin = self._threshold * (abs(self._best) if self._relative else 1.0)
        return score > self._best + margin if self._more_is_better else score < self._best - margin


class WarmUp(Schedule):
    """Another schedule, multiplied in the first steps by a factor that rises from ``start`` to 1.

    The other schedule's clock runs from the start of the run: milestones keep their meaning.

    Args:
        schedule: the other one.
        steps: after which the factor is 1.
        start: factor of the first step; None is ``1 / (steps + 1)``, so that all rises are equal.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, 2.2 (gradual warm-up). torch: LinearLR.
    """

    def __init__(self, schedule: Schedule, steps: int, start: float | None = None):
        self._schedule, self._steps = schedule, steps
        self._start = 1 / (steps + 1) if start is None else start
        self.wants_score = schedule.wants_score

    def factor(self, step: int) -> float:
        factor = self._schedule.factor(step)
        if step >= self._steps:
            return factor
        return factor * (self._start + (1 - self._start) * step / self._steps)

    def add_score(self, score: float) -> None:
        self._schedule.add_score(score)

    def state(self) -> dict[str, Any]:
        return self._schedule.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self._schedule.load_state(state)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "step": Step,
    "multistep": MultiStep,
    "map": Map,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "inverse": Inverse,
    "sigmoid": Sigmoid,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "plateau": Plateau,
}
"""Name -> class; options are the parameters of its constructor."""


def read_schedule(value: Any) -> Any:
    """A schedule as a caller may write it: text, a Spec, or a dict of learning rates by step (``map``)."""
    if isinstance(value, str):
        return parse_spec(value)
    if isinstance(value, Mapping) and "name" not in value:
        return Spec(name="map", options={str(key): rate for key, rate in value.items()})
    return value


def make_schedule(spec: Spec, timing: Timing, *, more_is_better: bool = False) -> Schedule:
    """Build a schedule.

    Args:
        spec: name and options.
        timing: of the run.
        more_is_better: direction of the score that a ``plateau`` will be fed with.

    Raises:
        ConfigError: if there is no such schedule or option, or a value is out of range.
    """
    if spec.name not in SCHEDULES:
        raise ConfigError(
            f"there is no schedule {spec.name!r}. There are {', '.join(SCHEDULES)}.{did_you_mean(spec.name, SCHEDULES)}"
        )
    kind = SCHEDULES[spec.name]
    if kind is Map:
        return Map(timing, spec.options)
    given = dict(spec.options)
    parameters = [
        parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if name != "timing" and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    check_options(f"schedule {spec.name}", given, [parameter.name for parameter in parameters])
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in given:
            raise ConfigError(f"schedule {spec.name} needs {parameter.name}. {_EXAMPLES[spec.name]}")
    if kind is Plateau:
        given["more_is_better"] = more_is_better
    return kind(timing, **given)


def warm_up_steps(text: str, timing: Timing) -> int:
    """How many steps ``500``, ``500steps`` or ``2epochs`` are.

    Raises:
        ConfigError: if the text says something else, or more than the run has.
    """
    read = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(steps?|epochs?)?", str(text).strip())
    if read is None or ((read[2] or "step").startswith("step") and "." in read[1]):
        raise ConfigError(f"warmup must be a number of steps or epochs, for example 500 or 2epochs, got {text!r}.")
    by_epoch = (read[2] or "").startswith("epoch")
    steps = round(float(read[1]) * timing.steps_per_epoch) if by_epoch else int(read[1])
    if steps >= timing.total_steps > 0:
        raise ConfigError(
            f"warmup {text} takes {steps:,} steps, and the run has {timing.total_steps:,}"
            f" ({timing.epochs} epoch{'s' * (timing.epochs > 1)} of {timing.steps_per_epoch:,}): it would never reach its learning rate."
        )
    return steps


def map_rates(options: Mapping[str, Any]) -> dict[int, float]:
    """Learning rate by time from the options of a ``map`` schedule, in order of time.

    Raises:
        ConfigError: if a key is no time, a value no learning rate, or there is none for time 0.
    """
    rates = {}
    for key, value in options.items():
        if key == "by":
            continue
        if not key.isdecimal():
            raise ConfigError(f"schedule map: a key is a step (or by=epoch an epoch), got {key!r}. {_EXAMPLES['map']}")
        rates[int(key)] = _number("map", key, value, least=0)
    if rates.get(0, 0.0) <= 0:
        raise ConfigError(f"schedule map needs a learning rate above 0 for step 0. {_EXAMPLES['map']}")
    return dict(sorted(rates.items()))


_EXAMPLES = {
    "step": "Example: step:every=20,gamma=0.1",
    "multistep": "Example: multistep:at=[30,60,80]",
    "map": "Example: map:0=0.03,1000=0.005",
    "exponential": "Example: exponential:gamma=0.9",
    "inverse": "Example: inverse:gamma=0.0001,power=0.75",
    "sigmoid": "Example: sigmoid:gamma=-0.01,center=2000",
}


def _passed(timing: Timing, step: int, by: Unit) -> float:
    """Part of the run that has passed, 0 to 1."""
    return min(1.0, timing.time(step, by) / timing.total(by))


def _unit(schedule: str, by: Any) -> Unit:
    if by not in ("step", "epoch"):
        raise ConfigError(f"schedule {schedule}: by must be step or epoch, got {by!r}.")
    return "step" if by == "step" else "epoch"


def _count(schedule: str, name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"schedule {schedule}: {name} must be a whole number, {least} or more, got {value!r}.")
    return value


def _number(schedule: str, name: str, value: Any, *, above: float | None = None, least: float | None = None) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (above is not None and value <= above) or (least is not None and value < least):
        bound = f" above {above}" if above is not None else f", {least} or more" if least is not None else ""
        raise ConfigError(f"schedule {schedule}: {name} must be a number{bound}, got {value!r}.")
    return float(value)
