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
from firesteel.models.importers.caffe import arranging
from firesteel.models.importers.caffe import modules as own
from firesteel.models.importers.caffe.options import axis_of, needs_picture, needs_room, per_dimension, positive
from firesteel.models.importers.caffe.shapes import Shape
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.shapes import show_shape
from firesteel.specs import did_you_mean

Builder: TypeAlias = Callable[[Layer, Sequence[Shape]], nn.Module]


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
        return arranging.reshape(layer, shapes, batch)
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


# -- layers with weights -----------------------------------------------------------------------------------------


def _convolution(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("convolution_param"), shapes
    count = len(shape) - 2
    if not 1 <= count <= 3 or options.get("axis", 1) not in (1, 1 - len(shape)):
        raise ModelError(
            f"{layer}: convolutions over the axes behind the channels are read; its input is {show_shape(shape[1:])}."
        )
    kernel = per_dimension(layer, options, "kernel_size", count, None)
    stride = per_dimension(layer, options, "stride", count, 1)
    padding = per_dimension(layer, options, "pad", count, 0, 0)
    dilation = per_dimension(layer, options, "dilation", count, 1)
    outputs = positive(layer, "num_output", options.get("num_output", 0))
    group = positive(layer, "group", options.get("group", 1))
    if "epthwise" in layer.type:
        group = shape[1]
    if shape[1] % group or outputs % group:
        raise ModelError(f"{layer}: {group} groups do not divide {shape[1]} inputs and {outputs} outputs.")
    turned = layer.type == "Deconvolution"
    if not turned:
        needs_room(layer, shape[2:], [(size - 1) * step + 1 for size, step in zip(kernel, dilation)], padding)
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d) if turned else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    make: Callable[..., nn.Module] = kinds[count - 1]
    return make(
        shape[1], outputs, kernel, stride, padding, dilation=dilation, groups=group, bias=options.get("bias_term", True)
    )


