"""Schedules by name and options, as a user writes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec
from firesteel.training.schedules.base import EXAMPLES, Schedule, Timing
from firesteel.training.schedules.curves import (
    Constant,
    Cosine,
    Exponential,
    Inverse,
    Map,
    MultiStep,
    OneCycle,
    Polynomial,
    Sigmoid,
    Step,
)
from firesteel.training.schedules.plateau import Plateau

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
            raise ConfigError(f"schedule {spec.name} needs {parameter.name}. {EXAMPLES[spec.name]}")
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


__all__ = ["SCHEDULES", "make_schedule", "read_schedule", "warm_up_steps"]
