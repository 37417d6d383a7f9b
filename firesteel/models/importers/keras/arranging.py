"""Layers of Keras without weights that look through windows or move values."""

from __future__ import annotations

import math

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers import windows
from firesteel.models.importers.keras.laying import chain, channels_and_sizes, dimensions, padding_of, sequence_first
from firesteel.models.importers.keras.pieces import Call, Piece
from firesteel.models.shapes import MOST_ELEMENTS


def pooling(call: Call) -> list[Piece]:
    """``MaxPooling`` and ``AveragePooling``."""
    count = dimensions(call)
    _, sizes = channels_and_sizes(call)
    kernel = call.sizes("pool_size", count, 2)
    stride = call.sizes("strides", count, list(kernel))
    pads = padding_of(call, sizes, kernel, stride, (1,) * count)
    make = windows.max_pool if call.layer.kind.startswith("Max") else windows.average_pool
    modules = make(kernel, stride, pads)
    return sequence_first(call, chain(modules, {}, len(modules) - 1))


def global_pooling(call: Call) -> list[Piece]:
    """``GlobalMaxPooling`` and ``GlobalAveragePooling``."""
    count = dimensions(call)
    keep, largest = bool(call.layer.get("keepdims", False)), "Max" in call.layer.kind
    if count == 2:
        pool = nn.AdaptiveMaxPool2d(1) if largest else nn.AdaptiveAvgPool2d(1)
        return [Piece("", pool)] if keep else [Piece("", pool), Piece("flatten", nn.Flatten(1))]
    axes = (1,) if count == 1 and call.channels_last else tuple(range(2, 2 + count))
    return [Piece("", (shared.Largest if largest else shared.Mean)(axes, keep))]


def zero_padding(call: Call) -> list[Piece]:
    """``ZeroPadding``."""
    count = dimensions(call)
    pairs = _pairs(call, "padding", count, 1)
    return sequence_first(call, [Piece("", windows.Pad(pairs))])


def cropping(call: Call) -> list[Piece]:
    """``Cropping``."""
    count = dimensions(call)
    pairs = _pairs(call, "cropping", count, 0)
    _, sizes = channels_and_sizes(call)
    if any(before + behind >= size for (before, behind), size in zip(pairs, sizes)):
        raise ModelError(f"{call.layer}: nothing of {sizes} is left after {pairs}.")
    return sequence_first(call, [Piece("", windows.Crop(pairs))])


def _pairs(call: Call, name: str, count: int, default: int) -> windows.Pads:
    """A number, one for each axis, or two for each."""
    given = call.layer.get(name, default)
    if isinstance(given, int):
        given = [given] * count
    if count == 1 and isinstance(given, list | tuple) and len(given) == 2 and not isinstance(given[0], list):
        given = [given]
    pairs = [[each, each] if isinstance(each, int) else each for each in given]
    if len(pairs) != count or not all(
        len(pair) == 2 and all(isinstance(n, int) and 0 <= n <= 1 << 16 for n in pair) for pair in pairs
    ):
        raise ModelError(f"{call.layer}: {name} must be two numbers for each of {count} axes, got {given!r}.")
    return tuple((pair[0], pair[1]) for pair in pairs)


def upsampling(call: Call) -> list[Piece]:
    """``UpSampling``, nearest or bilinear."""
    count = dimensions(call)
    size = call.sizes("size", count, 2)
    mode = call.choice("interpolation", "nearest", ("nearest", "bilinear"))
    factor = tuple(float(value) for value in size)
    bilinear = mode == "bilinear"
    return sequence_first(
        call, [Piece("", nn.Upsample(scale_factor=factor, mode=mode, align_corners=False if bilinear else None))]
    )


def flatten(call: Call) -> list[Piece]:
    """``Flatten``; the order of its values is the business of the layers behind it."""
    return [Piece("", nn.Flatten(1))]


def _in_keras_order(call: Call) -> list[Piece]:
    """A picture as Keras has it, channels last."""
    rank = len(call.shape) + 1
    if rank < 4 or not call.channels_last:
        return []
    return [Piece("to_channels_last", shared.Permute((0, *range(2, rank), 1)))]


def in_torch_order(rank: int, *, channels_last: bool) -> list[Piece]:
    """A value of so many dimensions as torch has it, channels first."""
    if rank < 4 or not channels_last:
        return []
    return [Piece("to_channels_first", shared.Permute((0, rank - 1, *range(1, rank - 1))))]


def reshape(call: Call) -> list[Piece]:
    """``Reshape``, of values as Keras has them."""
    target = list(call.layer.get("target_shape", []))
    count = math.prod(call.shape)
    if (
        not all(isinstance(size, int) and -1 <= size <= MOST_ELEMENTS for size in target)
        or target.count(-1) > 1
        or not target
    ):
        raise ModelError(f"{call.layer}: target_shape must be sizes with one -1 at most, got {target}.")
    if -1 in target:
        known = -math.prod(target)
        target[target.index(-1)] = count // known if known > 0 else 0
    if math.prod(target) != count:
        raise ModelError(f"{call.layer}: {count} values do not fill {target}.")
    back = in_torch_order(len(target) + 1, channels_last=call.channels_last)
    return [*_in_keras_order(call), Piece("", shared.Reshape(target)), *back]


def permute(call: Call) -> list[Piece]:
    """``Permute``, of axes as Keras has them."""
    dims = list(call.layer.get("dims", []))
    if sorted(dims) != list(range(1, len(call.shape) + 1)):
        raise ModelError(f"{call.layer}: dims {dims} are not the axes of a row of {len(call.shape)}.")
    back = in_torch_order(len(dims) + 1, channels_last=call.channels_last)
    return [*_in_keras_order(call), Piece("", shared.Permute((0, *dims))), *back]
