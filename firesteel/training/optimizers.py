"""Optimizers by name, with the options of torch.optim."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
}
"""Name -> class of torch.optim. Options are those of the class, except those of _NOT_OPTIONS."""

_FUSED = ("adam", "adamw")
"""One kernel for the whole step, unless an option chooses otherwise: a half to a third of the time on a CPU too."""

_IMPLEMENTATIONS = {"fused", "foreach"}

_NOT_OPTIONS = {"params", "lr", "capturable", "differentiable"}
"""Set by us, or without use in this loop."""


def check_optimizer(spec: Spec) -> Spec:
    """Check the name without importing torch.

    Raises:
        ConfigError: if there is no such optimizer.
    """
    if spec.name not in OPTIMIZERS:
        raise ConfigError(
            f"there is no optimizer {spec.name!r}. There are {', '.join(OPTIMIZERS)}."
            f"{did_you_mean(spec.name, OPTIMIZERS)}"
        )
    return spec


def make_optimizer(
    spec: Spec, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], learning_rate: float
) -> Optimizer:
    """Build it.

    Args:
        spec: name and options; options apply to all parameters.
        parameters: to move, or groups of them as torch.optim takes them.
        learning_rate: of those whose group has none of its own.

    Raises:
        ConfigError: if it has no such option, or a value is out of range.
    """
    import torch

    kind = getattr(torch.optim, OPTIMIZERS[check_optimizer(spec).name])
    allowed = [name for name in inspect.signature(kind).parameters if name not in _NOT_OPTIONS]
    check_options(f"optimizer {spec.name}", spec.options, allowed)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.options.items()}
    groups: list[Any] = list(parameters)
    flat = [p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])]
    if spec.name in _FUSED and not _IMPLEMENTATIONS & options.keys():
        options["fused"] = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in flat)
    try:
        return kind(groups, lr=learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer {spec}: {error}") from error
