"""What a job says about everything between gradient and parameter, checked without torch."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from firesteel.errors import ConfigError
from firesteel.specs import Spec, parse_spec
from firesteel.training.clipping import check_clip
from firesteel.training.initialization import check_init
from firesteel.training.optimizers import check_optimizer
from firesteel.training.schedules import Timing, make_schedule, map_rates, read_schedule, warm_up_steps

DEFAULT_LEARNING_RATE = 0.001


class UpdateSettings(BaseModel):
    """How gradients become steps.

    Attributes:
        learning_rate: of the optimizer, before any factor; None is 0.001, or what a ``map`` schedule begins with.
        optimizer: name and options, see :mod:`firesteel.training.optimizers`.
        schedule: the factor on every learning rate by step, see :mod:`firesteel.training.schedules`; in Python also a dict
            of learning rates by step, ``{0: 0.03, 1000: 0.005}``.
        warmup: steps (``500``) or epochs (``2epochs``) in which the factor rises to that of the schedule; from the
            learning rate of one worker where ``lr_scaling`` multiplies it, else from nearly 0.
        workers: processes with one copy of the model each.
        lr_scaling: multiplies every learning rate by the number of workers (``linear``; Goyal et al. 2017), by its square
            root (``sqrt``; Krizhevsky 2014) or not at all.
        bias_learning_rate: of all biases, absolute, multiplied by schedule and workers as any other; None is
            ``learning_rate``.
        layer_learning_rates: factor by pattern on the names of parameters or of the modules that hold them, with ``*``,
            ``?`` and ``[...]``; of several that match the last counts, and 0 freezes. Also a list of ``PATTERN=FACTOR``.
        l1, l2: penalties, added to the gradient.
        weight_decay: decoupled from the gradient, for every optimizer; None leaves it to the optimizer, of which adamw
            takes 0.01, on all parameters.
        regularize: what l1, l2 and weight_decay apply to: ``weights``, or ``all`` with biases and normalisation.
        clip: of gradients, see :mod:`firesteel.training.clipping`.
        init: initial weights, see :mod:`firesteel.training.initialization`.
        precision: of the forward pass: fp32, bf16 or fp16 (GPU only), see :mod:`firesteel.training.precision`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=DEFAULT_LEARNING_RATE, gt=0, allow_inf_nan=False)
    optimizer: Spec = Spec(name="adam")
    schedule: Spec = Spec(name="constant")
    warmup: str = "0"
    workers: int = Field(default=1, ge=1)
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    bias_learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    layer_learning_rates: dict[str, float] = Field(default_factory=dict)
    l1: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    l2: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    weight_decay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    regularize: Literal["weights", "all"] = "weights"
    clip: Spec = Spec(name="none")
    init: Spec = Spec(name="default")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    @model_validator(mode="before")
    @classmethod
    def _fill_learning_rate(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("learning_rate") is not None:
            return values
        schedule = read_schedule(values.get("schedule"))
        spec = Spec.model_validate(schedule) if isinstance(schedule, Mapping) else schedule
        rate = DEFAULT_LEARNING_RATE
        if isinstance(spec, Spec) and spec.name == "map":
            with contextlib.suppress(ConfigError):  # check_settings says what is wrong with it
                rate = map_rates(spec.options)[0]
        return {**values, "learning_rate": rate}

    @field_validator("optimizer", "clip", "init", mode="before")
    @classmethod
    def _read_spec(cls, value: Any) -> Any:
        return parse_spec(value) if isinstance(value, str) else value

    @field_validator("schedule", mode="before")
    @classmethod
    def _read_schedule(cls, value: Any) -> Any:
        return read_schedule(value)

    @field_validator("warmup", mode="before")
    @classmethod
    def _read_warmup(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("layer_learning_rates", mode="before")
    @classmethod
    def _read_layers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        factors = {}
        for text in value:
            pattern, _, factor = str(text).rpartition("=")
            try:
                factors[pattern.strip()] = float(factor)
            except ValueError:
                pattern = ""
            if not pattern.strip():
                raise ConfigError(f"expected PATTERN=FACTOR, for example 'features.*=0.1', got {text!r}.")
        return factors

    @property
    def worker_factor(self) -> float:
        """By which every learning rate is multiplied because of the number of workers."""
        return {"none": 1.0, "linear": float(self.workers), "sqrt": math.sqrt(self.workers)}[self.lr_scaling]


def check_settings(settings: UpdateSettings, timing: Timing, device: str) -> None:
    """Check what can be checked before anything is started, without torch.

    What only torch knows (the options of an optimizer) and only the network (patterns on its parameters) is checked by
    :mod:`firesteel.training.trial`.

    Args:
        settings: of the job.
        timing: of the run.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: for the first option that is wrong, or does not go with another.
    """
    check_optimizer(settings.optimizer)
    make_schedule(settings.schedule, timing)
    warm_up_steps(settings.warmup, timing)
    check_clip(settings.clip)
    check_init(settings.init)
    check_precision(settings.precision, device)
    if settings.schedule.name == "map":
        first = map_rates(settings.schedule.options)[0]
        if settings.learning_rate != first:
            raise ConfigError(
                f"schedule map sets the learning rate, {first:g} at the start; learning_rate {settings.learning_rate:g}"
                " says something else. Leave --learning-rate out."
            )
    for pattern, factor in settings.layer_learning_rates.items():
        if not 0 <= factor < math.inf:
            raise ConfigError(f"layer_learning_rates: {pattern!r} needs a factor of 0 (frozen) or more, got {factor}.")
    if settings.weight_decay is not None and "weight_decay" in settings.optimizer.options:
        raise ConfigError(
            f"weight_decay is given twice: {settings.weight_decay:g} and in --optimizer {settings.optimizer}.\n"
            "--weight-decay is decoupled and spares biases and normalisation; the optimizer's own is torch's, on all"
            " parameters. Use one of them."
        )


def check_precision(precision: str, device: str) -> None:
    """Refuse fp16 on a CPU, where it has less range than bf16 and is not faster.

    Args:
        precision: fp32, bf16 or fp16.
        device: auto, or that of a worker: cpu, cuda, cuda:0, ...

    Raises:
        ConfigError: see above.
    """
    if precision == "fp16" and device == "cpu":
        raise ConfigError(
            "precision fp16 needs a GPU, got device cpu. Use --precision bf16, which CPUs compute too, or fp32."
        )


def learning_rate_line(settings: UpdateSettings) -> str:
    """How the learning rate comes about, for people: ``learning rate 0.004: 0.001 x 4 workers (linear)``."""
    rate = settings.learning_rate * settings.worker_factor
    line = f"learning rate {rate:.6g}"
    if settings.lr_scaling != "none":
        workers = f"{settings.workers} worker{'s' * (settings.workers > 1)}"
        times = workers if settings.lr_scaling == "linear" else f"sqrt({workers})"
        line += f": {settings.learning_rate:.6g} x {times} ({settings.lr_scaling})"
    if settings.warmup.strip("0"):
        start = f" from {settings.learning_rate:.6g}" if settings.worker_factor != 1 else ""
        number, unit = re.match(r"([\d.]*)\s*(.*)", settings.warmup).groups()  # type: ignore[union-attr]
        unit = (unit or "step").rstrip("s") + "s" * (number != "1")
        line += f", warm-up{start} in {number} {unit}"
    if settings.schedule.name != "constant":
        line += f", schedule {settings.schedule}"
    return line
