"""Operators of ONNX with weights or windows: layers of ``torch.nn``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firesteel.models.importers.onnx.node import Call, Node, Operator
from firesteel.models.shapes import show_shape


def _pads(node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Begin of each dimension, then end of each, as ONNX has them."""
    how, dims = node.get("auto_pad", "NOTSET"), len(kernel)
    if how in ("NOTSET", ""):
        pads = list(node.get("pads", [0] * 2 * dims))
        if len(pads) != 2 * dims or min(pads) < 0:
            raise node.refusal(f"has pads {pads} for {dims} dimensions")
        return pads
    if how == "VALID":
        return [0] * 2 * dims
    begins, ends = [], []
    for size, k, stride, dilation in zip(node.example().shape[2:], kernel, strides, dilations):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        begins.append(large if how == "SAME_LOWER" else small)
        ends.append(small if how == "SAME_LOWER" else large)
    return begins + ends


def _for_torch(pads: Sequence[int]) -> list[int]:
    """Pads of ONNX in the order of ``F.pad``: from the last dimension, begin and end."""
    dims = len(pads) // 2
    return [pad for dim in reversed(range(dims)) for pad in (pads[dim], pads[dim + dims])]


def _is_symmetric(pads: Sequence[int]) -> bool:
    dims = len(pads) // 2
    return list(pads[:dims]) == list(pads[dims:])


class _Padded(nn.Module):
    """A layer behind padding that it cannot do itself."""

    def __init__(self, layer: nn.Module, pads: list[int], value: float):
        super().__init__()
        self.layer, self.pads, self.value = layer, pads, value

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(F.pad(features, self.pads, value=self.value))


def _list(node: Node, name: str, dims: int) -> list[int]:
    values = list(node.get(name, [1] * dims))
    if len(values) != dims or min(values, default=1) < 1:
        raise node.refusal(f"has {name} {values} for {dims} dimensions")
    return values


def _weight(node: Node, number: int = 1) -> np.ndarray:
    weight = node.needed_constant(number, "weight")
    if weight.dtype not in (np.float32, np.float64, np.float16):
        raise node.refusal(f"has weights of type {weight.dtype}; quantized networks are not supported")
    return weight


def _bias(node: Node, number: int, size: int) -> np.ndarray | None:
    if not node.has(number):
        return None
    bias = node.needed_constant(number, "bias")
    if bias.size != size:
        raise node.refusal(f"has a bias of {bias.size} numbers for {size} outputs")
    return bias.reshape(-1)


def _with_bias(node: Node, weight: np.ndarray, bias: np.ndarray | None, change: str = "") -> dict[str, Any]:
    found = {"weight": (node.inputs[1], weight, change)}
    return found if bias is None else found | {"bias": (node.inputs[2], bias, "")}


def conv(node: Node) -> Call:
    """``Conv``; padding that differs at the two ends is done before it."""
    weight = _weight(node)
    dims, groups = weight.ndim - 2, int(node.get("group", 1))
    if not 1 <= dims <= 3 or groups < 1 or weight.shape[0] % groups:
        raise node.refusal(f"has weights of shape {weight.shape} and {groups} groups")
    kernel, strides, dilations = weight.shape[2:], _list(node, "strides", dims), _list(node, "dilations", dims)
    bias = _bias(node, 2, weight.shape[0])
    pads = _pads(node, kernel, strides, dilations)
    same = _is_symmetric(pads)
    made: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    layer = made(
        weight.shape[1] * groups, weight.shape[0], kernel, strides, tuple(pads[:dims]) if same else 0, dilations, groups,
        bias is not None, device="meta",
    )  # fmt: skip
    function = layer if same else _Padded(layer, _for_torch(pads), 0.0)
    return Call(function, [0], layer, _with_bias(node, weight, bias))


