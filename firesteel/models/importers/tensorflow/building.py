"""Layers of torch that are made while a graph is traced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers.base import Matching
from firesteel.models.importers.network import LayerNetwork, Step, layer_names
from firesteel.models.importers.tensorflow.values import BATCH, Constant, Shape, Signal, channels_last
from firesteel.models.importers.weights import is_finite
from firesteel.models.shapes import MOST_ELEMENTS, show_shape


@dataclass(frozen=True)
class Weight:
    """Where a tensor comes from.

    Attributes:
        constant: of the file.
        make: its values of the constant's.
        change: what is done, in words; None if nothing.
    """

    constant: Constant
    make: Callable[[np.ndarray], np.ndarray] = lambda array: array
    change: str | None = None


@dataclass
class Part:
    """One layer."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    weights: dict[str, Weight] = field(default_factory=dict)


class Building:
    """Collects layers.

    Attributes:
        parts: in their order.
        once: values that one operation takes alone.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.once: set[str] = set()
        self._names: dict[str, int] = {}

    def add(
        self,
        name: str,
        make: Callable[[], nn.Module],
        inputs: Sequence[Signal],
        weights: Mapping[str, Weight] | None = None,
        *,
        once: bool = False,
    ) -> Signal:
        """A layer.

        Args:
            name: that it would have in TensorFlow.
            make: the module; called where tensors take no memory.
            inputs: of it.
            weights: its tensors.
            once: one operation alone takes its value.

        Raises:
            ModelError: if it cannot take its inputs.
        """
        name = self._unique(name or "layer")
        with torch.device("meta"):
            module = make().eval()
        shape = _run(name, module, inputs)
        self.parts.append(Part(name, module, tuple(each.name for each in inputs), f"{name}:0", dict(weights or {})))
        if once:
            self.once.add(f"{name}:0")
        return Signal(f"{name}:0", shape)

    def producer(self, signal: Signal) -> Part | None:
        """The layer that gives a value."""
        return next((part for part in reversed(self.parts) if part.output == signal.name), None)

    def finish(self, input: str, output: str, prefix: Sequence[Part]) -> tuple[LayerNetwork, Matching]:
        """The network of the layers that lead to ``output``, with their weights."""
        parts = [*prefix, *_leading_to(self.parts, output)]
        names = layer_names(part.name for part in parts)
        matched, reshaped, notes = [], {}, []
        for part in parts:
            part.module.to_empty(device="cpu")
            for tensor, weight in part.weights.items():
                full = f"{names[part.name]}.{tensor}"
                _fill(part.module, tensor, weight, full)
                matched.append(full)
                if weight.change:
                    reshaped[full] = weight.change
                if not is_finite(part.module.state_dict()[tensor]):
                    notes.append(f"{full} holds NaN or infinity")
            for name, buffer in part.module.named_buffers():
                if name not in part.weights:
                    buffer.zero_()  # the counter of a batch norm
        steps = [Step(names[part.name], part.inputs, (part.output,)) for part in parts]
        modules = [(names[part.name], part.module) for part in parts]
        network = LayerNetwork(modules, steps, input, output).eval()
        return network, Matching(tuple(matched), reshaped=reshaped, notes=tuple(notes))

    def used(self, output: str) -> set[str]:
        """Names of the file's constants that the layers leading to ``output`` have."""
        return {weight.constant.name for part in _leading_to(self.parts, output) for weight in part.weights.values()}

    def _unique(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else self._unique(f"{name}_{count}")


def _fill(module: nn.Module, tensor: str, weight: Weight, full: str) -> None:
    target = module.state_dict()[tensor]
    with np.errstate(all="ignore"):
        value = np.asarray(weight.make(weight.constant.array)).astype(np.float32)
    if value.shape != tuple(target.shape):
        raise ModelError(f"{full} has shape {_show(value.shape)} in the file, {_show(tuple(target.shape))} is needed.")
    target.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _run(name: str, module: nn.Module, inputs: Sequence[Signal]) -> Shape:
    """Shape of what a layer gives, as TensorFlow has it."""
    try:
        with torch.no_grad():
            found = tuple(module(*[torch.empty(each.torch_shape, device="meta") for each in inputs]).shape)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        shapes = ", ".join(_show(each.shape[1:]) for each in inputs)
        raise ModelError(f"layer {name!r} cannot take {shapes}: {reason}".replace(str(BATCH), "B")) from error
    if not found or min(found) <= 0 or math.prod(found) > BATCH * MOST_ELEMENTS:
        raise ModelError(
            f"layer {name!r} gives {_show(found[1:])} for a row; from 1 to {MOST_ELEMENTS:,} numbers are allowed."
        )
    return channels_last(found) if len(found) == 4 else found


def _leading_to(parts: Sequence[Part], output: str) -> list[Part]:
    wanted, found = {output}, []
    for part in reversed(parts):
        if part.output in wanted:
            wanted.update(part.inputs)
            found.append(part)
    return found[::-1]


def _show(shape: Sequence[int]) -> str:
    return show_shape("B" if size == BATCH else size for size in shape)


__all__ = ["Building", "Part", "Weight"]
