"""Operators of ONNX that compute element by element or reduce."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firesteel.models.importers.onnx.node import Call, Node, Operator, Value, as_tensor, is_host


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda node: Call(lambda x: function(as_tensor(x)))


def _module(make: Callable[[Node], nn.Module]) -> Operator:
    return lambda node: Call(make(node), [0])


def _pairwise(function: Callable[[Tensor, Tensor], Tensor], numpy_function: Callable[..., Any]) -> Operator:
    """Of two; on sizes numpy computes. Before version 7 an axis says where the second begins."""

    def make(node: Node) -> Call:
        axis, dims = node.get("axis"), len(node.example(0).shape)

        def compute(a: Value, b: Value) -> Value:
            if not is_host(a, b):
                a, b = _together(a, b)
            if axis is not None and node.opset < 7:
                b = b.reshape(*b.shape, *[1] * (dims - axis % dims - b.ndim))
            return np.asarray(numpy_function(a, b)) if is_host(a, b) else function(a, b)

        return Call(compute)

    return make


def _together(a: Value, b: Value) -> tuple[Tensor, Tensor]:
    """Both as tensors where one is: a number takes the type of the other."""
    if is_host(a, b):
        return as_tensor(a), as_tensor(b)
    if isinstance(a, np.ndarray):
        return _like(a, b), b
    if isinstance(b, np.ndarray):
        return a, _like(b, a)
    return a, b


def _like(value: np.ndarray, other: Tensor) -> Tensor:
    tensor = as_tensor(value)
    return tensor.to(other.dtype) if value.dtype != bool and tensor.dtype != other.dtype else tensor


def _several(function: Callable[[Tensor, Tensor], Tensor], numpy_function: Callable[..., Any]) -> Operator:
    def make(node: Node) -> Call:
        def compute(*values: Value) -> Value:
            result = values[0]
            for value in values[1:]:
                result = (
                    numpy_function(result, value) if is_host(result, value) else function(*_together(result, value))
                )
            return result

        return Call(compute)

    return make


def _mean(node: Node) -> Call:
    count = sum(1 for name in node.inputs if name)
    total = _several(torch.add, np.add)(node).function
    return Call(lambda *values: total(*values) / count)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _divide_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whole numbers are rounded towards zero; sizes of torch's symbols are not negative, where that is the floor."""
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        return np.asarray(a / b)
    if object in (a.dtype, b.dtype):
        return np.asarray(a // b)
    return np.asarray((abs(a) // abs(b)) * np.sign(a) * np.sign(b))


def _clip(node: Node) -> Call:
    """``Clip``; 0 to 6 is ReLU6."""
    bounds: list[float | None] = []
    for number, name in ((1, "min"), (2, "max")):
        if name in node.attributes:
            bounds.append(float(node.get(name)))
        else:
            bounds.append(float(node.needed_constant(number, name).reshape(-1)[0]) if node.has(number) else None)
    low, high = bounds
    if low == 0 and high == 6:
        return Call(nn.ReLU6(), [0])
    if low is None and high is None:
        return Call(lambda x: as_tensor(x), [0])
    return Call(lambda x: as_tensor(x).clamp(low, high), [0])


def _softmax(function: Callable[..., Tensor]) -> Operator:
    """Before version 13 over all dimensions from the axis on, since then over the axis."""

    def make(node: Node) -> Call:
        dims = node.example().dim()
        if node.opset >= 13 or node.get("axis", 1) % dims == dims - 1:
            axis = node.get("axis", -1) if node.opset >= 13 else dims - 1
            return Call(lambda x: function(x, dim=axis))
        axis = node.get("axis", 1) % dims
        if all(int(size) == 1 for size in node.example().shape[axis + 1 :]):
            return Call(lambda x: function(x, dim=axis))
        return Call(lambda x: function(x.flatten(axis), dim=axis).reshape(x.shape))

    return make


def _reduce(
    function: Callable[[Tensor, list[int], bool], Tensor],
    numpy_function: Callable[[np.ndarray, tuple[int, ...], bool], Any],
) -> Operator:
    """Over some axes, or over all; on constants and sizes numpy computes."""

    def make(node: Node) -> Call:
        given = node.integers(1, "axes", "list of axes")
        keep = bool(node.get("keepdims", 1))
        if not given and node.get("noop_with_empty_axes", 0):
            return Call(lambda x: x, [0])

        def compute(x: Value) -> Value:
            axes = given or list(range(x.ndim))
            if not is_host(x):
                return function(x, axes, keep)
            result = np.asarray(numpy_function(x, tuple(axes), keep))
            return result if x.dtype == object else result.astype(x.dtype)

        return Call(compute, [0])

    return make


def _log_sum_exp(x: np.ndarray, axes: tuple[int, ...], keep: bool) -> np.ndarray:
    largest = x.max(axes, keepdims=True)
    found = np.log(np.exp(x - largest).sum(axes, keepdims=True)) + largest
    return np.asarray(found if keep else found.squeeze(axes))


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(function: Callable[..., Tensor]) -> Operator:
    def make(node: Node) -> Call:
        if node.get("select_last_index", 0):
            raise node.refusal("takes the last of equal values, which is not supported")
        return Call(lambda x: function(x, node.get("axis", 0), keepdim=bool(node.get("keepdims", 1))))

    return make


def _dropout(node: Node) -> Call:
    """Live again in training mode; a mask as second output is not."""
    if len(node.outputs) > 1:
        return Call(lambda x: (x, torch.ones_like(x, dtype=torch.bool)), [0])
    ratio = node.get("ratio", 0.5)
    if node.has(1):
        ratio = float(node.needed_constant(1, "ratio").reshape(-1)[0])
    return Call(nn.Dropout(min(max(float(ratio), 0.0), 1.0)), [0])


def _selu(node: Node) -> Call:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    if math.isclose(alpha, 1.6732632, rel_tol=1e-5) and math.isclose(gamma, 1.0507010, rel_tol=1e-5):
        return Call(nn.SELU())
    return Call(lambda x: gamma * torch.where(x > 0, x, alpha * torch.expm1(x)))


def _hard_sigmoid(node: Node) -> Call:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return Call(nn.Hardsigmoid())
    return Call(lambda x: (alpha * x + beta).clamp(0, 1))


def _einsum(node: Node) -> Call:
    return Call(lambda *values: torch.einsum(node.get("equation"), *(as_tensor(value) for value in values)))


def _where(node: Node) -> Call:
    def compute(condition: Value, a: Value, b: Value) -> Value:
        if is_host(condition, a, b):
            return np.where(condition.astype(bool), a, b)
        a, b = _together(a, b)
        return torch.where(as_tensor(condition).bool(), as_tensor(a), as_tensor(b))

    return Call(compute)


def _mod(node: Node) -> Call:
    """The sign is that of the divisor, with ``fmod`` that of the dividend."""
    return (_pairwise(torch.fmod, np.fmod) if node.get("fmod", 0) else _pairwise(torch.remainder, np.mod))(node)


OPERATORS: dict[str, Operator] = {
    "Add": _pairwise(torch.add, np.add), "Sub": _pairwise(torch.sub, np.subtract), "Mul": _pairwise(torch.mul, np.multiply),
    "Div": _pairwise(_divide, _divide_sizes), "Pow": _pairwise(torch.pow, np.power), "Mod": _mod,
    "Equal": _pairwise(torch.eq, np.equal), "Greater": _pairwise(torch.gt, np.greater), "Less": _pairwise(torch.lt, np.less),
    "GreaterOrEqual": _pairwise(torch.ge, np.greater_equal), "LessOrEqual": _pairwise(torch.le, np.less_equal),
    "And": _pairwise(torch.logical_and, np.logical_and), "Or": _pairwise(torch.logical_or, np.logical_or),
    "Xor": _pairwise(torch.logical_xor, np.logical_xor), "Where": _where,
    "Max": _several(torch.maximum, np.maximum), "Min": _several(torch.minimum, np.minimum), "Sum": _several(torch.add, np.add),
    "Mean": _mean,
    "Abs": _unary(torch.abs), "Neg": _unary(torch.neg), "Sqrt": _unary(torch.sqrt), "Exp": _unary(torch.exp),
    "Log": _unary(torch.log), "Floor": _unary(torch.floor), "Ceil": _unary(torch.ceil), "Round": _unary(torch.round),
    "Reciprocal": _unary(torch.reciprocal), "Sign": _unary(torch.sign), "Sin": _unary(torch.sin), "Cos": _unary(torch.cos),
    "Tan": _unary(torch.tan), "Atan": _unary(torch.atan), "Erf": _unary(torch.erf), "Not": _unary(torch.logical_not),
    "Relu": _module(lambda node: nn.ReLU()), "Sigmoid": _module(lambda node: nn.Sigmoid()),
    "Tanh": _module(lambda node: nn.Tanh()), "Selu": _selu, "Mish": _module(lambda node: nn.Mish()),
    "LeakyRelu": _module(lambda node: nn.LeakyReLU(node.get("alpha", 0.01))),
    "Elu": _module(lambda node: nn.ELU(node.get("alpha", 1.0))), "Celu": _module(lambda node: nn.CELU(node.get("alpha", 1.0))),
    "Gelu": _module(lambda node: nn.GELU(node.get("approximate", "none"))), "HardSwish": _module(lambda node: nn.Hardswish()),
    "Softplus": _module(lambda node: nn.Softplus()), "HardSigmoid": _hard_sigmoid,
    "Softsign": lambda node: Call(F.softsign), "Clip": _clip, "Dropout": _dropout, "Einsum": _einsum,
    "ThresholdedRelu": lambda node: Call(lambda x: torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))),
    "Softmax": _softmax(torch.softmax), "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep), lambda x, axes, keep: x.mean(axes, keepdims=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep), lambda x, axes, keep: x.sum(axes, keepdims=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keep), lambda x, axes, keep: x.max(axes, keepdims=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keep), lambda x, axes, keep: x.min(axes, keepdims=keep)),
    "ReduceProd": _reduce(_product, lambda x, axes, keep: x.prod(axes, keepdims=keep)),
    "ReduceL1": _reduce(
        lambda x, axes, keep: x.abs().sum(axes, keep), lambda x, axes, keep: abs(x).sum(axes, keepdims=keep)
    ),
    "ReduceL2": _reduce(
        lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
        lambda x, axes, keep: np.sqrt((x * x).sum(axes, keepdims=keep)),
    ),
    "ReduceSumSquare": _reduce(
        lambda x, axes, keep: x.square().sum(axes, keep), lambda x, axes, keep: (x * x).sum(axes, keepdims=keep)
    ),
    "ReduceLogSum": _reduce(
        lambda x, axes, keep: x.sum(axes, keep).log(), lambda x, axes, keep: np.log(x.sum(axes, keepdims=keep))
    ),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(axes, keep), _log_sum_exp),
    "ArgMax": _arg(torch.argmax), "ArgMin": _arg(torch.argmin),
}  # fmt: skip
