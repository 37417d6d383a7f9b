"""Layers without weights that torch has only functions for, and that the files of several formats need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Abs(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Sum(nn.Module):
    """The sum of its inputs, each times its coefficient."""

    def __init__(self, coefficients: Sequence[float] = ()):
        super().__init__()
        self.coefficients = tuple(coefficients)

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.coefficients:
            inputs = tuple(c * x if c != 1 else x for c, x in zip(self.coefficients, inputs))
        total = inputs[0]
        for value in inputs[1:]:
            total = total + value
        return total


class Product(nn.Module):
    """The product of its inputs, element by element."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for value in inputs[1:]:
            total = total * value
        return total


class Maximum(nn.Module):
    """The largest of its inputs, element by element."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for value in inputs[1:]:
            total = torch.maximum(total, value)
        return total


class Concat(nn.Module):
    """Its inputs one behind the other along an axis."""

    def __init__(self, axis: int = 1):
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=self.axis)


class Slice(nn.Module):
    """Cuts its input along an axis into parts of the given sizes."""

    def __init__(self, sizes: Sequence[int], axis: int):
        super().__init__()
        self.sizes, self.axis = list(sizes), axis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.split(self.sizes, dim=self.axis))


class Split(nn.Module):
    """The same value under several names."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,) * self.count


class Reshape(nn.Module):
    """The same values in another shape; the rows of a batch stay rows.

    Args:
        shape: of one row.
    """

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, order: Sequence[int]):
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Affine(nn.Module):
    """x * scale + offset."""

    def __init__(self, scale: float, offset: float):
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class Difference(nn.Module):
    """The first input less the second."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x - other


class Minimum(nn.Module):
    """The smallest of its inputs, element by element."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for value in inputs[1:]:
            total = torch.minimum(total, value)
        return total


class Mean(nn.Module):
    """The mean over some axes."""

    def __init__(self, axes: Sequence[int], keepdim: bool = False):
        super().__init__()
        self.axes, self.keepdim = tuple(axes), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=self.axes, keepdim=self.keepdim)


class Largest(nn.Module):
    """The largest value over some axes."""

    def __init__(self, axes: Sequence[int], keepdim: bool = False):
        super().__init__()
        self.axes, self.keepdim = tuple(axes), keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=self.axes, keepdim=self.keepdim)


class Exponential(nn.Module):
    """e ** x."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Last(nn.Module):
    """One step of a sequence: (B, T, N) -> (B, N), the last one or the first."""

    def __init__(self, index: int = -1):
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


class Flip(nn.Module):
    """The steps of a sequence backwards."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)
