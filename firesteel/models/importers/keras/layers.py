"""From a layer of Keras to modules of torch that compute the same, channels first.

Source: https://keras.io/api/layers/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers import windows
from firesteel.models.importers.keras import arranging
from firesteel.models.importers.keras.activations import relu
from firesteel.models.importers.keras.laying import (
    SPATIAL,
    activated,
    chain,
    channels_and_sizes,
    dimensions,
    padding_of,
    sequence_first,
)
from firesteel.models.importers.keras.pieces import Call, Piece, Source, moved, same
from firesteel.models.importers.keras.recurrent import bidirectional, recurrent
from firesteel.models.shapes import show_shape
from firesteel.specs import did_you_mean

Builder: TypeAlias = Callable[[Call], list[Piece]]

_KERNELS = {
    1: ("kernel", (2, 1, 0), "KIO -> OIK"),
    2: ("kernel", (3, 2, 0, 1), "HWIO -> OIHW"),
    3: ("kernel", (4, 3, 0, 1, 2), "DHWIO -> OIDHW"),
}
_TURNED = {
    1: ("kernel", (2, 1, 0), "KOI -> IOK"),
    2: ("kernel", (3, 2, 0, 1), "HWOI -> IOHW"),
    3: ("kernel", (4, 3, 0, 1, 2), "DHWOI -> IODHW"),
}


def build_pieces(call: Call) -> list[Piece]:
    """The modules of a layer, one behind the other; the first takes all inputs.

    Raises:
        ModelError: if there is no such layer, or its options do not go with its inputs.
    """
    kind = call.layer.kind
    if kind == "Lambda":
        raise ModelError(
            f"{call.layer} holds code, which is not run. Write the network without it, or save it as a SavedModel or as ONNX."
        )
    builder = _BUILDERS.get(kind)
    if builder is None:
        raise ModelError(
            f"{call.layer} cannot be read: there is no such layer here.{did_you_mean(kind, _BUILDERS)}\n"
            f"These are read: {', '.join(sorted(_BUILDERS))}."
        )
    if len(call.shapes) > 1 and builder is not _merge and kind != "Concatenate":
        raise ModelError(f"{call.layer} has {len(call.shapes)} inputs, 1 is needed.")
    return builder(call)


# -- layers with weights -----------------------------------------------------------------------------------------


def _dense(call: Call) -> list[Piece]:
    units, bias = call.number("units"), bool(call.layer.get("use_bias", True))
    inputs = call.shape[-1] if len(call.shape) < 3 or not call.channels_last else call.shape[0]
    kernel = moved("kernel", (1, 0), "IO -> OI")
    if len(call.shape) >= 3:
        if not call.channels_last:
            raise ModelError(f"{call.layer} on pictures of channels first is not read.")
        if len(call.shape) > 3:
            call.needs(3)
        module: nn.Module = nn.Conv2d(inputs, units, 1, bias=bias)
        kernel = Source(("kernel",), "IO -> OI11", lambda value: value.T[:, :, None, None])
    else:
        module = nn.Linear(inputs, units, bias)
        if call.order is not None:
            kernel = _after_flatten(call.order)
    return [Piece("", module, {"weight": kernel} | ({"bias": same("bias")} if bias else {})), *activated(call)]


def _after_flatten(order: tuple[int, ...]) -> Source:
    """Rows of a kernel that was made for (H, W, C), flattened, in the order of (C, H, W)."""

    def make(value: np.ndarray) -> np.ndarray:
        rank = len(order)
        split = value.reshape(*order, value.shape[-1])
        return split.transpose(rank - 1, *range(rank - 1), rank).reshape(value.shape).T

    shown = show_shape(order)
    return Source(("kernel",), f"IO -> OI, inputs from {shown} to channels first", make)


def _convolution(call: Call) -> list[Piece]:
    count = dimensions(call)
    inputs, sizes = channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    dilation, outputs = call.sizes("dilation_rate", count, 1), call.number("filters")
    groups, bias = call.number("groups", 1), bool(call.layer.get("use_bias", True))
    if inputs % groups or outputs % groups:
        raise ModelError(f"{call.layer}: {groups} groups do not divide {inputs} inputs and {outputs} outputs.")
    pads = padding_of(call, sizes, kernel, stride, dilation)
    modules = windows.convolution(inputs, outputs, kernel, stride, dilation, groups, pads, bias=bias)
    sources = {"weight": moved(*_KERNELS[count])} | ({"bias": same("bias")} if bias else {})
    return [*sequence_first(call, chain(modules, sources, len(modules) - 1)), *activated(call)]


def _depthwise(call: Call) -> list[Piece]:
    count = dimensions(call)
    if count == 3:
        raise ModelError(f"{call.layer} is not read: over one and two axes it is.")
    modules, sources = _depthwise_parts(call, count, bias=bool(call.layer.get("use_bias", True)))
    return [*sequence_first(call, chain(modules, sources, len(modules) - 1)), *activated(call)]


def _depthwise_parts(call: Call, count: int, *, bias: bool) -> tuple[list[nn.Module], dict[str, Source]]:
    inputs, sizes = channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    dilation, times = call.sizes("dilation_rate", count, 1), call.number("depth_multiplier", 1)
    pads = padding_of(call, sizes, kernel, stride, dilation)
    modules = windows.convolution(inputs, inputs * times, kernel, stride, dilation, inputs, pads, bias=bias)

    def make(value: np.ndarray) -> np.ndarray:
        return value.transpose(count, count + 1, *range(count)).reshape(-1, 1, *value.shape[:count])

    weight = Source(("depthwise_kernel",), "HWIM -> (IM)1HW" if count == 2 else "KIM -> (IM)1K", make)
    return modules, {"weight": weight} | ({"bias": same("bias")} if bias else {})


def _separable(call: Call) -> list[Piece]:
    count = dimensions(call)
    if count == 3:
        raise ModelError(f"{call.layer} is not read: over one and two axes it is.")
    modules, sources = _depthwise_parts(call, count, bias=False)
    last = modules[-1]
    assert isinstance(last, nn.Conv1d | nn.Conv2d), "a depthwise part ends with its convolution"
    outputs, bias = call.number("filters"), bool(call.layer.get("use_bias", True))
    ones = (1,) * count
    (point,) = windows.convolution(
        last.out_channels, outputs, ones, ones, ones, 1, windows.no_padding(count), bias=bias
    )
    pieces = [
        Piece("depthwise" if piece.suffix == "" else piece.suffix, piece.module, piece.sources)
        for piece in chain(modules, sources, len(modules) - 1)
    ]
    name, axes, change = _KERNELS[count]
    weights = {"weight": moved(f"pointwise_{name}", axes, change)} | ({"bias": same("bias")} if bias else {})
    return [*sequence_first(call, [*pieces, Piece("pointwise", point, weights)]), *activated(call)]


def _transposed(call: Call) -> list[Piece]:
    count = dimensions(call)
    inputs, sizes = channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    if set(call.sizes("dilation_rate", count, 1)) != {1} or call.layer.get("output_padding") is not None:
        raise ModelError(f"{call.layer}: dilation_rate and output_padding are not read.")
    bias = bool(call.layer.get("use_bias", True))
    same_size = call.choice("padding", "valid", ("valid", "same")) == "same"
    modules = windows.transposed_convolution(
        inputs, call.number("filters"), sizes, kernel, stride, same=same_size, bias=bias
    )
    sources = {"weight": moved(*_TURNED[count])} | ({"bias": same("bias")} if bias else {})
    return [*sequence_first(call, chain(modules, sources, 0)), *activated(call)]


def _batch_norm(call: Call) -> list[Piece]:
    if not call.is_channel_axis(call.layer.get("axis", -1)):
        raise ModelError(f"{call.layer}: axis {call.layer.get('axis', -1)} is not that of the channels.")
    channels, _ = channels_and_sizes(call)
    kinds: dict[int, Callable[..., nn.Module]] = {
        1: nn.BatchNorm1d,
        2: nn.BatchNorm1d,
        3: nn.BatchNorm2d,
        4: nn.BatchNorm3d,
    }
    momentum = round(1 - call.real("momentum", 0.99), 9)
    module = kinds[len(call.shape)](channels, eps=call.real("epsilon", 1e-3), momentum=momentum)
    sources = {"running_mean": same("moving_mean"), "running_var": same("moving_variance")}
    for option, theirs, name in (("scale", "gamma", "weight"), ("center", "beta", "bias")):
        if call.layer.get(option, True):
            sources[name] = same(theirs)
        else:
            module.get_parameter(name).requires_grad_(False)  # stays 1 or 0
    return sequence_first(call, [Piece("", module, sources)])


def _layer_norm(call: Call) -> list[Piece]:
    if not call.is_channel_axis(call.layer.get("axis", -1)) or not call.channels_last:
        raise ModelError(f"{call.layer}: it is read over the last axis, got axis {call.layer.get('axis', -1)}.")
    channels = call.shape[0] if len(call.shape) >= 3 else call.shape[-1]
    scale, center = bool(call.layer.get("scale", True)), bool(call.layer.get("center", True))
    if not scale and center:
        raise ModelError(f"{call.layer}: center without scale is not read.")
    module = nn.LayerNorm(channels, eps=call.real("epsilon", 1e-3), elementwise_affine=scale, bias=center)
    sources = ({"weight": same("gamma")} if scale else {}) | ({"bias": same("beta")} if center else {})
    piece = Piece("", module, sources)
    if len(call.shape) < 3:
        return [piece]
    rank = len(call.shape) + 1
    last, first = (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))
    return [Piece("to_channels_last", shared.Permute(last)), piece, Piece("to_channels_first", shared.Permute(first))]


def _prelu(call: Call) -> list[Piece]:
    axes = set(call.layer.get("shared_axes") or [])
    if axes != set(range(1, len(call.shape))) or not call.channels_last or len(call.shape) == 2:
        raise ModelError(f"{call.layer}: a slope for each channel is read, which shared_axes {sorted(axes)} is not.")
    flat = Source(("alpha",), None, lambda value: value.reshape(-1))
    return [Piece("", nn.PReLU(call.shape[0]), {"weight": flat})]


# -- element by element and several inputs -----------------------------------------------------------------------


def _merge(call: Call) -> list[Piece]:
    ranks = {len(shape) for shape in call.shapes}
    if len(ranks) != 1:
        raise ModelError(f"{call.layer}: its inputs have {sorted(ranks)} dimensions; they must agree.")
    kind, count = call.layer.kind, len(call.shapes)
    if kind == "Subtract" and count != 2:
        raise ModelError(f"{call.layer} has {count} inputs, 2 are needed.")
    modules: dict[str, Callable[[], nn.Module]] = {
        "Add": shared.Sum, "Subtract": shared.Difference, "Multiply": shared.Product, "Maximum": shared.Maximum,
        "Minimum": shared.Minimum, "Average": lambda: shared.Sum([1 / count] * count),
    }  # fmt: skip
    return [Piece("", modules[kind]())]


def _concatenate(call: Call) -> list[Piece]:
    if len({len(shape) for shape in call.shapes}) != 1:
        raise ModelError(f"{call.layer}: its inputs have different numbers of dimensions.")
    return [Piece("", shared.Concat(call.axis(int(call.layer.get("axis", -1)))))]


def _relu(call: Call) -> list[Piece]:
    limit = call.layer.get("max_value")
    slope = call.real("negative_slope", 0.0)
    return [Piece("", relu(None if limit is None else call.real("max_value", 0.0), slope, call.real("threshold", 0.0)))]


def _leaky_relu(call: Call) -> list[Piece]:
    return [
        Piece("", nn.LeakyReLU(call.real("negative_slope" if "negative_slope" in call.layer.config else "alpha", 0.3)))
    ]


def _activation(call: Call) -> list[Piece]:
    pieces = activated(call)
    return [Piece("", piece.module) for piece in pieces] or [Piece("", nn.Identity())]


def _softmax(call: Call) -> list[Piece]:
    return [Piece("", nn.Softmax(call.axis(int(call.layer.get("axis", -1)))))]


def _dropout(call: Call) -> list[Piece]:
    rate = call.real("rate", 0.5)
    if not 0 <= rate < 1:
        raise ModelError(f"{call.layer}: rate must be at least 0 and less than 1, got {rate}.")
    if call.layer.kind == "SpatialDropout2D" and call.channels_last:
        return [Piece("", nn.Dropout2d(rate))]
    return [Piece("", nn.AlphaDropout(rate) if call.layer.kind == "AlphaDropout" else nn.Dropout(rate))]


def _rescaling(call: Call) -> list[Piece]:
    return [Piece("", shared.Affine(call.real("scale", 1.0), call.real("offset", 0.0)))]


def _nothing(call: Call) -> list[Piece]:
    if call.layer.kind not in ("ActivityRegularization", "Identity"):
        call.notes.append(f"{call.layer} only works while training, and was left out")
    return [Piece("", nn.Identity())]


_BUILDERS: dict[str, Builder] = {
    "Dense": _dense, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "PReLU": _prelu,
    "LSTM": recurrent, "GRU": recurrent, "Bidirectional": bidirectional,
    "Flatten": arranging.flatten, "Reshape": arranging.reshape, "Permute": arranging.permute, "Concatenate": _concatenate,
    "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky_relu, "Softmax": _softmax, "Rescaling": _rescaling,
    "ELU": lambda call: [Piece("", nn.ELU(call.real("alpha", 1.0)))],
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D"), _convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D", "SeparableConvolution2D"), _separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution2DTranspose"), _transposed),
    **dict.fromkeys((f"{kind}Pooling{size}" for kind in ("Max", "Average") for size in SPATIAL), arranging.pooling),
    **dict.fromkeys((f"Global{kind}Pooling{size}" for kind in ("Max", "Average") for size in SPATIAL), arranging.global_pooling),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), arranging.zero_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), arranging.cropping),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D"), arranging.upsampling),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _merge),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout"), _dropout),
    **dict.fromkeys(
        (
            "ActivityRegularization", "Identity", "GaussianNoise", "GaussianDropout", "RandomFlip", "RandomRotation",
            "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness",
        ),
        _nothing,
    ),
}  # fmt: skip


__all__ = ["build_pieces"]
