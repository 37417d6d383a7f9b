"""Schedules that are functions of the time alone; :mod:`firesteel.training.schedules` has the formulas."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Literal

from firesteel.errors import ConfigError
from firesteel.training.schedules.base import (
    EXAMPLES,
    Schedule,
    Timing,
    Unit,
    check_count,
    check_number,
    check_unit,
    passed,
)


class Constant(Schedule):
    """1 all the time."""

    def __init__(self, timing: Timing | None = None):
        pass

    def factor(self, step: int) -> float:
        return 1.0


class Step(Schedule):
    """``gamma ^ floor(t / every)``."""

    def __init__(self, timing: Timing, every: int, gamma: float = 0.1, by: Unit = "epoch"):
        self._timing, self._by = timing, check_unit("step", by)
        self._every = check_count("step", "every", every)
        self._gamma = check_number("step", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** (self._timing.time(step, self._by) // self._every)


class MultiStep(Schedule):
    """``gamma`` to the power of the milestones that were reached."""

    def __init__(self, timing: Timing, at: list[int], gamma: float = 0.1, by: Unit = "epoch"):
        given = [at] if isinstance(at, int) else at
        if not isinstance(given, list | tuple) or not given:
            raise ConfigError(f"schedule multistep: at must be a list of {by}s, for example at=[30,60], got {at!r}.")
        self._timing, self._by = timing, check_unit("multistep", by)
        self._at = sorted(check_count("multistep", "at", each) for each in given)
        self._gamma = check_number("multistep", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** bisect_right(self._at, self._timing.time(step, self._by))


class Map(Schedule):
    """Learning rates by the time from which they hold; the first, at 0, is the learning rate of the job.

    Deeplearning4j: ``MapSchedule``.
    """

    def __init__(self, timing: Timing, options: Mapping[str, Any]):
        self._timing, self._by = timing, check_unit("map", options.get("by", "step"))
        rates = map_rates(options)
        self._times = list(rates)
        self._factors = [rate / rates[0] for rate in rates.values()]

    def factor(self, step: int) -> float:
        return self._factors[bisect_right(self._times, self._timing.time(step, self._by)) - 1]


class Exponential(Schedule):
    """``gamma ^ t``."""

    def __init__(self, timing: Timing, gamma: float, by: Unit = "epoch"):
        self._timing, self._by = timing, check_unit("exponential", by)
        self._gamma = check_number("exponential", "gamma", gamma, above=0)

    def factor(self, step: int) -> float:
        return self._gamma ** self._timing.time(step, self._by)


class Polynomial(Schedule):
    """``final + (1 - final) * (1 - t / T) ^ power``."""

    def __init__(self, timing: Timing, power: float = 1.0, final: float = 0.0, by: Unit = "step"):
        self._timing, self._by = timing, check_unit("polynomial", by)
        self._power = check_number("polynomial", "power", power, above=0)
        self._final = check_number("polynomial", "final", final, least=0)

    def factor(self, step: int) -> float:
        return self._final + (1 - self._final) * (1 - passed(self._timing, step, self._by)) ** self._power


class Inverse(Schedule):
    """``(1 + gamma * t) ^ -power``."""

    def __init__(self, timing: Timing, gamma: float, power: float = 1.0, by: Unit = "step"):
        self._timing, self._by = timing, check_unit("inverse", by)
        self._gamma = check_number("inverse", "gamma", gamma, least=0)
        self._power = check_number("inverse", "power", power, above=0)

    def factor(self, step: int) -> float:
        return (1 + self._gamma * self._timing.time(step, self._by)) ** -self._power


class Sigmoid(Schedule):
    """``1 / (1 + exp(-gamma * (t - center)))``: with a negative ``gamma`` it falls from 1 to 0 around ``center``."""

    def __init__(self, timing: Timing, gamma: float, center: float, by: Unit = "step"):
        self._timing, self._by = timing, check_unit("sigmoid", by)
        self._gamma = check_number("sigmoid", "gamma", gamma)
        self._center = check_number("sigmoid", "center", center)

    def factor(self, step: int) -> float:
        exponent = -self._gamma * (self._timing.time(step, self._by) - self._center)
        return 1 / (1 + math.exp(min(exponent, 700.0)))  # exp overflows above 709


class Cosine(Schedule):
    """``final + (1 - final) * (1 + cos(pi * t / T)) / 2``."""

    def __init__(self, timing: Timing, final: float = 0.0, by: Unit = "step"):
        self._timing, self._by = timing, check_unit("cosine", by)
        self._final = check_number("cosine", "final", final, least=0)

    def factor(self, step: int) -> float:
        wave = (1 + math.cos(math.pi * passed(self._timing, step, self._by))) / 2
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
        self._rise = check_number("one_cycle", "rise", rise, least=0)
        if self._rise > 1:
            raise ConfigError(f"schedule one_cycle: rise is a part of the run, from 0 to 1, got {rise!r}.")
        self._start = check_number("one_cycle", "start", start, least=0)
        self._final = check_number("one_cycle", "final", final, least=0)
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
            raise ConfigError(f"schedule map: a key is a step (or by=epoch an epoch), got {key!r}. {EXAMPLES['map']}")
        rates[int(key)] = check_number("map", key, value, least=0)
    if rates.get(0, 0.0) <= 0:
        raise ConfigError(f"schedule map needs a learning rate above 0 for step 0. {EXAMPLES['map']}")
    return dict(sorted(rates.items()))


__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "Inverse",
    "Map",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Sigmoid",
    "Step",
    "WarmUp",
    "map_rates",
]