def conv_transpose(node: Node) -> Call:
    """``ConvTranspose``."""
    weight = _weight(node)
    dims, groups = weight.ndim - 2, int(node.get("group", 1))
    if not 1 <= dims <= 3 or groups < 1:
        raise node.refusal(f"has weights of shape {weight.shape} and {groups} groups")
    kernel, strides, dilations = weight.shape[2:], _list(node, "strides", dims), _list(node, "dilations", dims)
    extra = list(node.get("output_padding", [0] * dims))
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.get("output_shape"):
        raise node.refusal("has auto_pad or output_shape, which are not supported: give pads")
    pads = list(node.get("pads", [0] * 2 * dims))
    if not _is_symmetric(pads):
        raise node.refusal(f"has pads {pads} that differ at the two ends, which is not supported")
    bias = _bias(node, 2, weight.shape[1] * groups)
    made: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    layer = made(
        weight.shape[0], weight.shape[1] * groups, kernel, strides, tuple(pads[:dims]), tuple(extra), groups,
        bias is not None, dilations, device="meta",
    )  # fmt: skip
    return Call(layer, [0], layer, _with_bias(node, weight, bias))


def gemm(node: Node) -> Call:
    """``Gemm``: a dense layer if its matrix is constant."""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    if node.get("transA", 0) or node.constant(1) is None or (node.has(2) and node.constant(2) is None):
        return _general_gemm(node, alpha, beta)
    weight = _weight(node)
    change = ""
    if not node.get("transB", 0):
        change, weight = f"{show_shape(weight.shape)} -> {show_shape(weight.T.shape)}", weight.T
    weight = weight * np.asarray(alpha, weight.dtype) if alpha != 1 else weight
    bias = node.constant(2)
    if bias is not None and bias.size not in (1, weight.shape[0]):
        return _general_gemm(node, alpha, beta)
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (weight.shape[0],))
        bias = bias * np.asarray(beta, bias.dtype) if beta != 1 else bias
    return dense(node, weight, bias, change)


