"""Options of Caffe's layers, read and checked."""

from __future__ import annotations

from collections.abc import Sequence

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.schema import Message
from firesteel.models.importers.caffe.shapes import Shape
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.shapes import show_shape

MAX_SIZE = 1 << 24
"""Of a kernel, a number of outputs, a padding; torch's own limits lie far above."""


def positive(layer: Layer, name: str, value: int, least: int = 1) -> int:
    """A size, if it is one."""
    if not least <= value <= MAX_SIZE:
        raise ModelError(f"{layer}: {name} must be from {least} to {MAX_SIZE:,}, got {value}.")
    return value


def per_dimension(layer: Layer, options: Message, name: str, count: int, default: int | None, least: int = 1) -> Shape:
    """Kernel, stride, padding or dilation: one value for all dimensions, one each, or ``_h`` and ``_w``."""
    short = name.removesuffix("_size")
    given = options.all(name)
    if (short != "dilation" and options.get(f"{short}_h") is not None) or (
        short != "dilation" and options.get(f"{short}_w")
    ):
        both = [options.get(f"{short}_{axis}", default) for axis in "hw"]
        if given or count != 2 or None in both:
            raise ModelError(f"{layer}: give {name}, or {short}_h and {short}_w, of a layer on pictures.")
        given = both
    if not given and default is not None:
        given = [default]
    if len(given) not in (1, count):
        raise ModelError(f"{layer}: {name} must be one number or {count}, got {len(given)}.")
    values = tuple(positive(layer, name, value, least) for value in given)
    return values * count if len(values) == 1 else values


def axis_of(layer: Layer, axis: int, dimensions: int, *, least: int = 1) -> int:
    """An axis from the front; ``least`` 1 refuses the one of the batch."""
    found = axis + dimensions if axis < 0 else axis
    if not least <= found < dimensions:
        raise ModelError(f"{layer}: axis {axis} is not one of a row's in a value of {dimensions} dimensions.")
    return found


def needs_picture(layer: Layer, shape: Shape) -> None:
    """Refuse a value that is no picture."""
    if len(shape) != 4:
        raise ModelError(f"{layer} needs (channels, height, width), its input is {show_shape(shape[1:])}.")


def needs_room(layer: Layer, shape: Sequence[int], kernel: Sequence[int], padding: Sequence[int]) -> None:
    """Refuse a window that is larger than what it goes over."""
    if any(size + 2 * pad < wide for size, wide, pad in zip(shape, kernel, padding)):
        raise ModelError(
            f"{layer}: a window of {show_shape(tuple(kernel))} does not fit into {show_shape(tuple(shape))}."
            " Give the size that the network was made for (--size, --input-shape)."
        )
