"""Operations on constants alone: sizes of tensors that a graph computes of others, and weights it puts together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from firesteel.errors import FormatError, ModelError
from firesteel.models.importers.tensorflow.messages import Node
from firesteel.models.importers.tensorflow.tensors import DTYPES
from firesteel.models.importers.tensorflow.values import MAX_FOLDED


def fold(node: Node, arrays: Sequence[np.ndarray], most: int = MAX_FOLDED) -> np.ndarray | None:
    """The result, None for an operation that is not computed of constants.

    Args:
        node: of the graph.
        arrays: its inputs.
        most: numbers that the result may have.

    Raises:
        FormatError: if the values do not go together.
        ModelError: if the result would be giant; nothing has been computed then.
    """
    function = _FUNCTIONS.get(node.op)
    if function is None:
        return None
    try:
        size = _SIZES.get(node.op, _elementwise)(node, *arrays)
        if size > most:
            raise ModelError(f"{node} would compute a constant of {size:,} numbers; more than {most:,} are refused.")
        with np.errstate(all="ignore"):
            return np.asarray(function(node, *arrays))
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise FormatError(f"{node} does not go with its inputs: {error}") from error


def _elementwise(node: Node, *arrays: np.ndarray) -> int:
    return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))


def _of_first(node: Node, first: np.ndarray, *rest: np.ndarray) -> int:
    return first.size


def _of_all(node: Node, *arrays: np.ndarray) -> int:
    return sum(array.size for array in arrays)


def _of_range(node: Node, first: np.ndarray, last: np.ndarray, step: np.ndarray) -> int:
    begin, end, by = (float(each.reshape(-1)[0]) for each in (first, last, step))
    return max(0, math.ceil((end - begin) / by))


def _of_product(node: Node, a: np.ndarray, b: np.ndarray) -> int:
    (rows, _), (_, columns) = (each.shape[:: -1 if turned else 1] for each, turned in zip((a, b), _transposed(node)))
    return rows * columns


def _of_gathered(node: Node, table: np.ndarray, places: np.ndarray, axis: np.ndarray) -> int:
    return table.size // max(1, table.shape[int(axis)]) * places.size


def _strided_slice(
    node: Node, value: np.ndarray, begin: np.ndarray, end: np.ndarray, strides: np.ndarray
) -> np.ndarray:
    return value[slices(node, begin, end, strides)]


def slices(node: Node, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> tuple[Any, ...]:
    """The index of a StridedSlice in numpy's terms."""
    masks = {
        name: int(node.attributes.get(f"{name}_mask") or 0)
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    index: list[Any] = []
    for number, (first, last, step) in enumerate(zip(begin.reshape(-1), end.reshape(-1), strides.reshape(-1))):
        bit = 1 << number
        if masks["ellipsis"] & bit:
            index.append(Ellipsis)
        elif masks["new_axis"] & bit:
            index.append(None)
        elif masks["shrink_axis"] & bit:
            index.append(int(first))
        else:
            index.append(
                slice(
                    None if masks["begin"] & bit else int(first), None if masks["end"] & bit else int(last), int(step)
                )
            )
    return tuple(index)


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(node: Node, value: np.ndarray, axes: np.ndarray) -> Any:
        axis = tuple(int(each) for each in axes.reshape(-1))
        return (
            function(value, axis=axis, keepdims=bool(node.attributes.get("keep_dims"))) if axis or axes.ndim else value
        )

    return run


def _cast(node: Node, value: np.ndarray) -> np.ndarray:
    dtype = DTYPES.get(int(node.attributes.get("DstT") or 0))
    if dtype is None:
        raise ValueError("a type that is not read")
    return value.astype(dtype)


def _transposed(node: Node) -> tuple[bool, bool]:
    return bool(node.attributes.get("transpose_a")), bool(node.attributes.get("transpose_b"))


def _matmul(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    first, second = _transposed(node)
    return (a.T if first else a) @ (b.T if second else b)


def _concat(node: Node, *arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays[:-1], axis=int(arrays[-1]))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, *arrays: function(*arrays)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": _plain(np.add), "AddV2": _plain(np.add), "BiasAdd": _plain(np.add), "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply), "RealDiv": _plain(np.divide), "FloorDiv": _plain(np.floor_divide), "FloorMod": _plain(np.mod),
    "Maximum": _plain(np.maximum), "Minimum": _plain(np.minimum), "Neg": _plain(np.negative), "Square": _plain(np.square),
    "Sqrt": _plain(np.sqrt), "Rsqrt": _plain(lambda x: 1 / np.sqrt(x)), "Exp": _plain(np.exp), "Abs": _plain(np.abs),
    "Reshape": _plain(lambda x, shape: x.reshape([int(size) for size in shape.reshape(-1)])),
    "Transpose": _plain(lambda x, axes: x.transpose([int(axis) for axis in axes])),
    "ExpandDims": _plain(lambda x, axis: np.expand_dims(x, int(axis.reshape(())))),
    "Squeeze": lambda node, x: np.squeeze(x, axis=tuple(node.attributes.get("squeeze_dims") or ()) or None),
    "Pack": lambda node, *arrays: np.stack(arrays, axis=int(node.attributes.get("axis") or 0)),
    "ConcatV2": _concat, "StridedSlice": _strided_slice, "Cast": _cast, "MatMul": _matmul,
    "Shape": _plain(lambda x: np.array(x.shape, np.int64)),
    "GatherV2": _plain(lambda x, indices, axis: np.take(x, indices.astype(np.int64), axis=int(axis))),
    "Prod": _reduced(np.prod), "Sum": _reduced(np.sum), "Mean": _reduced(np.mean), "Max": _reduced(np.max),
    "Fill": _plain(lambda shape, value: np.full([int(size) for size in shape], value)),
    "Range": _plain(lambda first, last, step: np.arange(first.reshape(-1)[0], last.reshape(-1)[0], step.reshape(-1)[0])),
}  # fmt: skip

_SIZES: dict[str, Callable[..., int]] = {
    **dict.fromkeys(
        ("Reshape", "Transpose", "ExpandDims", "Squeeze", "StridedSlice", "Cast", "Prod", "Sum", "Mean", "Max"), _of_first
    ),
    "Pack": _of_all, "ConcatV2": lambda node, *arrays: _of_all(node, *arrays[:-1]), "MatMul": _of_product, "GatherV2": _of_gathered, "Range": _of_range,
    "Fill": lambda node, shape, value: math.prod(int(size) for size in shape.reshape(-1)),
    "Shape": lambda node, value: value.ndim,
}  # fmt: skip
"""Numbers of a result; of all other operations that of inputs that are broadcast together."""


__all__ = ["fold", "slices"]
