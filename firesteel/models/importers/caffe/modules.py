"""Layers of Caffe that torch has no module for. Shapes are (B, C, H, W) or (B, N) unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InnerProduct(nn.Linear):
    """A dense layer on everything from ``axis`` on: (B, C, H, W) -> (B, C*H*W) -> (B, K), channels first as in torch."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, axis: int = 1):
        super().__init__(in_features, out_features, bias)
        self.axis = axis

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(self.axis))


class PaddedMaxPool(nn.Module):
    """Max-pooling whose padding is more than half of the window, which torch refuses; sizes are rounded as torch rounds them."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], ceil_mode: bool):
        super().__init__()
        self.padding = padding
        self.pool = nn.MaxPool2d(kernel, stride, ceil_mode=ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.padding
        rows, columns = self._windows(x, 0), self._windows(x, 1)
        # Padded below and to the right too: a window that begins there is dropped.
        found: Tensor = self.pool(F.pad(x, (width, width, height, height), value=-math.inf))
        return found[:, :, :rows, :columns]

    def _windows(self, x: Tensor, axis: int) -> int:
        kernel, stride = (_of(value, axis) for value in (self.pool.kernel_size, self.pool.stride))
        return pooled_size(x.shape[2 + axis], kernel, stride, self.padding[axis], self.pool.ceil_mode)


def pooled_size(size: int, kernel: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Windows along one axis; one that would begin in the padding behind does not count."""
    room = size + 2 * pad - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + pad else count


def _of(value: int | tuple[int, ...], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


class WithinChannelNorm(nn.Module):
    """Local response normalisation over a square of ``size`` x ``size`` of each channel (Caffe's WITHIN_CHANNEL)."""

    def __init__(self, size: int, alpha: float, beta: float):
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        # The zeros of the padding count, so the divisor is always size * size.
        squares = F.avg_pool2d(x * x, self.size, 1, self.size // 2, count_include_pad=True)
        return x * (1 + self.alpha * squares) ** -self.beta


class Power(nn.Module):
    """(shift + scale * x) ** power."""

    def __init__(self, power: float, scale: float, shift: float):
        super().__init__()
        self.power, self.scale, self.shift = power, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        inner = self.shift + self.scale * x
        return inner if self.power == 1 else inner**self.power


class Exp(nn.Module):
    """base ** (shift + scale * x); ``base`` None is e."""

    def __init__(self, base: float | None, scale: float, shift: float):
        super().__init__()
        self.factor = 1.0 if base is None else math.log(base)
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(self.factor * (self.shift + self.scale * x))


class Log(nn.Module):
    """The logarithm of shift + scale * x to ``base``; None is e."""

    def __init__(self, base: float | None, scale: float, shift: float):
        super().__init__()
        self.factor = 1.0 if base is None else 1 / math.log(base)
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * torch.log(self.shift + self.scale * x)


class Threshold(nn.Module):
    """1 where x is above the threshold, else 0."""

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x.dtype)


class Scale(nn.Module):
    """Multiplies by a weight and adds a bias along the axes from ``axis`` on; a weight of another layer if two are given.

    Args:
        shape: of the weight; None if the second input is it.
        axis: of the first input at which the weight begins.
        weight: False only adds (Caffe's Bias layer).
        bias: adds a learnt bias.
    """

    def __init__(self, shape: Sequence[int] | None, axis: int, *, weight: bool = True, bias: bool = False):
        super().__init__()
        self.axis, self.adds = axis, not weight
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        sizes = tuple(shape or ())
        self.register_parameter("weight", nn.Parameter(torch.ones(sizes)) if weight and shape is not None else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(sizes)) if bias and shape is not None else None)

    def reset_parameters(self) -> None:
        """Begin with x * 1 + 0."""
        for parameter, value in ((self.weight, 1.0), (self.bias, 0.0)):
            if parameter is not None:
                nn.init.constant_(parameter, value)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        if other is not None:
            other = self._beside(other, x)
            return x + other if self.adds else x * other
        if self.weight is not None:
            x = x * self._beside(self.weight, x)
        return x if self.bias is None else x + self._beside(self.bias, x)

    def _beside(self, value: Tensor, x: Tensor) -> Tensor:
        return value.reshape(value.shape + (1,) * (x.dim() - self.axis - value.dim()))


class Crop(nn.Module):
    """The part of the first input that has the second one's size, from ``axis`` on, beginning at ``offsets``."""

    def __init__(self, axis: int, offsets: Sequence[int]):
        super().__init__()
        self.axis, self.offsets = axis, tuple(offsets)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        for number, offset in enumerate(self.offsets):
            x = x.narrow(self.axis + number, offset, like.shape[self.axis + number])
        return x


class Normalize(nn.Module):
    """x / sqrt(sum of squares + eps), over the channels of each place or of all, times a learnt scale (SSD's Normalize)."""

    def __init__(self, channels: int, across_spatial: bool, eps: float):
        super().__init__()
        self.axes = (1, 2, 3) if across_spatial else (1,)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def reset_parameters(self) -> None:
        """Begin with a scale of 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        norm = (x.square().sum(dim=self.axes, keepdim=True) + self.eps).sqrt()
        return x / norm * self.weight.reshape(-1, 1, 1)


class MeanVariance(nn.Module):
    """Subtracts the mean of each channel, or of all, and divides by the deviation plus eps (Caffe's MVN)."""

    def __init__(self, variance: bool, across_channels: bool, eps: float):
        super().__init__()
        self.variance, self.eps = variance, eps
        self.axes = (1, 2, 3) if across_channels else (2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(dim=self.axes, keepdim=True)
        return x / (x.square().mean(dim=self.axes, keepdim=True).sqrt() + self.eps) if self.variance else x


class Tile(nn.Module):
    """Copies one behind the other along an axis."""

    def __init__(self, axis: int, tiles: int):
        super().__init__()
        self.axis, self.tiles = axis, tiles

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.tiles, dim=self.axis)


class Reduction(nn.Module):
    """Adds up everything from ``axis`` on: values, their magnitudes or their squares, or takes the mean."""

    def __init__(self, operation: str, axis: int, coefficient: float):
        super().__init__()
        self.operation, self.axis, self.coefficient = operation, axis, coefficient

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(self.axis)
        if self.operation == "MEAN":
            return self.coefficient * x.mean(dim=-1)
        x = {"SUM": x, "ASUM": x.abs(), "SUMSQ": x * x}[self.operation]
        return self.coefficient * x.sum(dim=-1)
