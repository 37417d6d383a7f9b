"""What TensorFlow computes element by element, and torch has no module for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Rsqrt": torch.rsqrt, "Square": torch.square,
    "Neg": torch.neg, "Abs": torch.abs, "Erf": torch.erf, "Log1p": torch.log1p, "Floor": torch.floor,
}  # fmt: skip
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add, "AddV2": torch.add, "BiasAdd": torch.add, "Sub": torch.sub, "Mul": torch.mul, "RealDiv": torch.div,
    "Maximum": torch.maximum, "Minimum": torch.minimum, "SquaredDifference": lambda a, b: (a - b).square(), "Pow": torch.pow,
}  # fmt: skip
UNARY, BINARY = tuple(_UNARY), tuple(_BINARY)


class Unary(nn.Module):
    """A function of each element, by TensorFlow's name of it."""

    def __init__(self, op: str):
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        return _UNARY[self.op](x)

    def extra_repr(self) -> str:
        return self.op


class Binary(nn.Module):
    """A function of two inputs, element by element."""

    def __init__(self, op: str):
        super().__init__()
        self.op = op

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return _BINARY[self.op](x, other)

    def extra_repr(self) -> str:
        return self.op


class WithConstant(nn.Module):
    """The same with numbers of the file.

    Args:
        op: TensorFlow's name.
        shape: of the numbers, as they stand beside the input.
        learnt: they are a parameter; else a buffer.
        first: they stand before the input.
    """

    value: Tensor

    def __init__(self, op: str, shape: Sequence[int], *, learnt: bool, first: bool):
        super().__init__()
        self.op, self.first = op, first
        if learnt:
            self.value = nn.Parameter(torch.empty(tuple(shape)))
        else:
            self.register_buffer("value", torch.empty(tuple(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return _BINARY[self.op](self.value, x) if self.first else _BINARY[self.op](x, self.value)

    def extra_repr(self) -> str:
        return self.op


class Index(nn.Module):
    """A part of each axis: slices and single places."""

    def __init__(self, index: Sequence[Any]):
        super().__init__()
        self.index = tuple(index)

    def forward(self, x: Tensor) -> Tensor:
        return x[self.index]


class FreeReshape(nn.Module):
    """The same values in another shape, of which one size is -1."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.shape)


class Total(nn.Module):
    """The sum over some axes."""

    def __init__(self, axes: Sequence[int], keepdim: bool = False):
        super().__init__()
        self.axes, self.keepdim = tuple(axes), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=self.axes, keepdim=self.keepdim)


class MatMul(nn.Module):
    """The product of two matrices for each row, either turned."""

    def __init__(self, turn_first: bool, turn_second: bool):
        super().__init__()
        self.turn_first, self.turn_second = turn_first, turn_second

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        x = x.transpose(-1, -2) if self.turn_first else x
        return x @ (other.transpose(-1, -2) if self.turn_second else other)


class ChannelsLast(nn.Module):
    """A layer between two that bring its input to channels last and its output back."""

    def __init__(self, inner: nn.Module, before: bool, after: bool):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x.permute(0, 2, 3, 1) if self.before else x)
        return x.permute(0, 3, 1, 2) if self.after else x