def _inner_product(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("inner_product_param"), shapes
    axis = axis_of(layer, options.get("axis", 1), len(shape))
    outputs = positive(layer, "num_output", options.get("num_output", 0))
    return own.InnerProduct(math.prod(shape[axis:]), outputs, options.get("bias_term", True), axis)


def _batch_norm(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("batch_norm_param"), shapes
    if not 2 <= len(shape) <= 5:
        raise ModelError(f"{layer} needs 2 to 5 dimensions, its input is {show_shape(shape)}.")
    kind: Callable[..., nn.Module] = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 2]
    momentum = 1 - options.get("moving_average_fraction", 0.999)
    return kind(shape[1], eps=options.get("eps", 1e-5), momentum=round(momentum, 9), affine=False)


def _scale(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    bias_only = layer.type == "Bias"
    options, shape = layer.options("bias_param" if bias_only else "scale_param"), shapes[0]
    axis = axis_of(layer, options.get("axis", 1), len(shape), least=0)
    if len(shapes) == 2:
        sizes = shapes[1]
        if shape[axis : axis + len(sizes)] != sizes:
            raise ModelError(f"{layer}: {show_shape(sizes)} does not stand in {show_shape(shape)} from axis {axis} on.")
        if not bias_only and options.get("bias_term", False):
            raise ModelError(f"{layer}: a learnt bias beside a factor that is computed is not read.")
        return own.Scale(None, axis, weight=not bias_only)
    axis = axis_of(layer, options.get("axis", 1), len(shape))
    count = options.get("num_axes", 1)
    end = len(shape) if count == -1 else axis + count
    if not axis <= end <= len(shape):
        raise ModelError(f"{layer}: num_axes {count} from axis {axis} on goes beyond {show_shape(shape)}.")
    return own.Scale(shape[axis:end], axis, weight=not bias_only, bias=bias_only or options.get("bias_term", False))


def _prelu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    return nn.PReLU(1 if layer.options("prelu_param").get("channel_shared", False) else shapes[0][1])


def _normalize(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options, (shape,) = layer.options("norm_param"), shapes
    needs_picture(layer, shape)
    channels = 1 if options.get("channel_shared", True) else shape[1]
    return own.Normalize(channels, options.get("across_spatial", True), options.get("eps", 1e-10))


# -- pooling and normalisation -----------------------------------------------------------------------------------


def _pooling(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """Sizes are rounded up, a window that would begin in the padding behind is dropped, and an average counts its padding.

    All three are torch's ``ceil_mode`` and ``count_include_pad`` to the letter.
    """
    options, (shape,) = layer.options("pooling_param"), shapes
    needs_picture(layer, shape)
    method = options.get("pool", "MAX")
    if method == "STOCHASTIC":
        raise ModelError(f"{layer}: stochastic pooling is not read; MAX and AVE are.")
    if options.get("global_pooling", False):
        return nn.AdaptiveMaxPool2d(1) if method == "MAX" else nn.AdaptiveAvgPool2d(1)
    kernel = per_dimension(layer, options, "kernel_size", 2, None)
    stride = per_dimension(layer, options, "stride", 2, 1)
    padding = per_dimension(layer, options, "pad", 2, 0, 0)
    up = options.get("round_mode", "CEIL") == "CEIL"
    _check_windows(layer, shape, kernel, stride, padding, up)
    pair = (kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1])
    if all(2 * pad <= size for pad, size in zip(padding, kernel)):
        if method == "MAX":
            return nn.MaxPool2d(*pair, ceil_mode=up)
        return nn.AvgPool2d(*pair, ceil_mode=up, count_include_pad=True)
    if method == "AVE":
        raise ModelError(
            f"{layer}: an average over {show_shape(kernel)} with a padding of {show_shape(padding)} is not read."
        )
    return own.PaddedMaxPool(*pair, up)


def _check_windows(layer: Layer, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, up: bool) -> None:
    if any(pad >= size for pad, size in zip(padding, kernel)):
        raise ModelError(
            f"{layer}: pad must be less than the window, got {show_shape(padding)} for {show_shape(kernel)}."
        )
    needs_room(layer, shape[2:], kernel, padding)
    if up and not any(padding):
        for size, wide, step in zip(shape[2:], kernel, stride):
            if -(-(size - wide) // step) * step >= size:
                raise ModelError(
                    f"{layer}: its last window lies outside of {show_shape(shape[2:])}; what Caffe gives there is no value."
                )


def _lrn(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("lrn_param")
    size = positive(layer, "local_size", options.get("local_size", 5))
    alpha, beta = options.get("alpha", 1.0), options.get("beta", 0.75)
    if size % 2 == 0:
        raise ModelError(f"{layer}: local_size must be odd, got {size}.")
    needs_picture(layer, shapes[0])
    if options.get("norm_region", "ACROSS_CHANNELS") == "ACROSS_CHANNELS":
        return nn.LocalResponseNorm(size, alpha, beta, options.get("k", 1.0))
    return own.WithinChannelNorm(size, alpha, beta)


def _mvn(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    options = layer.options("mvn_param")
    needs_picture(layer, shapes[0])
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
            f"{layer}: its inputs have shapes {', '.join(show_shape(shape[1:]) for shape in shapes)}; they must agree."
        )
    if coefficients and (operation != "SUM" or len(coefficients) != len(shapes)):
        raise ModelError(
            f"{layer}: coeff goes with SUM, one for each of {len(shapes)} inputs; got {len(coefficients)} for {operation}."
        )
    if operation == "SUM":
        return shared.Sum(coefficients)
    return shared.Product() if operation == "PROD" else shared.Maximum()


def _simple(make: Callable[[], nn.Module]) -> Builder:
    return lambda layer, shapes: make()


_BUILDERS: dict[str, Builder] = {
    "AbsVal": _simple(shared.Abs),
    "BNLL": _simple(nn.Softplus),
    "BatchNorm": _batch_norm,
    "Bias": _scale,
    "Concat": arranging.concat,
    "Convolution": _convolution,
    "ConvolutionDepthwise": _convolution,
    "Crop": arranging.crop,
    "Deconvolution": _convolution,
    "DepthwiseConvolution": _convolution,
    "Dropout": _dropout,
    "ELU": lambda layer, shapes: nn.ELU(layer.options("elu_param").get("alpha", 1.0)),
    "Eltwise": _eltwise,
    "Exp": _exp_or_log,
    "Flatten": arranging.flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Log": _exp_or_log,
    "MVN": _mvn,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "Permute": arranging.permute,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "ReLU6": _simple(nn.ReLU6),
    "Reduction": arranging.reduction,
    "Scale": _scale,
    "Sigmoid": _simple(nn.Sigmoid),
    "Slice": arranging.slice,
    "Softmax": lambda layer, shapes: nn.Softmax(axis_of(layer, layer.options("softmax_param").get("axis", 1), len(shapes[0]))),
    "Split": lambda layer, shapes: shared.Split(len(layer.tops)),
    "TanH": _simple(nn.Tanh),
    "Threshold": lambda layer, shapes: own.Threshold(layer.options("threshold_param").get("threshold", 0.0)),
    "Tile": arranging.tile,
}  # fmt: skip


__all__ = ["build_layer"]
