"""Layers that do not learn: their parameters stay, and so do the statistics of their batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError
from firesteel.models.transfer.pretrained import is_part_of
from firesteel.specs import did_you_mean

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 8


def freeze(
    model: nn.Module, *, until: str | None = None, only: Sequence[str] = (), head: Iterable[str] = ()
) -> list[nn.Module]:
    """Freeze a part of a network: its parameters get ``requires_grad=False``.

    Args:
        model: changed in place.
        until: a layer, or a pattern with ``*``, ``?`` and ``[...]``: it (of several the last) is frozen, and all layers
            that are defined before it. They behave as in evaluation, dropout too.
        only: patterns on the names of parameters, or of the layers that hold them; all others are frozen.
        head: layers that learn in any case.

    Returns:
        layers that stay in evaluation mode while the network trains.

    Raises:
        ConfigError: if a pattern matches nothing, both are given, or nothing is left to learn.
    """
    if until is None and not only:
        return []
    if until is not None and only:
        raise ConfigError("freeze_until and train_only both say what is frozen. Use one of them.")
    head = tuple(head)
    still = _freeze_until(model, until, head) if until is not None else _freeze_others(model, only, head)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            f"{'freeze_until ' + repr(until) if until is not None else 'train_only'} leaves nothing to train."
        )
    return still


def still_norms(model: nn.Module) -> list[nn.Module]:
    """Norms with statistics whose parameters are all frozen: they keep their statistics, and work with them."""
    return [
        module
        for module in model.modules()
        if getattr(module, "running_mean", None) is not None
        and (own := list(module.parameters(recurse=False)))
        and not any(parameter.requires_grad for parameter in own)
    ]


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches a parameter's name, or that of a module that holds it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _freeze_until(model: nn.Module, until: str, head: tuple[str, ...]) -> list[nn.Module]:
    modules = dict(model.named_modules())
    names = list(modules)
    found = [name for name in names if name and fnmatchcase(name, until)]
    if not found:
        layers = [name for name in names if name]
        raise ConfigError(
            f"freeze_until: {until!r} is no layer of the network.{did_you_mean(until, layers)} It has {_some(layers)}."
        )
    last = max(number for number, name in enumerate(names) if is_part_of(name, found[-1:]))
    frozen = {name for name in names[: last + 1] if not is_part_of(name, head)}
    still = []
    for name in names[: last + 1]:
        if name not in frozen:
            continue
        for parameter in modules[name].parameters(recurse=False):
            parameter.requires_grad_(False)
        # A module of others may compute something of its own, as the dropout of nn.MultiheadAttention: still if all of it is.
        if all(f"{name}.{inner}" in frozen for inner, _ in modules[name].named_modules() if inner):
            still.append(modules[name])
    return still


def _freeze_others(model: nn.Module, only: Sequence[str], head: tuple[str, ...]) -> list[nn.Module]:
    names = [name for name, _ in model.named_parameters()]
    for pattern in only:
        if not any(matches(name, pattern) for name in names):
            raise ConfigError(
                f"train_only: {pattern!r} matches no parameter of the network.{did_you_mean(pattern, names)} It has"
                f" {_some(names)}."
            )
    for name, parameter in model.named_parameters():
        if not is_part_of(name, head) and not any(matches(name, pattern) for pattern in only):
            parameter.requires_grad_(False)
    return []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


__all__ = ["freeze", "matches", "still_norms"]
