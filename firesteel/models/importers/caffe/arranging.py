"""Layers of Caffe that move values, put them together or take them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers.caffe import modules as own
from firesteel.models.importers.caffe.options import axis_of
from firesteel.models.importers.caffe.shapes import Shape
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.shapes import show_shape


def concat(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Concat``: values put together along an axis."""
    options = layer.options("concat_param")
    axis = axis_of(layer, options.get("axis", options.get("concat_dim", 1)), len(shapes[0]))
    if len({shape[:axis] + shape[axis + 1 :] for shape in shapes}) != 1:
        raise ModelError(
            f"{layer}: its inputs {', '.join(show_shape(shape[1:]) for shape in shapes)} differ beside axis {axis}."
        )
    return shared.Concat(axis)


def slice(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Slice``: a value cut along an axis, at given points or into equal parts."""
    options, (shape,) = layer.options("slice_param"), shapes
    axis = axis_of(layer, options.get("axis", options.get("slice_dim", 1)), len(shape))
    points, count = options.all("slice_point"), len(layer.tops)
    if not points and shape[axis] % count == 0:
        return shared.Slice([shape[axis] // count] * count, axis)
    ends = [*points, shape[axis]]
    sizes = [end - begin for begin, end in zip([0, *points], ends)]
    if len(sizes) != count or any(size <= 0 for size in sizes):
        raise ModelError(
            f"{layer}: {shape[axis]} values cannot be cut at {points or 'equal parts'} into {count} outputs."
        )
    return shared.Slice(sizes, axis)


def flatten(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Flatten``: the axes from one to another as one."""
    options = layer.options("flatten_param")
    first = axis_of(layer, options.get("axis", 1), len(shapes[0]))
    last = axis_of(layer, options.get("end_axis", -1), len(shapes[0]), least=first)
    return nn.Flatten(first, last)


def reshape(layer: Layer, shapes: Sequence[Shape], batch: int | None) -> nn.Module:
    """``Reshape``: 0 keeps a size, -1 takes what is left, and the batch stays in front."""
    options, shape = layer.options("reshape_param"), shapes[0]
    dimensions = [int(size) for size in options.message("shape").all("dim")]
    first = axis_of(layer, options.get("axis", 0), len(shape) + 1, least=0)
    count = options.get("num_axes", -1)
    end = len(shape) if count == -1 else first + count
    if not first <= end <= len(shape):
        raise ModelError(f"{layer}: num_axes {count} from axis {first} on goes beyond {show_shape(shape)}.")
    new = list(shape[:first])
    for number, size in enumerate(dimensions):
        if size == 0 and first + number >= len(shape):
            raise ModelError(
                f"{layer}: dim 0 copies a size, and {show_shape(shape)} has none at axis {first + number}."
            )
        new.append(shape[first + number] if size == 0 else size)
    new += shape[end:]
    if first == 0 and dimensions and dimensions[0] in (batch, -1) and -1 not in dimensions[1:]:
        new[0] = shape[0]  # the file's batch is only one of many; a row stays a row
    if -1 in new:
        known = math.prod(size for size in new if size != -1)
        new[new.index(-1)] = math.prod(shape) // known if known > 0 else -1
    if new[:1] != [shape[0]] or any(size <= 0 for size in new) or math.prod(new) != math.prod(shape):
        raise ModelError(
            f"{layer}: rows of {show_shape(shape[1:])} cannot become {show_shape(tuple(dimensions))} row by row."
        )
    return shared.Reshape(new[1:])


def crop(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Crop``: as much of the first value as the second is large."""
    options, (shape, like) = layer.options("crop_param"), shapes
    axis = axis_of(layer, options.get("axis", 2), len(shape))
    count = len(shape) - axis
    offsets = options.all("offset") or [0]
    offsets = offsets * count if len(offsets) == 1 else offsets
    fits = len(offsets) == count and len(like) == len(shape)
    if not fits or any(o < 0 or o + small > big for o, big, small in zip(offsets, shape[axis:], like[axis:])):
        raise ModelError(f"{layer}: {show_shape(like[1:])} at {offsets} does not lie in {show_shape(shape[1:])}.")
    return own.Crop(axis, offsets)


def permute(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Permute``: the axes in another order, the batch in front."""
    order = [int(axis) for axis in layer.options("permute_param").all("order")]
    order += [axis for axis in range(len(shapes[0])) if axis not in order]
    if sorted(order) != list(range(len(shapes[0]))) or order[0] != 0:
        raise ModelError(
            f"{layer}: order {order} is none of the axes of {show_shape(shapes[0])} that keeps the batch in front."
        )
    return shared.Permute(order)


def tile(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Tile``: a value repeated along an axis."""
    options = layer.options("tile_param")
    axis = axis_of(layer, options.get("axis", 1), len(shapes[0]))
    tiles = options.get("tiles", 0)
    if not 1 <= tiles <= 4096:
        raise ModelError(f"{layer}: tiles must be from 1 to 4096, got {tiles}.")
    return own.Tile(axis, tiles)


def reduction(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """``Reduction``: sum, mean or the like over the axes from one on."""
    options = layer.options("reduction_param")
    axis = axis_of(layer, options.get("axis", 0), len(shapes[0]))
    return own.Reduction(options.get("operation", "SUM"), axis, options.get("coeff", 1.0))
