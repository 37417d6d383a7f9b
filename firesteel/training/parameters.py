"""Which parameters an optimizer moves, and at which learning rate each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from firesteel.errors import ConfigError
from firesteel.models.transfer.freezing import matches
from firesteel.specs import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from firesteel.training.settings import UpdateSettings

Kind = Literal["weight", "bias", "normalization"]

_SHOWN_NAMES = 8


def kinds_of(model: nn.Module) -> dict[str, Kind]:
    """What each parameter is, by its name.

    ``normalization`` are all parameters of a module whose class has ``Norm`` in its name (BatchNorm2d, LayerNorm, a
    RMSNorm of one's own); ``bias`` is any other parameter called ``bias`` or with ``bias`` as a part of its name
    (``bias_ih_l0``, ``in_proj_bias``); everything else is a ``weight``.
    """
    kinds: dict[str, Kind] = {}
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if "Norm" in type(model.get_submodule(owner)).__name__:
            kinds[name] = "normalization"
        else:
            kinds[name] = "bias" if "bias" in leaf.split("_") else "weight"
    return kinds


def regularized(model: nn.Module, which: Literal["weights", "all"]) -> list[nn.Parameter]:
    """The trainable parameters that penalties and weight decay apply to: weights only, or all."""
    kinds = kinds_of(model)
    return [
        p for name, p in model.named_parameters() if p.requires_grad and (which == "all" or kinds[name] == "weight")
    ]


def parameter_groups(model: nn.Module, settings: UpdateSettings, model_name: str) -> list[dict[str, Any]]:
    """Groups for an optimizer, each with its learning rate ``lr``; parameters with a factor of 0 are frozen.

    A frozen parameter gets ``requires_grad=False``: no gradient is computed for it, and nothing is exchanged. The statistics of a
    batch norm stay with its parameters, see :mod:`firesteel.models.transfer.freezing`.

    Args:
        model: changed only in what is frozen.
        settings: of the job.
        model_name: for messages.

    Raises:
        ConfigError: if a pattern of ``layer_learning_rates`` matches nothing, or nothing is left to train.
    """
    factors = _factors(model, settings.layer_learning_rates, model_name)
    kinds = kinds_of(model)
    for name, parameter in model.named_parameters():
        if factors[name] == 0:
            parameter.requires_grad_(False)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = settings.learning_rate
        if kinds[name] == "bias" and settings.bias_learning_rate is not None:
            rate = settings.bias_learning_rate
        groups.setdefault(rate * settings.worker_factor * factors[name], []).append(parameter)
    if not groups:
        frozen = " that is left: layer_learning_rates freezes them all" if 0 in factors.values() else ""
        raise ConfigError(f"model {model_name} has no trainable parameter{frozen}.")
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


def _factors(model: nn.Module, patterns: dict[str, float], model_name: str) -> dict[str, float]:
    """The factor of each parameter: that of the last pattern that matches it, else 1."""
    names = [name for name, _ in model.named_parameters()]
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in patterns.items():
        matched = [name for name in names if matches(name, pattern)]
        if not matched:
            shown = ", ".join(names[:_SHOWN_NAMES]) + (
                f" and {len(names) - _SHOWN_NAMES} more" * (len(names) > _SHOWN_NAMES)
            )
            raise ConfigError(
                f"layer_learning_rates: {pattern!r} matches no parameter of model {model_name}."
                f"{did_you_mean(pattern, [*names, *_owners(names)])}\nIt has {shown}."
            )
        factors.update(dict.fromkeys(matched, factor))
    return factors


def _owners(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))
