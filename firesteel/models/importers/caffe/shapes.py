"""Shapes of what layers give, worked out without computing them.

torch would tell them on its meta device, but imports half of its compiler for that, which takes longer than reading 500 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from firesteel.models.importers import modules as shared
from firesteel.models.importers.caffe import modules as own

Shape: TypeAlias = tuple[int, ...]
"""Of a value, the batch first."""


def output_shapes(module: nn.Module, shapes: Sequence[Shape]) -> list[Shape]:
    """Shapes of the outputs of a module that :func:`firesteel.models.importers.caffe.layers.build_layer` has made.

    Args:
        module: the layer.
        shapes: of its inputs, to which it was made.
    """
    shape = shapes[0]
    if isinstance(module, _ConvNd):
        return [(shape[0], module.out_channels, *_convolved(module, shape[2:]))]
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return [(*shape[:2], *_pooled(module, shape[2:], module.padding))]
    if isinstance(module, own.PaddedMaxPool):
        return [(*shape[:2], *_pooled(module.pool, shape[2:], module.padding))]
    if isinstance(module, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d):
        return [(*shape[:2], 1, 1)]
    if isinstance(module, own.InnerProduct):
        return [(*shape[: module.axis], module.out_features)]
    if isinstance(module, own.Crop):
        return [shape[: module.axis] + shapes[1][module.axis :]]
    return _rearranged(module, shapes)


def _rearranged(module: nn.Module, shapes: Sequence[Shape]) -> list[Shape]:
    """Of layers that only move values, or change them one by one."""
    shape = shapes[0]
    if isinstance(module, nn.Flatten):
        first, last = module.start_dim, module.end_dim
        return [(*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])]
    if isinstance(module, shared.Reshape):
        return [(shape[0], *module.shape)]
    if isinstance(module, shared.Permute):
        return [tuple(shape[axis] for axis in module.order)]
    if isinstance(module, shared.Concat):
        return [_with(shape, module.axis, sum(each[module.axis] for each in shapes))]
    if isinstance(module, own.Tile):
        return [_with(shape, module.axis, shape[module.axis] * module.tiles)]
    if isinstance(module, shared.Slice):
        return [_with(shape, module.axis, size) for size in module.sizes]
    if isinstance(module, shared.Split):
        return [shape] * module.count
    if isinstance(module, own.Reduction):
        return [shape[: module.axis]]
    return [shape]


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _convolved(module: _ConvNd, sizes: Shape) -> list[int]:
    found = []
    assert not isinstance(module.padding, str), "our layers have numbers"
    for size, wide, step, pad, dilation in zip(
        sizes, module.kernel_size, module.stride, module.padding, module.dilation
    ):
        reach = dilation * (wide - 1) + 1
        if module.transposed:
            found.append((size - 1) * step - 2 * pad + reach)
        else:
            found.append((size + 2 * pad - reach) // step + 1)
    return found


def _pooled(module: nn.MaxPool2d | nn.AvgPool2d, sizes: Shape, padding: int | tuple[int, ...]) -> list[int]:
    found = []
    for axis, size in enumerate(sizes):
        kernel, stride, pad = (_of(value, axis) for value in (module.kernel_size, module.stride, padding))
        found.append(own.pooled_size(size, kernel, stride, pad, module.ceil_mode))
    return found


def _of(value: int | tuple[int, ...], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


__all__ = ["Shape", "output_shapes"]
