"""What a layer of a network gives, as a vector for each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError
from firesteel.models.graph import Graph
from firesteel.specs import did_you_mean

Pool = Literal["auto", "average", "flatten"]
POOLS = ("auto", "average", "flatten")

_TRIAL_ROWS = 3
_SHOWN = 12
_HEADS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class _Seen:
    """What a run without much data tells of a module: how often it is called, and what it takes and gives at last."""

    calls: int
    given: Any
    result: Any


class LayerOutput(nn.Module):
    """(B, *input_shape) -> (B, F) in float32: what one layer gives, or what goes into the last one.

    Args:
        network: in evaluation mode; shared, not copied. Its module is computed no further than to that layer.
        input_shape: of a row.
        layer: name of a module, as ``firesteel summary`` shows it, or of a step of a graph. None is what goes into the last
            linear or convolutional layer: the features that the classes are told from. Of a layer that is called several times the
            last call counts.
        pool: what becomes of results of more dimensions: ``average`` takes the mean over all but rows and channels
            (B, C, ...), ``flatten`` keeps all numbers; ``auto`` averages feature maps (B, C, H, W) and flattens others.

    Attributes:
        layer: its name; ``input of NAME`` if none was given.
        size: F.

    Raises:
        ConfigError: if there is no such layer, or its result is no vector of each row.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...], layer: str | None = None, pool: Pool = "auto"):
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}.{did_you_mean(pool, POOLS)}")
        self.network, self._pool = network, pool
        self._rows = network.rows if isinstance(network, Graph) else None
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        example = torch.zeros(self._rows or _TRIAL_ROWS, *input_shape, device=device)
        seen = _observe(network, example)
        self._of_input = layer is None
        self._name = layer if layer is not None else _head(network, seen)
        self._calls = seen[self._name].calls if self._name in seen else 0
        if not self._calls:
            _check_step(network, self._name, list(seen))
        self.layer = f"input of {self._name}" if self._of_input else self._name
        self.size = self._size(example)

    def forward(self, features: Tensor) -> Tensor:
        """(B, *input_shape), normalised -> float32 (B, F)."""
        if self._rows is None:
            return self._vectors(self._value(features))
        parts = []
        for part in features.split(self._rows):
            whole = torch.cat([part, part[:1].expand(self._rows - len(part), *part.shape[1:])])
            parts.append(self._vectors(self._value(whole))[: len(part)])
        return torch.cat(parts)

    def _value(self, features: Tensor) -> Any:
        if not self._calls:
            assert isinstance(self.network, Graph)
            return _tensor(self.network.value_of(self._name, features))
        kept: list[Any] = []

        def keep(module: nn.Module, given: Any, result: Any = None) -> None:
            kept.append(given if self._of_input else result)
            if len(kept) == self._calls:
                raise _EnoughError

        module = self.network.get_submodule(self._name)
        handle = module.register_forward_pre_hook(keep) if self._of_input else module.register_forward_hook(keep)
        try:
            self.network(features)
        except _EnoughError:
            pass
        finally:
            handle.remove()
        return _tensor(kept[-1])

    def _vectors(self, value: Tensor) -> Tensor:
        if value.dim() > 2 and (self._pool == "average" or (self._pool == "auto" and value.dim() == 4)):
            value = value.mean(dim=tuple(range(2, value.dim())))
        return value.float().flatten(1) if value.dim() > 1 else value.float()[:, None]

    @torch.no_grad()
    def _size(self, example: Tensor) -> int:
        value = self._value(example)
        if not isinstance(value, Tensor) or not value.dim() or len(value) != len(example):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"layer {self.layer!r} gives {shape} for {len(example)} rows: that is no vector of each row."
            )
        return math.prod(self._vectors(value).shape[1:])


class _EnoughError(Exception):
    """The layer has been computed; what follows it is not needed."""


def layer_names(network: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """Names of the layers, in the order in which they are called first."""
    return list(_observe(network, torch.zeros(_TRIAL_ROWS, *input_shape)))


@torch.no_grad()
def _observe(network: nn.Module, example: Tensor) -> dict[str, _Seen]:
    """Every module that is called, in the order of the first calls."""
    seen: dict[str, _Seen] = {}
    order: list[str] = []

    def watch(name: str) -> Any:
        def note(module: nn.Module, given: Any, result: Any) -> None:
            seen[name] = _Seen(seen[name].calls + 1 if name in seen else 1, given, result)

        return note

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    handles += [
        module.register_forward_pre_hook(lambda _, __, name=name: order.append(name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    return {name: seen[name] for name in dict.fromkeys(order) if name in seen}


def _head(network: nn.Module, seen: dict[str, _Seen]) -> str:
    """The layer that makes classes of features: the last one of weights that is called."""
    modules = dict(network.named_modules())
    weighted = [name for name in seen if isinstance(modules[name], _HEADS)]
    weighted = weighted or [name for name in seen if modules[name]._parameters]
    if not weighted:
        raise ConfigError(
            f"the network has no layer with weights that could be told to be the last. {_known(list(seen))}"
        )
    return weighted[-1]


def _check_step(network: nn.Module, name: str, layers: list[str]) -> None:
    steps = [step["name"] for step in network.options["steps"]] if isinstance(network, Graph) else []
    if name not in steps:
        known = list(dict.fromkeys([*layers, *steps]))
        raise ConfigError(f"the network has no layer {name!r}.{did_you_mean(name, known)} {_known(known)}")


def _known(names: list[str]) -> str:
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN // 2], "...", *names[-_SHOWN // 2 :]]
    return f"It has {len(names)}: {', '.join(shown)}."


def _tensor(value: Any) -> Any:
    """The first tensor of what a module takes or gives: of a recurrent layer its outputs."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value


__all__ = ["POOLS", "LayerOutput", "Pool", "layer_names"]
