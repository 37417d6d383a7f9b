"""When something is due: ``2 epochs``, ``500 steps``, ``10 minutes``, or several of them, whichever comes first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean

_UNITS = {"epoch": "epochs", "step": "steps", "second": "seconds", "minute": "seconds", "hour": "seconds"}
"""Unit, without its plural s -> field."""

_SECONDS = {"hour": 3600, "minute": 60, "second": 1}

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


class Trigger(BaseModel):
    """How often something is due. In JSON, settings files and on the command line it is its text.

    Of several parts whichever comes first: epochs and steps are counted from the beginning of the run, so that they fall
    on the same steps whatever else there is; seconds are counted from the last time that it was due for any reason.

    Attributes:
        epochs: due when this many more epochs have ended.
        steps: due at each multiple of this many optimizer steps.
        seconds: due when this long has been trained since the last time.

    Without any it is never due; its text is ``never``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | Trigger) else _parse(value)

    @model_serializer
    def __str__(self) -> str:
        parts = [f"{count} {name}" for name, count in (("epochs", self.epochs), ("steps", self.steps)) if count]
        if self.seconds is not None:
            unit = next((u for u, length in _SECONDS.items() if self.seconds % length == 0), "second")
            parts.append(f"{_plain(self.seconds / _SECONDS[unit])} {unit}s")
        return " or ".join(part.removesuffix("s") if part.startswith("1 ") else part for part in parts) or "never"

    @property
    def is_never(self) -> bool:
        """True if it is never due."""
        return self == Trigger()


def parse_trigger(value: str | Trigger) -> Trigger:
    """Read ``2 epochs``, ``500 steps``, ``10 minutes``, ``1 epoch or 30 seconds``, ``1 epoch, 500 steps`` or ``never``.

    Raises:
        ConfigError: if it is something else, has two parts of one kind, or a part of 0.
    """
    return value if isinstance(value, Trigger) else Trigger(**_parse(value))


class Clock:
    """Tells when a trigger is due, whether it is asked at every step or only at some.

    It counts what has been passed since it was last asked: asked at step 497 and then at 503, ``500 steps`` is due at
    503, and next at the first question at step 1000 or later. It is due at most once at one step.

    Where several workers ask, all must ask with the same numbers, or one asks and tells the others: the clocks of two
    hosts differ.
    """

    def __init__(self, trigger: Trigger):
        self._trigger = trigger
        self._step, self._epochs, self._seconds = 0, 0, 0.0  # when it was last due

    def due(self, step: int, epochs: int, seconds: float) -> bool:
        """Whether it is due now.

        Args:
            step: optimizer steps done since the beginning of the run.
            epochs: that have ended since then.
            seconds: trained since then, before a resumption too. What is done when it is due (saving, evaluating)
                should not count, or something slow would be due again at once.
        """
        trigger = self._trigger
        reached = (
            (trigger.steps is not None and step // trigger.steps > self._step // trigger.steps)
            or (trigger.epochs is not None and epochs // trigger.epochs > self._epochs // trigger.epochs)
            or (trigger.seconds is not None and seconds - self._seconds >= trigger.seconds)
        )
        if not reached:
            return False
        again = step <= self._step
        self._step, self._epochs, self._seconds = step, epochs, seconds
        return not again

    def state(self) -> dict[str, Any]:
        """When it was last due, in JSON values."""
        return {"step": self._step, "epochs": self._epochs, "seconds": self._seconds}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; also one of another trigger."""
        self._step, self._epochs, self._seconds = int(state["step"]), int(state["epochs"]), float(state["seconds"])


def _parse(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        unit = f"; {text} of what? Example: '{text} steps'" if isinstance(text, int) else ""
        raise ConfigError(f"expected a text such as '2 epochs', '500 steps' or '10 minutes', got {text!r}{unit}.")
    if text.strip().lower() == "never":
        return {}
    fields: dict[str, Any] = {}
    for part in re.split(r",|\bor\b", text, flags=re.IGNORECASE):
        name, value = _parse_part(part.strip(), text)
        if name in fields:
            raise ConfigError(f"{text!r} gives {name} twice; only the smaller would count, got {part.strip()!r}.")
        fields[name] = value
    return fields


def _parse_part(part: str, text: str) -> tuple[str, int | float]:
    match = _PART.fullmatch(part)
    allowed = "a number and epochs, steps, seconds, minutes or hours, as in '2 epochs' or '1 epoch or 10 minutes'"
    if match is None:
        raise ConfigError(f"expected {allowed}, got {text!r}.")
    number, unit = match[1], match[2].lower().removesuffix("s")
    if unit not in _UNITS:
        near = did_you_mean(match[2].lower(), [f"{each}s" for each in _UNITS])
        raise ConfigError(f"there is no unit {match[2]!r}.{near} Expected {allowed}, got {text!r}.")
    if not float(number):
        raise ConfigError(f"{text!r} would be due all the time: expected more than 0, got {part!r}.")
    if unit in _SECONDS:
        seconds = float(number) * _SECONDS[unit]
        if math.isinf(seconds):
            raise ConfigError(f"expected a time that can come, got {part!r}.")
        return "seconds", seconds
    if "." in number:
        raise ConfigError(f"expected a whole number of {unit}s, got {part!r}.")
    return _UNITS[unit], int(number)


def _plain(number: float) -> str:
    """A positive number without an exponent, which the text form does not have."""
    return str(int(number)) if number == int(number) else format(Decimal(repr(number)), "f")


__all__ = ["Clock", "Trigger", "parse_trigger"]
