"""From a layer of Keras to modules of torch that compute the same, channels first.

Source: https://keras.io/api/layers/
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers import windows
from firesteel.models.importers.keras.activations import activation, relu
from firesteel.models.importers.keras.pieces import Call, Piece, Source, moved, same
from firesteel.models.importers.keras.recurrent import bidirectional, recurrent
from firesteel.specs import did_you_mean

Builder: TypeAlias = Callable[[Call], list[Piece]]

SPATIAL = {"1D": 1, "2D": 2, "3D": 3}
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


def _dimensions(call: Call) -> int:
    """Axes that a layer's windows go over, from its name."""
    count = next(count for ending, count in SPATIAL.items() if ending in call.layer.kind)
    call.needs(count + 1)
    given = call.layer.get("data_format", "channels_last")
    if given != ("channels_last" if call.channels_last else "channels_first"):
        raise ModelError(f"{call.layer}: data_format {given} differs from that of the network's first layer.")
    return count


def _sequence_first(call: Call, pieces: list[Piece]) -> list[Piece]:
    """Layers over sequences want (B, C, T), and values are (B, T, C)."""
    if len(call.shape) != 2 or not call.channels_last:
        return pieces
    return [
        Piece("to_channels_first", shared.Permute((0, 2, 1))),
        *pieces,
        Piece("to_channels_last", shared.Permute((0, 2, 1))),
    ]


def _channels_and_sizes(call: Call) -> tuple[int, tuple[int, ...]]:
    if len(call.shape) == 2 and call.channels_last:
        return call.shape[1], call.shape[:1]
    return call.shape[0], call.shape[1:]


def _activated(call: Call, name: str = "activation") -> list[Piece]:
    module = activation(
        call.layer.get(name), str(call.layer), version=call.version, axis=1 if len(call.shape) != 2 else -1
    )
    return [] if module is None else [Piece("activation", module)]


def _chain(modules: list[nn.Module], sources: dict[str, Source], at: int) -> list[Piece]:
    """Modules of which the one at ``at`` has the layer's name and weights."""
    names = {windows.Pad: "pad", windows.Crop: "crop"}
    return [
        Piece("" if number == at else names.get(type(module), "part"), module, sources if number == at else {})
        for number, module in enumerate(modules)
    ]


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
    return [Piece("", module, {"weight": kernel} | ({"bias": same("bias")} if bias else {})), *_activated(call)]


def _after_flatten(order: tuple[int, ...]) -> Source:
    """Rows of a kernel that was made for (H, W, C), flattened, in the order of (C, H, W)."""

    def make(value: np.ndarray) -> np.ndarray:
        rank = len(order)
        split = value.reshape(*order, value.shape[-1])
        return split.transpose(rank - 1, *range(rank - 1), rank).reshape(value.shape).T

    shown = "x".join(map(str, order))
    return Source(("kernel",), f"IO -> OI, inputs from {shown} to channels first", make)


def _convolution(call: Call) -> list[Piece]:
    count = _dimensions(call)
    inputs, sizes = _channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    dilation, outputs = call.sizes("dilation_rate", count, 1), call.number("filters")
    groups, bias = call.number("groups", 1), bool(call.layer.get("use_bias", True))
    if inputs % groups or outputs % groups:
        raise ModelError(f"{call.layer}: {groups} groups do not divide {inputs} inputs and {outputs} outputs.")
    pads = _pads(call, sizes, kernel, stride, dilation)
    modules = windows.convolution(inputs, outputs, kernel, stride, dilation, groups, pads, bias=bias)
    sources = {"weight": moved(*_KERNELS[count])} | ({"bias": same("bias")} if bias else {})
    return [*_sequence_first(call, _chain(modules, sources, len(modules) - 1)), *_activated(call)]


def _pads(
    call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> windows.Pads:
    padding = call.choice("padding", "valid", ("valid", "same", "causal"))
    if padding == "same":
        return windows.same_padding(sizes, kernel, stride, dilation)
    if padding == "causal":
        if len(sizes) != 1:
            raise ModelError(f"{call.layer}: padding causal is for sequences.")
        return ((dilation[0] * (kernel[0] - 1), 0),)
    if any((wide - 1) * spread + 1 > size for size, wide, spread in zip(sizes, kernel, dilation)):
        raise ModelError(
            f"{call.layer}: a window of {kernel} does not fit into {sizes}. Give the size that the network was made for."
        )
    return windows.no_padding(len(sizes))


def _depthwise(call: Call) -> list[Piece]:
    count = _dimensions(call)
    if count == 3:
        raise ModelError(f"{call.layer} is not read: over one and two axes it is.")
    modules, sources = _depthwise_parts(call, count, bias=bool(call.layer.get("use_bias", True)))
    return [*_sequence_first(call, _chain(modules, sources, len(modules) - 1)), *_activated(call)]


def _depthwise_parts(call: Call, count: int, *, bias: bool) -> tuple[list[nn.Module], dict[str, Source]]:
    inputs, sizes = _channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    dilation, times = call.sizes("dilation_rate", count, 1), call.number("depth_multiplier", 1)
    pads = _pads(call, sizes, kernel, stride, dilation)
    modules = windows.convolution(inputs, inputs * times, kernel, stride, dilation, inputs, pads, bias=bias)

    def make(value: np.ndarray) -> np.ndarray:
        return value.transpose(count, count + 1, *range(count)).reshape(-1, 1, *value.shape[:count])

    weight = Source(("depthwise_kernel",), "HWIM -> (IM)1HW" if count == 2 else "KIM -> (IM)1K", make)
    return modules, {"weight": weight} | ({"bias": same("bias")} if bias else {})


def _separable(call: Call) -> list[Piece]:
    count = _dimensions(call)
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
        for piece in _chain(modules, sources, len(modules) - 1)
    ]
    name, axes, change = _KERNELS[count]
    weights = {"weight": moved(f"pointwise_{name}", axes, change)} | ({"bias": same("bias")} if bias else {})
    return [*_sequence_first(call, [*pieces, Piece("pointwise", point, weights)]), *_activated(call)]