def dense(node: Node, weight: np.ndarray, bias: np.ndarray | None, change: str) -> Call:
    """A dense layer with weights (outputs, inputs)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    return Call(layer, [0], layer, _with_bias(node, weight, bias, change))


def _general_gemm(node: Node, alpha: float, beta: float) -> Call:
    first, second = bool(node.get("transA", 0)), bool(node.get("transB", 0))

    def compute(a: Any, b: Any, c: Any = None) -> Tensor:
        product = alpha * ((a.t() if first else a) @ (b.t() if second else b))
        return product if c is None else product + beta * c

    return Call(compute)


def matmul(node: Node) -> Call:
    """``MatMul``: a dense layer without bias if its second matrix is constant and a matrix."""
    weight = node.constant(1)
    if weight is None or weight.ndim != 2 or node.constant(0) is not None or weight.dtype.kind != "f":
        return Call(torch.matmul)
    return dense(node, weight.T, None, f"{show_shape(weight.shape)} -> {show_shape(weight.T.shape)}")


def batch_norm(node: Node) -> Call:
    """``BatchNormalization``. ONNX's momentum is that of the old value, torch's that of the new one."""
    names = ("weight", "bias", "running_mean", "running_var")
    values = [node.needed_constant(number, names[number - 1]) for number in range(1, 5)]
    dims, size = node.example().dim(), values[0].size
    if node.get("training_mode", 0):
        raise node.refusal("is in training mode; export the network in evaluation mode")
    if not 2 <= dims <= 5 or any(value.shape != (size,) for value in values):
        raise node.refusal("has weights of different lengths, or an input that is no batch of maps")
    made = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 2]
    layer = made(size, node.get("epsilon", 1e-5), 1 - node.get("momentum", 0.9), device="meta")
    weights = {name: (node.inputs[number], value, "") for number, (name, value) in enumerate(zip(names, values), 1)}
    return Call(layer, [0], layer, weights)


def instance_norm(node: Node) -> Call:
    """``InstanceNormalization``."""
    scale, bias = node.needed_constant(1, "scale"), node.needed_constant(2, "bias")
    dims = node.example().dim()
    if not 3 <= dims <= 5:
        raise node.refusal("has an input that is no batch of maps")
    made = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 3]
    layer = made(scale.size, node.get("epsilon", 1e-5), affine=True, device="meta")
    return Call(layer, [0], layer, _with_bias(node, scale, bias))


def layer_norm(node: Node) -> Call:
    """``LayerNormalization``."""
    scale, bias = node.needed_constant(1, "scale"), node.constant(2)
    dims, axis = node.example().dim(), node.get("axis", -1)
    shape = tuple(node.example().shape[axis % dims :])
    layer = nn.LayerNorm(shape, node.get("epsilon", 1e-5), bias=bias is not None, device="meta")
    bias = None if bias is None else np.broadcast_to(bias, shape)
    return Call(layer, [0], layer, _with_bias(node, np.broadcast_to(scale, shape), bias))


def prelu(node: Node) -> Call:
    """``PRelu``: a layer with one slope, or one a channel; else arithmetic."""
    slope = node.constant(1)
    channels = node.example().shape[1] if node.example().dim() > 1 else 1
    if slope is None or slope.size not in (1, channels) or max((*slope.shape[1:], 1)) > 1:
        return Call(lambda x, a: torch.where(x < 0, x * a, x))
    layer = nn.PReLU(slope.size, device="meta")
    return Call(layer, [0], layer, {"weight": (node.inputs[1], slope.reshape(-1), "")})


def max_pool(node: Node) -> Call:
    """``MaxPool`` with one output."""
    kernel, dims = list(node.get("kernel_shape", ())), len(node.get("kernel_shape", ()))
    strides, dilations = _list(node, "strides", dims), _list(node, "dilations", dims)
    if not 1 <= dims <= 3 or len(node.outputs) > 1 or min(kernel) < 1:
        raise node.refusal("has more than one output, or a window that is not of 1 to 3 dimensions")
    pads = _pads(node, kernel, strides, dilations)
    fits = _is_symmetric(pads) and all(pad <= size // 2 for pad, size in zip(pads, kernel))
    made: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1]
    layer = made(kernel, strides, pads[:dims] if fits else 0, dilations, ceil_mode=bool(node.get("ceil_mode", 0)))
    return Call(layer if fits else _Padded(layer, _for_torch(pads), -math.inf), [0])


def average_pool(node: Node) -> Call:
    """``AveragePool``; where torch has no such padding, the sum is divided by the counted cells."""
    kernel, dims = list(node.get("kernel_shape", ())), len(node.get("kernel_shape", ()))
    strides = _list(node, "strides", dims)
    if not 1 <= dims <= 3 or min(kernel) < 1 or any(each != 1 for each in node.get("dilations", ())):
        raise node.refusal("has dilations, or a window that is not of 1 to 3 dimensions")
    pads = _pads(node, kernel, strides, [1] * dims)
    count, ceil = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    if count and ceil and any(pads):
        raise node.refusal("counts padding and rounds sizes up, for which runtimes differ, and which is not supported")
    made: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1]
    if _is_symmetric(pads) and all(pad <= size // 2 for pad, size in zip(pads, kernel)):
        return Call(made(kernel, strides, pads[:dims], ceil, count), [0])
    layer = made(kernel, strides, 0, ceil)
    if count:
        return Call(_Padded(layer, _for_torch(pads), 0.0), [0])
    order = _for_torch(pads)

    def compute(x: Tensor) -> Tensor:
        return layer(F.pad(x, order)) / layer(F.pad(torch.ones_like(x[:1, :1]), order))

    return Call(compute, [0])


def global_pool(mean: bool) -> Operator:
    """``GlobalAveragePool`` or ``GlobalMaxPool``."""

    def make(node: Node) -> Call:
        dims = node.example().dim() - 2
        if not 1 <= dims <= 3:
            raise node.refusal("has an input that is no batch of maps")
        if mean:
            return Call((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1](1), [0])
        return Call(lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True), [0])

    return make


def lrn(node: Node) -> Call:
    """``LRN``, across channels."""
    size = int(node.get("size", 1))
    return Call(nn.LocalResponseNorm(size, node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)), [0])


OPERATORS: dict[str, Operator] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm, "LayerNormalization": layer_norm, "PRelu": prelu, "MaxPool": max_pool,
    "AveragePool": average_pool, "GlobalAveragePool": global_pool(True), "GlobalMaxPool": global_pool(False), "LRN": lrn,
}  # fmt: skip
