"""Windows over pictures as TensorFlow and Keras lay them: ``same`` pads what is needed, and more behind than before.

Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sizes: TypeAlias = tuple[int, ...]
Pads: TypeAlias = tuple[tuple[int, int], ...]
"""Before and behind, for each axis."""


def same_padding(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Pads:
    """Padding with which ceil(size / stride) windows fit."""
    pads = []
    for size, wide, step, spread in zip(sizes, kernel, stride, dilation):
        total = max((-(-size // step) - 1) * step + (wide - 1) * spread + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def no_padding(dimensions: int) -> Pads:
    """Nothing before and behind each dimension."""
    return ((0, 0),) * dimensions


def is_even(pads: Pads) -> bool:
    """True if torch's layers can do it themselves: as much before as behind."""
    return all(before == behind for before, behind in pads)


class Pad(nn.Module):
    """Values around the last axes.

    Args:
        pads: of the last axes, in their order.
        value: that is put there.
    """

    def __init__(self, pads: Pads, value: float = 0.0):
        super().__init__()
        self.pads = tuple(size for pair in reversed(pads) for size in pair)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads, value=self.value)


class Crop(nn.Module):
    """Without what stands before and behind along the last axes."""

    def __init__(self, crops: Pads):
        super().__init__()
        self.crops = tuple(crops)

    def forward(self, x: Tensor) -> Tensor:
        first = x.dim() - len(self.crops)
        for axis, (before, behind) in enumerate(self.crops, first):
            x = x.narrow(axis, before, x.shape[axis] - before - behind)
        return x


class AveragePool(nn.Module):
    """The mean of each window's values, padding not counted, however it is laid; over one to three axes."""

    def __init__(self, kernel: Sizes, stride: Sizes, pads: Pads):
        super().__init__()
        kinds: tuple[Callable[..., nn.Module], ...] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
        self.pad = Pad(pads)
        self.pool = kinds[len(kernel) - 1](kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        found: Tensor = self.pool(self.pad(x)) / self.pool(self.pad(ones))
        return found


def convolution(
    inputs: int, outputs: int, kernel: Sizes, stride: Sizes, dilation: Sizes, groups: int, pads: Pads, *, bias: bool
) -> list[nn.Module]:
    """A convolution over one to three axes; before it what torch's own padding cannot do."""
    kinds: tuple[Callable[..., nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    padding = tuple(before for before, _ in pads) if is_even(pads) else (0,) * len(pads)
    layer = kinds[len(kernel) - 1](
        inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
    )
    return [layer] if is_even(pads) else [Pad(pads), layer]


def transposed_convolution(
    inputs: int, outputs: int, sizes: Sizes, kernel: Sizes, stride: Sizes, *, same: bool, bias: bool
) -> list[nn.Module]:
    """The gradient of a convolution; with ``same`` size * stride values come out, else all that are touched."""
    kinds: tuple[Callable[..., nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    room = tuple(max(step - wide, 0) for wide, step in zip(kernel, stride))
    layer = kinds[len(kernel) - 1](inputs, outputs, kernel, stride, 0, output_padding=room, bias=bias)
    crops = []
    for wide, step in zip(kernel, stride):
        total = max(wide - step, 0) if same else 0
        crops.append((total // 2, total - total // 2))
    return [layer, Crop(tuple(crops))] if any(any(pair) for pair in crops) else [layer]


def max_pool(kernel: Sizes, stride: Sizes, pads: Pads) -> list[nn.Module]:
    """The largest of each window's values."""
    kinds: tuple[Callable[..., nn.Module], ...] = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
    fits = is_even(pads) and all(2 * before <= wide for (before, _), wide in zip(pads, kernel))
    padding = tuple(before for before, _ in pads) if fits else (0,) * len(pads)
    layer = kinds[len(kernel) - 1](kernel, stride, padding)
    return [layer] if fits else [Pad(pads, -math.inf), layer]


def average_pool(kernel: Sizes, stride: Sizes, pads: Pads) -> list[nn.Module]:
    """The mean of each window's values, padding not counted."""
    if any(before or behind for before, behind in pads):
        return [AveragePool(kernel, stride, pads)]
    kinds: tuple[Callable[..., nn.Module], ...] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
    return [kinds[len(kernel) - 1](kernel, stride)]