def _transposed(call: Call) -> list[Piece]:
    count = _dimensions(call)
    inputs, sizes = _channels_and_sizes(call)
    kernel, stride = call.sizes("kernel_size", count), call.sizes("strides", count, 1)
    if set(call.sizes("dilation_rate", count, 1)) != {1} or call.layer.get("output_padding") is not None:
        raise ModelError(f"{call.layer}: dilation_rate and output_padding are not read.")
    bias = bool(call.layer.get("use_bias", True))
    same_size = call.choice("padding", "valid", ("valid", "same")) == "same"
    modules = windows.transposed_convolution(
        inputs, call.number("filters"), sizes, kernel, stride, same=same_size, bias=bias
    )
    sources = {"weight": moved(*_TURNED[count])} | ({"bias": same("bias")} if bias else {})
    return [*_sequence_first(call, _chain(modules, sources, 0)), *_activated(call)]


def _batch_norm(call: Call) -> list[Piece]:
    if not call.is_channel_axis(call.layer.get("axis", -1)):
        raise ModelError(f"{call.layer}: axis {call.layer.get('axis', -1)} is not that of the channels.")
    channels, _ = _channels_and_sizes(call)
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
    return _sequence_first(call, [Piece("", module, sources)])


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


# -- windows and shapes ------------------------------------------------------------------------------------------


def _pooling(call: Call) -> list[Piece]:
    count = _dimensions(call)
    _, sizes = _channels_and_sizes(call)
    kernel = call.sizes("pool_size", count, 2)
    stride = call.sizes("strides", count, list(kernel))
    pads = _pads(call, sizes, kernel, stride, (1,) * count)
    make = windows.max_pool if call.layer.kind.startswith("Max") else windows.average_pool
    modules = make(kernel, stride, pads)
    return _sequence_first(call, _chain(modules, {}, len(modules) - 1))


def _global_pooling(call: Call) -> list[Piece]:
    count = _dimensions(call)
    keep, largest = bool(call.layer.get("keepdims", False)), "Max" in call.layer.kind
    if count == 2:
        pool = nn.AdaptiveMaxPool2d(1) if largest else nn.AdaptiveAvgPool2d(1)
        return [Piece("", pool)] if keep else [Piece("", pool), Piece("flatten", nn.Flatten(1))]
    axes = (1,) if count == 1 and call.channels_last else tuple(range(2, 2 + count))
    return [Piece("", (shared.Largest if largest else shared.Mean)(axes, keep))]


def _zero_padding(call: Call) -> list[Piece]:
    count = _dimensions(call)
    pairs = _pairs(call, "padding", count, 1)
    return _sequence_first(call, [Piece("", windows.Pad(pairs))])


def _cropping(call: Call) -> list[Piece]:
    count = _dimensions(call)
    pairs = _pairs(call, "cropping", count, 0)
    _, sizes = _channels_and_sizes(call)
    if any(before + behind >= size for (before, behind), size in zip(pairs, sizes)):
        raise ModelError(f"{call.layer}: nothing of {sizes} is left after {pairs}.")
    return _sequence_first(call, [Piece("", windows.Crop(pairs))])


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


def _upsampling(call: Call) -> list[Piece]:
    count = _dimensions(call)
    size = call.sizes("size", count, 2)
    mode = call.choice("interpolation", "nearest", ("nearest", "bilinear"))
    factor = tuple(float(value) for value in size)
    bilinear = mode == "bilinear"
    return _sequence_first(
        call, [Piece("", nn.Upsample(scale_factor=factor, mode=mode, align_corners=False if bilinear else None))]
    )


def _flatten(call: Call) -> list[Piece]:
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


def _reshape(call: Call) -> list[Piece]:
    target = list(call.layer.get("target_shape", []))
    count = math.prod(call.shape)
    if (
        not all(isinstance(size, int) and -1 <= size <= MAX_ROW for size in target)
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


def _permute(call: Call) -> list[Piece]:
    dims = list(call.layer.get("dims", []))
    if sorted(dims) != list(range(1, len(call.shape) + 1)):
        raise ModelError(f"{call.layer}: dims {dims} are not the axes of a row of {len(call.shape)}.")
    back = in_torch_order(len(dims) + 1, channels_last=call.channels_last)
    return [*_in_keras_order(call), Piece("", shared.Permute((0, *dims))), *back]


MAX_ROW = 1 << 28
"""Numbers of one value of one row: 1 GiB."""


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
    pieces = _activated(call)
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
    "Flatten": _flatten, "Reshape": _reshape, "Permute": _permute, "Concatenate": _concatenate,
    "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky_relu, "Softmax": _softmax, "Rescaling": _rescaling,
    "ELU": lambda call: [Piece("", nn.ELU(call.real("alpha", 1.0)))],
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D"), _convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D", "SeparableConvolution2D"), _separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution2DTranspose"), _transposed),
    **dict.fromkeys((f"{kind}Pooling{size}" for kind in ("Max", "Average") for size in SPATIAL), _pooling),
    **dict.fromkeys((f"Global{kind}Pooling{size}" for kind in ("Max", "Average") for size in SPATIAL), _global_pooling),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), _zero_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), _cropping),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D"), _upsampling),
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


__all__ = ["build_pieces", "in_torch_order"]
