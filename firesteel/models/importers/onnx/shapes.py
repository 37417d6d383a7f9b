"""Operators of ONNX that move values, and those that compute shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firesteel.models.importers.onnx.node import Call, Node, Operator, Value, as_sizes, as_tensor, is_host
from firesteel.models.importers.onnx.resizing import resize

MOST_ELEMENTS = 1 << 26
"""Of a tensor that a shape in the file asks for."""
_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""Numbers of ``TensorProto.DataType``."""


def _shape(node: Node) -> Call:
    start, end = node.get("start", 0), node.get("end")

    def compute(x: Value) -> np.ndarray:
        sizes = list(x.shape)[start:end]
        return np.array(sizes, dtype=object if any(isinstance(size, torch.SymInt) for size in sizes) else np.int64)

    return Call(compute)


def _reshape(node: Node) -> Call:
    fixed = node.get("shape")
    allow_zero = bool(node.get("allowzero", 0))

    def compute(x: Value, shape: Value = None) -> Value:
        sizes = as_sizes(np.asarray(fixed) if fixed is not None else shape)
        if not allow_zero:
            sizes = [
                x.shape[place] if isinstance(size, int) and size == 0 else size for place, size in enumerate(sizes)
            ]
        return x.reshape(sizes)

    return Call(compute)


def _flatten(node: Node) -> Call:
    axis = node.get("axis", 1)
    if axis == 1:
        return Call(nn.Flatten())
    dims = node.example().dim()
    axis = axis % dims if axis < 0 else axis
    return Call(lambda x: x.reshape(math.prod(x.shape[:axis]), -1))


def _transpose(node: Node) -> Call:
    order = list(node.get("perm") or range(len(node.example().shape)))[:: 1 if node.get("perm") else -1]
    return Call(lambda x: np.transpose(x, order) if is_host(x) else x.permute(order))


def _squeeze(node: Node) -> Call:
    axes = node.integers(1, "axes", "list of axes")
    if axes is None:
        axes = [place for place, size in enumerate(node.example().shape) if size == 1 and place]

    def compute(x: Value) -> Value:
        dims = sorted({axis % max(x.ndim, 1) for axis in axes}, reverse=True)
        for axis in dims:
            x = np.squeeze(x, axis) if is_host(x) else x.squeeze(axis)
        return x

    return Call(compute, [0])


def _unsqueeze(node: Node) -> Call:
    axes = node.integers(1, "axes", "list of axes") or []

    def compute(x: Value) -> Value:
        dims = x.ndim + len(axes)
        for axis in sorted(axis % dims for axis in axes):
            x = np.expand_dims(x, axis) if is_host(x) else x.unsqueeze(axis)
        return x

    return Call(compute, [0])


def _concat(node: Node) -> Call:
    axis = node.get("axis", 1)

    def compute(*values: Value) -> Value:
        return np.concatenate(values, axis) if is_host(*values) else torch.cat([as_tensor(v) for v in values], axis)

    return Call(compute)


def _split(node: Node) -> Call:
    axis, parts = node.get("axis", 0), node.integers(1, "split", "list of sizes")
    count = len(node.outputs)
    size = int(node.example().shape[axis])

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, parts if parts is not None else math.ceil(size / count), axis)

    return Call(compute, [0])


def _slice(node: Node) -> Call:
    if node.opset < 10:
        starts, ends = node.get("starts"), node.get("ends")
        axes, steps = node.get("axes") or list(range(len(starts))), [1] * len(starts)
        return Call(lambda x: _sliced(x, starts, ends, axes, steps), [0])

    def compute(x: Value, starts: Value, ends: Value, axes: Value = None, steps: Value = None) -> Value:
        begin, end = as_sizes(starts), as_sizes(ends)
        return _sliced(
            x, begin, end, list(range(len(begin))) if axes is None else as_sizes(axes),
            [1] * len(begin) if steps is None else as_sizes(steps),
        )  # fmt: skip

    if node.has(4) and not node.has(3):
        raise node.refusal("has steps and no axes, which is not supported")
    return Call(compute)


def _sliced(x: Value, starts: Any, ends: Any, axes: Any, steps: Any) -> Value:
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis = axis % x.ndim
        if is_host(x):
            cut = slice(start, None if abs(end) > 1 << 60 else end, step)
            x = x[(slice(None),) * axis + (cut,)]
        elif step < 0:
            flipped, size = x.flip(axis), x.shape[axis]
            begin = 0 if start >= size or start == -1 else (size - 1 - start if start >= 0 else -1 - start)
            stop = size if end < -size else (size - 1 - end if end >= 0 else -1 - end)
            x = flipped[(slice(None),) * axis + (slice(begin, stop, -step),)]
        else:
            x = x[(slice(None),) * axis + (slice(start, end if abs(end) < 1 << 31 else None, step),)]
    return x


def _gather(node: Node) -> Call:
    axis = node.get("axis", 0)
    table = node.constant(0)
    if table is not None and table.ndim == 2 and table.dtype.kind == "f" and axis == 0 and node.constant(1) is None:
        layer = nn.Embedding(table.shape[0], table.shape[1], device="meta")
        return Call(layer, [1], layer, {"weight": (node.inputs[0], table, "")})

    def compute(x: Value, places: Value) -> Value:
        if is_host(x, places):
            return np.take(x, places.astype(np.int64), axis)
        x = as_tensor(x)
        if is_host(places) and places.ndim == 0:
            return x.select(axis, int(places))
        places = as_tensor(places).long()
        places = torch.where(places < 0, places + x.shape[axis], places)
        chosen = x.index_select(axis, places.reshape(-1))
        at = axis % x.ndim
        return chosen.reshape([*x.shape[:at], *places.shape, *x.shape[at + 1 :]])

    return Call(compute)


