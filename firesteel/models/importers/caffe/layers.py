"""From a layer of Caffe to a module of torch that computes the same.

Source: BVLC/caffe, src/caffe/layers/*.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers.caffe import modules as own
from firesteel.models.importers.caffe.schema import Message
from firesteel.models.importers.caffe.shapes import Shape
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.importers.caffe.values import show
from firesteel.specs import did_you_mean

Builder: TypeAlias = Callable[[Layer, Sequence[Shape]], nn.Module]

MAX_SIZE = 1 << 24
"""Of a kernel, a number of outputs, a padding; torch's own limits lie far above."""


def build_layer(layer: Layer, shapes: Sequence[Shape], batch: int | None) -> nn.Module:
    """The module of a layer.

    Args:
        layer: not one that only trains or measures.
        shapes: of its inputs.
        batch: rows of a batch in the file, which a Reshape may name.

    Raises:
        ModelError: if there is no such type, or its options do not go with the shapes.
    """
    builder = _BUILDERS.get(layer.type)
    if layer.type == "Reshape":
        return _reshape(layer, shapes, batch)
    if builder is None:
        raise ModelError(
            f"{layer} cannot be read: there is no such type here.{did_you_mean(layer.type, _BUILDERS)}\n"
            f"These are read: {', '.join(sorted([*_BUILDERS, 'Reshape']))}.\n"
            "Its weights can be read into a network of your own (--into MODULE:FACTORY)."
        )
    least, most = _INPUTS.get(layer.type, (1, 1))
    if not least <= len(shapes) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most > 9 else f"{least} to {most}"
        raise ModelError(f"{layer} has {len(shapes)} inputs, {wanted} are needed.")
    return builder(layer, shapes)


_INPUTS = {"Eltwise": (1, 1 << 20), "Concat": (1, 1 << 20), "Scale": (1, 2), "Bias": (1, 2), "Crop": (2, 2)}


# -- reading options ---------------------------------------------------------------------------------------------


def _positive(layer: Layer, name: str, value: int, least: int = 1) -> int:
    if not least <= value <= MAX_SIZE:
        raise ModelError(f"{layer}: {name} must be from {least} to {MAX_SIZE:,}, got {value}.")
    return value


def _per_dimension(layer: Layer, options: Message, name: str, count: int, default: int | None, least: int = 1) -> Shape:
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
    values = tuple(_positive(layer, name, value, least) for value in given)
    return values * count if len(values) == 1 else values


def _axis(layer: Layer, axis: int, dimensions: int, *, least: int = 1) -> int:
    """An axis from the front; ``least`` 1 refuses the one of the batch."""
    found = axis + dimensions if axis < 0 else axis
    if not least <= found < dimensions:
        raise ModelError(f"{layer}: axis {axis} is not one of a row's in a value of {dimensions} dimensions.")
    return found


def _picture(layer: Layer, shape: Shape) -> None:
    if len(shape) != 4:
        raise ModelError(f"{layer} needs (channels, height, width), its input is {show(shape[1:])}.")


def _fits(layer: Layer, shape: Sequence[int], kernel: Sequence[int], padding: Sequence[int]) -> None:
    if any(size + 2 * pad < wide for size, wide, pad in zip(shape, kernel, padding)):
        raise ModelError(
            f"{layer}: a window of {show(tuple(kernel))} does not fit into {show(tuple(shape))}."
            " Give the size that the network was made for (--size, --input-shape)."
        )


# -- layers with weights -----------------------------------------------------------------------------------------


def _convolution(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("convolution_param"), shapes
    count = len(shape) - 2
    if not 1 <= count <= 3 or options.get("axis", 1) not in (1, 1 - len(shape)):
        raise ModelError(
            f"{layer}: convolutions over the axes behind the channels are read; its input is {show(shape[1:])}."
        )
    kernel = _per_dimension(layer, options, "kernel_size", count, None)
    stride = _per_dimension(layer, options, "stride", count, 1)
    padding = _per_dimension(layer, options, "pad", count, 0, 0)
    dilation = _per_dimension(layer, options, "dilation", count, 1)
    outputs = _positive(layer, "num_output", options.get("num_output", 0))
    group = _positive(layer, "group", options.get("group", 1))
    if "epthwise" in layer.type:
        group = shape[1]
    if shape[1] % group or outputs % group:
        raise ModelError(f"{layer}: {group} groups do not divide {shape[1]} inputs and {outputs} outputs.")
    turned = layer.type == "Deconvolution"
    if not turned:
        _fits(layer, shape[2:], [(size - 1) * step + 1 for size, step in zip(kernel, dilation)], padding)
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d) if turned else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    make: Callable[..., nn.Module] = kinds[count - 1]
    return make(
        shape[1], outputs, kernel, stride, padding, dilation=dilation, groups=group, bias=options.get("bias_term", True)
    )


