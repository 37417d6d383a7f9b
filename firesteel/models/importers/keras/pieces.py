"""What a layer of Keras becomes: modules in a chain, and where their tensors come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers.keras.config import KerasLayer
from firesteel.models.shapes import show_shape

Shape: TypeAlias = tuple[int, ...]
"""Of one row."""

MAX_SIZE = 1 << 24


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from.

    Attributes:
        names: of the layer's weights in the file.
        change: what is done to them, in words; None if nothing.
        make: the tensor's values of the file's.
    """

    names: tuple[str, ...]
    change: str | None
    make: Callable[..., np.ndarray]


@dataclass(frozen=True)
class Piece:
    """One module of a layer.

    Attributes:
        suffix: behind the layer's name; empty for the module with the weights.
        module: built without memory.
        sources: of its tensors.
    """

    suffix: str
    module: nn.Module
    sources: dict[str, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A layer and what it is called with.

    Attributes:
        layer: of the file.
        shapes: of its inputs as torch has them: pictures channels first, (C, H, W); sequences (T, C).
        channels_last: if Keras has them so.
        version: of Keras, the first number.
        order: (H, W, C) of a picture that was flattened channels first before this layer; None else.
        notes: to add to.
    """

    layer: KerasLayer
    shapes: list[Shape]
    channels_last: bool
    version: int
    order: Shape | None
    notes: list[str]

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    def axis(self, axis: int, rank: int | None = None) -> int:
        """An axis of Keras (0 is the batch) as torch's."""
        rank = len(self.shape) + 1 if rank is None else rank
        found = axis + rank if axis < 0 else axis
        if not 0 < found < rank:
            raise ModelError(f"{self.layer}: axis {axis} is not one of a row's in a value of {rank} dimensions.")
        if rank < 4 or not self.channels_last:
            return found
        return 1 if found == rank - 1 else found + 1

    def is_channel_axis(self, axis: Any) -> bool:
        """True if an axis, or a list of one, is that of the channels."""
        axes = axis if isinstance(axis, list | tuple) else [axis]
        if len(axes) != 1:
            return False
        return self.axis(int(axes[0])) == (1 if len(self.shape) != 2 else 2 if self.channels_last else 1)

    def sizes(self, name: str, count: int, default: Any = None) -> Shape:
        """An option of one size for each axis, or one for all."""
        given = self.layer.get(name, default)
        values = [given] * count if isinstance(given, int) else given
        if not isinstance(values, list | tuple) or len(values) != count or not all(_is_size(value) for value in values):
            raise ModelError(f"{self.layer}: {name} must be {count} numbers from 1 to {MAX_SIZE:,}, got {given!r}.")
        return tuple(values)

    def number(self, name: str, default: Any = None) -> int:
        """An option that counts something."""
        given = self.layer.get(name, default)
        if not _is_size(given):
            raise ModelError(f"{self.layer}: {name} must be a number from 1 to {MAX_SIZE:,}, got {given!r}.")
        return int(given)

    def real(self, name: str, default: float) -> float:
        """An option that is a number."""
        given = self.layer.get(name, default)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise ModelError(f"{self.layer}: {name} must be a number, got {given!r}.")
        return float(given)

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """An option that is one of some words."""
        given = self.layer.get(name, default)
        if given not in allowed:
            raise ModelError(f"{self.layer}: {name} must be one of {', '.join(allowed)}, got {given!r}.")
        return str(given)

    def needs(self, rank: int) -> None:
        """Raise ModelError if the input has not so many dimensions in a row."""
        if len(self.shape) != rank:
            shown = show_shape(self.shape)
            raise ModelError(f"{self.layer} needs rows of {rank} dimensions, got {shown}.")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIZE


def same(name: str) -> Source:
    """A weight as it is."""
    return Source((name,), None, lambda value: value)


def moved(name: str, axes: Sequence[int], change: str) -> Source:
    """A weight with its axes in another order."""
    return Source((name,), change, lambda value: value.transpose(axes))


__all__ = ["Call", "Piece", "Shape", "Source", "moved", "same"]
