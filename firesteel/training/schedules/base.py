"""What a schedule is, and what its options are checked with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from firesteel.errors import ConfigError

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


EXAMPLES = {
    "step": "Example: step:every=20,gamma=0.1",
    "multistep": "Example: multistep:at=[30,60,80]",
    "map": "Example: map:0=0.03,1000=0.005",
    "exponential": "Example: exponential:gamma=0.9",
    "inverse": "Example: inverse:gamma=0.0001,power=0.75",
    "sigmoid": "Example: sigmoid:gamma=-0.01,center=2000",
}
"""What is shown where an option is missing or wrong."""


def passed(timing: Timing, step: int, by: Unit) -> float:
    """Part of the run that has passed, 0 to 1."""
    return min(1.0, timing.time(step, by) / timing.total(by))


def check_unit(schedule: str, by: Any) -> Unit:
    """``step`` or ``epoch``, or a ConfigError."""
    if by not in ("step", "epoch"):
        raise ConfigError(f"schedule {schedule}: by must be step or epoch, got {by!r}.")
    return "step" if by == "step" else "epoch"


def check_count(schedule: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number, or a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"schedule {schedule}: {name} must be a whole number, {least} or more, got {value!r}.")
    return value


def check_number(
    schedule: str, name: str, value: Any, *, above: float | None = None, least: float | None = None
) -> float:
    """A finite number within the bounds, or a ConfigError."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (above is not None and value <= above) or (least is not None and value < least):
        bound = f" above {above}" if above is not None else f", {least} or more" if least is not None else ""
        raise ConfigError(f"schedule {schedule}: {name} must be a number{bound}, got {value!r}.")
    return float(value)


__all__ = ["EXAMPLES", "Schedule", "Timing", "Unit", "check_count", "check_number", "check_unit", "passed"]