def _inner_product(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("inner_product_param"), shapes
    axis = _axis(layer, options.get("axis", 1), len(shape))
    outputs = _positive(layer, "num_output", options.get("num_output", 0))
    return own.InnerProduct(math.prod(shape[axis:]), outputs, options.get("bias_term", True), axis)


def _batch_norm(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("batch_norm_param"), shapes
    if not 2 <= len(shape) <= 5:
        raise ModelError(f"{layer} needs 2 to 5 dimensions, its input is {show(shape)}.")
    kind: Callable[..., nn.Module] = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 2]
    momentum = 1 - options.get("moving_average_fraction", 0.999)
    return kind(shape[1], eps=options.get("eps", 1e-5), momentum=round(momentum, 9), affine=False)


def _scale(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    bias_only = layer.type == "Bias"
    options, shape = layer.options("bias_param" if bias_only else "scale_param"), shapes[0]
    axis = _axis(layer, options.get("axis", 1), len(shape), least=0)
    if len(shapes) == 2:
        sizes = shapes[1]
        if shape[axis : axis + len(sizes)] != sizes:
            raise ModelError(f"{layer}: {show(sizes)} does not stand in {show(shape)} from axis {axis} on.")
        if not bias_only and options.get("bias_term", False):
            raise ModelError(f"{layer}: a learnt bias beside a factor that is computed is not read.")
        return own.Scale(None, axis, weight=not bias_only)
    axis = _axis(layer, options.get("axis", 1), len(shape))
    count = options.get("num_axes", 1)
    end = len(shape) if count == -1 else axis + count
    if not axis <= end <= len(shape):
        raise ModelError(f"{layer}: num_axes {count} from axis {axis} on goes beyond {show(shape)}.")
    return own.Scale(shape[axis:end], axis, weight=not bias_only, bias=bias_only or options.get("bias_term", False))


def _prelu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    return nn.PReLU(1 if layer.options("prelu_param").get("channel_shared", False) else shapes[0][1])


def _normalize(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("norm_param"), shapes
    _picture(layer, shape)
    channels = 1 if options.get("channel_shared", True) else shape[1]
    return own.Normalize(channels, options.get("across_spatial", True), options.get("eps", 1e-10))


# -- pooling and normalisation -----------------------------------------------------------------------------------


def _pooling(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """Sizes are rounded up, a window that would begin in the padding behind is dropped, and an average counts its padding.

    All three are torch's ``ceil_mode`` and ``count_include_pad`` to the letter.
    """
    options, (shape,) = layer.options("pooling_param"), shapes
    _picture(layer, shape)
    method = options.get("pool", "MAX")
    if method == "STOCHASTIC":
        raise ModelError(f"{layer}: stochastic pooling is not read; MAX and AVE are.")
    if options.get("global_pooling", False):
        return nn.AdaptiveMaxPool2d(1) if method == "MAX" else nn.AdaptiveAvgPool2d(1)
    kernel = _per_dimension(layer, options, "kernel_size", 2, None)
    stride = _per_dimension(layer, options, "stride", 2, 1)
    padding = _per_dimension(layer, options, "pad", 2, 0, 0)
    up = options.get("round_mode", "CEIL") == "CEIL"
    _check_windows(layer, shape, kernel, stride, padding, up)
    pair = (kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1])
    if all(2 * pad <= size for pad, size in zip(padding, kernel)):
        if method == "MAX":
            return nn.MaxPool2d(*pair, ceil_mode=up)
        return nn.AvgPool2d(*pair, ceil_mode=up, count_include_pad=True)
    if method == "AVE":
        raise ModelError(f"{layer}: an average over {show(kernel)} with a padding of {show(padding)} is not read.")
    return own.PaddedMaxPool(*pair, up)


def _check_windows(layer: Layer, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, up: bool) -> None:
    if any(pad >= size for pad, size in zip(padding, kernel)):
        raise ModelError(f"{layer}: pad must be less than the window, got {show(padding)} for {show(kernel)}.")
    _fits(layer, shape[2:], kernel, padding)
    if up and not any(padding):
        for size, wide, step in zip(shape[2:], kernel, stride):
            if -(-(size - wide) // step) * step >= size:
                raise ModelError(
                    f"{layer}: its last window lies outside of {show(shape[2:])}; what Caffe gives there is no value."
                )


def _lrn(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("lrn_param")
    size = _positive(layer, "local_size", options.get("local_size", 5))
    alpha, beta = options.get("alpha", 1.0), options.get("beta", 0.75)
    if size % 2 == 0:
        raise ModelError(f"{layer}: local_size must be odd, got {size}.")
    _picture(layer, shapes[0])
    if options.get("norm_region", "ACROSS_CHANNELS") == "ACROSS_CHANNELS":
        return nn.LocalResponseNorm(size, alpha, beta, options.get("k", 1.0))
    return own.WithinChannelNorm(size, alpha, beta)


def _mvn(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("mvn_param")
    _picture(layer, shapes[0])
    variance, across = options.get("normalize_variance", True), options.get("across_channels", False)
    return own.MeanVariance(variance, across, options.get("eps", 1e-9))


# -- element by element ------------------------------------------------------------------------------------------


def _relu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    slope = layer.options("relu_param").get("negative_slope", 0.0)
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


def _dropout(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    ratio = layer.options("dropout_param").get("dropout_ratio", 0.5)
    if not 0 <= ratio < 1:
        raise ModelError(f"{layer}: dropout_ratio must be at least 0 and less than 1, got {ratio}.")
    return nn.Dropout(ratio)


def _power(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("power_param")
    return own.Power(options.get("power", 1.0), options.get("scale", 1.0), options.get("shift", 0.0))


def _exp_or_log(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("exp_param" if layer.type == "Exp" else "log_param")
    base = options.get("base", -1.0)
    if base != -1 and (base <= 0 or (base == 1 and layer.type == "Log")):
        raise ModelError(f"{layer}: base must be above 0, or -1 for e, got {base}.")
    kind = own.Exp if layer.type == "Exp" else own.Log
    return kind(None if base == -1 else base, options.get("scale", 1.0), options.get("shift", 0.0))


def _eltwise(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("eltwise_param")
    operation, coefficients = options.get("operation", "SUM"), options.all("coeff")
    if len(set(shapes)) != 1:
        raise ModelError(
            f"{layer}: its inputs have shapes {', '.join(show(shape[1:]) for shape in shapes)}; they must agree."
        )
    if coefficients and (operation != "SUM" or len(coefficients) != len(shapes)):
        raise ModelError(
            f"{layer}: coeff goes with SUM, one for each of {len(shapes)} inputs; got {len(coefficients)} for {operation}."
        )
    if operation == "SUM":
        return shared.Sum(coefficients)
    return shared.Product() if operation == "PROD" else shared.Maximum()


# -- shapes ------------------------------------------------------------------------------------------------------


def _concat(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("concat_param")
    axis = _axis(layer, options.get("axis", options.get("concat_dim", 1)), len(shapes[0]))
    if len({shape[:axis] + shape[axis + 1 :] for shape in shapes}) != 1:
        raise ModelError(
            f"{layer}: its inputs {', '.join(show(shape[1:]) for shape in shapes)} differ beside axis {axis}."
        )
    return shared.Concat(axis)


def _slice(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("slice_param"), shapes
    axis = _axis(layer, options.get("axis", options.get("slice_dim", 1)), len(shape))
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


def _flatten(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("flatten_param")
    first = _axis(layer, options.get("axis", 1), len(shapes[0]))
    last = _axis(layer, options.get("end_axis", -1), len(shapes[0]), least=first)
    return nn.Flatten(first, last)


def _reshape(layer: Layer, shapes: Sequence[Shape], batch: int | None) -> nn.Module:
    options, shape = layer.options("reshape_param"), shapes[0]
    dimensions = [int(size) for size in options.message("shape").all("dim")]
    first = _axis(layer, options.get("axis", 0), len(shape) + 1, least=0)
    count = options.get("num_axes", -1)
    end = len(shape) if count == -1 else first + count
    if not first <= end <= len(shape):
        raise ModelError(f"{layer}: num_axes {count} from axis {first} on goes beyond {show(shape)}.")
    new = list(shape[:first])
    for number, size in enumerate(dimensions):
        if size == 0 and first + number >= len(shape):
            raise ModelError(f"{layer}: dim 0 copies a size, and {show(shape)} has none at axis {first + number}.")
        new.append(shape[first + number] if size == 0 else size)
    new += shape[end:]
    if first == 0 and dimensions and dimensions[0] in (batch, -1) and -1 not in dimensions[1:]:
        new[0] = shape[0]  # the file's batch is only one of many; a row stays a row
    if -1 in new:
        known = math.prod(size for size in new if size != -1)
        new[new.index(-1)] = math.prod(shape) // known if known > 0 else -1
    if new[:1] != [shape[0]] or any(size <= 0 for size in new) or math.prod(new) != math.prod(shape):
        raise ModelError(f"{layer}: rows of {show(shape[1:])} cannot become {show(tuple(dimensions))} row by row.")
    return shared.Reshape(new[1:])


def _crop(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape, like) = layer.options("crop_param"), shapes
    axis = _axis(layer, options.get("axis", 2), len(shape))
    count = len(shape) - axis
    offsets = options.all("offset") or [0]
    offsets = offsets * count if len(offsets) == 1 else offsets
    fits = len(offsets) == count and len(like) == len(shape)
    if not fits or any(o < 0 or o + small > big for o, big, small in zip(offsets, shape[axis:], like[axis:])):
        raise ModelError(f"{layer}: {show(like[1:])} at {offsets} does not lie in {show(shape[1:])}.")
    return own.Crop(axis, offsets)


def _permute(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    order = [int(axis) for axis in layer.options("permute_param").all("order")]
    order += [axis for axis in range(len(shapes[0])) if axis not in order]
    if sorted(order) != list(range(len(shapes[0]))) or order[0] != 0:
        raise ModelError(
            f"{layer}: order {order} is none of the axes of {show(shapes[0])} that keeps the batch in front."
        )
    return shared.Permute(order)


def _tile(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("tile_param")
    axis = _axis(layer, options.get("axis", 1), len(shapes[0]))
    tiles = options.get("tiles", 0)
    if not 1 <= tiles <= 4096:
        raise ModelError(f"{layer}: tiles must be from 1 to 4096, got {tiles}.")
    return own.Tile(axis, tiles)


def _reduction(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("reduction_param")
    axis = _axis(layer, options.get("axis", 0), len(shapes[0]))
    return own.Reduction(options.get("operation", "SUM"), axis, options.get("coeff", 1.0))


def _simple(make: Callable[[], nn.Module]) -> Builder:
    return lambda layer, shapes: make()


_BUILDERS: dict[str, Builder] = {
    "AbsVal": _simple(shared.Abs),
    "BNLL": _simple(nn.Softplus),
    "BatchNorm": _batch_norm,
    "Bias": _scale,
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionDepthwise": _convolution,
    "Crop": _crop,
    "Deconvolution": _convolution,
    "DepthwiseConvolution": _convolution,
    "Dropout": _dropout,
    "ELU": lambda layer, shapes: nn.ELU(layer.options("elu_param").get("alpha", 1.0)),
    "Eltwise": _eltwise,
    "Exp": _exp_or_log,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Log": _exp_or_log,
    "MVN": _mvn,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "Permute": _permute,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "ReLU6": _simple(nn.ReLU6),
    "Reduction": _reduction,
    "Scale": _scale,
    "Sigmoid": _simple(nn.Sigmoid),
    "Slice": _slice,
    "Softmax": lambda layer, shapes: nn.Softmax(_axis(layer, layer.options("softmax_param").get("axis", 1), len(shapes[0]))),
    "Split": lambda layer, shapes: shared.Split(len(layer.tops)),
    "TanH": _simple(nn.Tanh),
    "Threshold": lambda layer, shapes: own.Threshold(layer.options("threshold_param").get("threshold", 0.0)),
    "Tile": _tile,
}  # fmt: skip


__all__ = ["build_layer"]
