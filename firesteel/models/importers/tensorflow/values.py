"""Values that go through a graph while it is translated: constants, and what depends on the input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

BATCH = 1_000_003
"""Rows with which shapes are worked out: a prime that no graph has, so that it is found again in what is computed of it."""
MAX_FOLDED = 1 << 26
"""Numbers that any file may compute of its constants; one that holds many may compute four times as many."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """Numbers of the file.

    Attributes:
        array: the values.
        name: of the variable, or of the node that holds them; empty if they are computed.
    """

    array: np.ndarray
    name: str = ""


@dataclass(frozen=True)
class Texts:
    """Texts of the file: names in a checkpoint."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Variable:
    """A variable before it is read."""

    name: str


@dataclass(frozen=True)
class Signal:
    """What depends on the input.

    Attributes:
        name: of the value in the network.
        shape: as TensorFlow has it, the batch first. Of four dimensions the last is the second in torch: channels first.
    """

    name: str
    shape: Shape

    @property
    def is_picture(self) -> bool:
        return len(self.shape) == 4

    @property
    def torch_shape(self) -> Shape:
        return channels_first(self.shape) if self.is_picture else self.shape


@dataclass(frozen=True)
class Nothing:
    """A value that is not known, of an operation that is not needed."""

    reason: str


Value: TypeAlias = Constant | Texts | Variable | Signal | Nothing


def channels_first(shape: Shape) -> Shape:
    """(B, H, W, C) -> (B, C, H, W)."""
    return (shape[0], shape[3], shape[1], shape[2])


def channels_last(shape: Shape) -> Shape:
    """(B, C, H, W) -> (B, H, W, C)."""
    return (shape[0], shape[2], shape[3], shape[1])


def torch_axis(axis: int, rank: int) -> int:
    """An axis of TensorFlow as torch's."""
    axis = axis + rank if axis < 0 else axis
    return (0, 2, 3, 1)[axis] if rank == 4 else axis


def size_of(shape: Shape) -> int:
    """How many numbers."""
    return math.prod(shape)