def _expand(node: Node) -> Call:
    def compute(x: Value, shape: Value) -> Value:
        sizes = as_sizes(shape)
        if is_host(x) and all(isinstance(size, int) for size in sizes):
            return _bounded(node, np.broadcast_to, x, np.broadcast_shapes(x.shape, tuple(sizes)))
        x = as_tensor(x)
        more = len(sizes) - x.dim()
        known = [1] * more + list(x.shape) if more > 0 else list(x.shape)
        sizes = [1] * -more + sizes if more < 0 else sizes
        return x.expand([own if isinstance(size, int) and size == 1 else size for own, size in zip(known, sizes)])

    return Call(compute)


def _bounded(node: Node, function: Any, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if math.prod(shape) > MOST_ELEMENTS:
        raise node.refusal(f"makes a constant of {math.prod(shape):,} numbers; {MOST_ELEMENTS:,} are allowed")
    return np.asarray(function(value, shape))


def _tile(node: Node) -> Call:
    def compute(x: Value, times: Value) -> Value:
        counts = as_sizes(times)
        return np.tile(x, counts) if is_host(x) and math.prod(counts) < 1 << 16 else as_tensor(x).repeat(counts)

    return Call(compute)


def _constant_of_shape(node: Node) -> Call:
    value = np.asarray(node.get("value", np.zeros(1, np.float32))).reshape(-1)[:1]

    def compute(shape: Value) -> Value:
        sizes = as_sizes(shape)
        if all(isinstance(size, int) for size in sizes):
            return _bounded(node, lambda v, s: np.full(s, v[0], v.dtype), value, tuple(sizes))
        return torch.full(sizes, value[0].item(), dtype=torch.from_numpy(value.copy()).dtype)

    return Call(compute)


def _range(node: Node) -> Call:
    def compute(*bounds: Value) -> np.ndarray:
        if not is_host(*bounds) or any(each.dtype == object for each in bounds):
            raise node.refusal("counts up to a number that depends on the batch, which is not supported")
        start, limit, step = (each.reshape(-1)[0] for each in bounds)
        if step == 0 or abs((limit - start) / step) > MOST_ELEMENTS:
            raise node.refusal("counts further than a network needs")
        return np.arange(start, limit, step, dtype=bounds[0].dtype)

    return Call(compute)


def _cast(node: Node) -> Call:
    to = int(node.get("to", 1))
    if to not in _TYPES:
        raise node.refusal(f"makes values of type {to}, which is not supported")
    dtype = _TYPES[to]

    def compute(x: Value) -> Value:
        if is_host(x):
            if x.dtype == object:
                return x
            return x if dtype == torch.bfloat16 else x.astype(str(dtype).removeprefix("torch."))
        return x.to(dtype)

    return Call(compute)


def _pad(node: Node) -> Call:
    mode = node.get("mode", "constant")
    pads = node.integers(1, "pads", "list of pads")
    value = node.get("value", 0.0)
    if node.has(2):
        value = float(node.needed_constant(2, "value").reshape(-1)[0])
    dims = node.example().dim()
    if node.has(3) and pads is not None:
        pads = _on_all_axes(node, pads, dims)
    if pads is None or len(pads) != 2 * dims:
        raise node.refusal("has pads for some of its dimensions only, which is not supported")
    order = [pad for dim in reversed(range(dims)) for pad in (pads[dim], pads[dim + dims])]
    while len(order) > 2 and order[-2:] == [0, 0]:
        del order[-2:]
    name = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(mode)
    if name is None:
        raise node.refusal(f"has mode {mode!r}, which is not supported")
    if name == "constant":
        return Call(lambda x: F.pad(x, order, value=float(value)), [0])
    return Call(lambda x: F.pad(x, order, mode=name), [0])


def _on_all_axes(node: Node, pads: list[int], dims: int) -> list[int]:
    axes = [int(axis) % dims for axis in node.needed_constant(3, "list of axes").reshape(-1)]
    whole = [0] * 2 * dims
    for place, axis in enumerate(axes):
        whole[axis], whole[axis + dims] = pads[place], pads[place + len(axes)]
    return whole


def _depth_to_space(node: Node) -> Call:
    block = int(node.get("blocksize", 1))
    if node.get("mode", "DCR") == "CRD":
        return Call(nn.PixelShuffle(block))

    def compute(x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(b, c // block**2, h * block, w * block)

    return Call(compute)


def _space_to_depth(node: Node) -> Call:
    block = int(node.get("blocksize", 1))

    if node.get("mode", "DCR") == "CRD":
        return Call(nn.PixelUnshuffle(block))

    def compute(x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return x.reshape(b, c * block**2, h // block, w // block)

    return Call(compute)


def _gather_elements(node: Node) -> Call:
    axis = node.get("axis", 0)

    def compute(x: Value, places: Value) -> Tensor:
        x, places = as_tensor(x), as_tensor(places).long()
        return x.gather(axis, torch.where(places < 0, places + x.shape[axis], places))

    return Call(compute)


OPERATORS: dict[str, Operator] = {
    "Shape": _shape, "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "Expand": _expand,
    "Tile": _tile, "ConstantOfShape": _constant_of_shape, "Range": _range, "Cast": _cast, "Pad": _pad, "Resize": resize,
    "Upsample": resize, "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth,
    "GatherElements": _gather_elements, "Identity": lambda node: Call(lambda x: x),
    "CastLike": lambda node: Call(lambda x, other: as_tensor(x).to(as_tensor(other).dtype)),
    "Size": lambda node: Call(lambda x: np.asarray(math.prod(x.shape), dtype=object)),
}  # fmt: skip
