"""Operations of TensorFlow that move values, or go over axes: what they do where channels come first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from torch import nn

from firesteel.models.importers import modules as shared
from firesteel.models.importers.tensorflow import modules as own
from firesteel.models.importers.tensorflow.building import Building
from firesteel.models.importers.tensorflow.folding import slices
from firesteel.models.importers.tensorflow.inputs import Unfit, constant_of, is_nchw, scope, signal_of
from firesteel.models.importers.tensorflow.messages import Node
from firesteel.models.importers.tensorflow.values import BATCH, Constant, Signal, Value, torch_axis

Answer: TypeAlias = Value | tuple[Value, ...]
"""What an operation gives."""


class Arranging:
    """Makes layers of nodes that arrange values.

    Args:
        building: gets the layers.
        batch: rows for which the graph was made, if it was made for a number of them; None else.
    """

    def __init__(self, building: Building, batch: int | None):
        self._building = building
        self._batch = batch

    def _shape(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        return Constant(np.array(signal_of(inputs, 0).shape, np.int64))

    def _reshape(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = signal_of(inputs, 0)
        target = [int(size) for size in constant_of(inputs, 1).array.reshape(-1)]
        return self._reshaped(node, x, target)

    def _reshaped(self, node: Node, x: Signal, target: list[int]) -> Signal:
        count = int(np.prod([int(size) for size in x.shape], dtype=object))
        if target and self._batch is not None and target[0] == self._batch and x.shape[0] == BATCH:
            target[0] = BATCH  # the graph was made for so many rows
        if target.count(-1) > 1 or any(size < -1 or size == 0 for size in target):
            raise Unfit(f"no shape: {target}")
        if -1 in target:
            known = -int(np.prod(target, dtype=object))
            target[target.index(-1)] = count // known
        if int(np.prod(target, dtype=object)) != count or not target:
            raise Unfit(f"{x.shape[1:]} does not become {target}")
        if target[0] == BATCH == x.shape[0]:
            make: Callable[[], nn.Module] = lambda: shared.Reshape(target[1:])  # noqa: E731
        else:
            sizes = [-1 if size % BATCH == 0 else size for size in target]
            if sizes.count(-1) != 1:
                raise Unfit(f"rows of {x.shape[1:]} become something else than rows")
            make = lambda: own.FreeReshape(sizes)  # noqa: E731
        return self._logical(node.name, make, x, len(target))

    def _logical(self, name: str, make: Callable[[], nn.Module], x: Signal, rank: int) -> Signal:
        """A layer that works on values as TensorFlow has them."""
        before, after = x.is_picture, rank == 4
        if not before and not after:
            return self._building.add(name, make, [x])
        return self._building.add(name, lambda: own.ChannelsLast(make(), before, after), [x])

    def _squeeze(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = signal_of(inputs, 0)
        axes = {axis % len(x.shape) for axis in node.attributes.get("squeeze_dims") or ()}
        axes = axes or {axis for axis, size in enumerate(x.shape) if size == 1}
        if any(x.shape[axis] != 1 for axis in axes):
            raise Unfit(f"axes {sorted(axes)} of {x.shape[1:]} are not of size 1")
        return self._reshaped(node, x, [size for axis, size in enumerate(x.shape) if axis not in axes])

    def _expand(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x, axis = signal_of(inputs, 0), int(constant_of(inputs, 1).array.reshape(()))
        axis = axis + len(x.shape) + 1 if axis < 0 else axis
        if not 0 < axis <= len(x.shape):
            raise Unfit(f"axis {axis} is not one of a row's")
        return self._reshaped(node, x, [*x.shape[:axis], 1, *x.shape[axis:]])

    def _transpose(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        return self._transposed(
            node.name, signal_of(inputs, 0), [int(axis) for axis in constant_of(inputs, 1).array.reshape(-1)]
        )

    def _transposed(self, name: str, x: Signal, order: list[int]) -> Signal:
        rank = len(x.shape)
        if sorted(order) != list(range(rank)):
            raise Unfit(f"{order} are not the axes of a value of {rank} dimensions")
        shown = [order[axis] for axis in ((0, 3, 1, 2) if rank == 4 else range(rank))]
        permutation = [torch_axis(axis, rank) for axis in shown]
        return self._building.add(name, lambda: shared.Permute(permutation), [x])

    def _concat(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        *values, axis = inputs
        signals = [signal_of(values, number) for number in range(len(values))]
        ranks = {len(signal.shape) for signal in signals}
        if len(ranks) != 1:
            raise Unfit("its inputs have different numbers of dimensions")
        rank = ranks.pop()
        where = torch_axis(int(constant_of([axis], 0).array.reshape(())), rank)
        if where == 0:
            raise Unfit("rows of a batch are put together")
        return self._building.add(scope(node), lambda: shared.Concat(where), signals)

    def _reduce(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = signal_of(inputs, 0)
        rank = len(x.shape)
        axes = sorted({int(axis) % rank for axis in constant_of(inputs, 1).array.reshape(-1)})
        keep = bool(node.attributes.get("keep_dims"))
        if 0 in axes or not axes:
            raise Unfit("it goes over the rows of a batch")
        kind = {"Mean": shared.Mean, "Max": shared.Largest, "Sum": own.Total}[node.op]
        if rank == 4 and not keep and axes not in ([1, 2], [3], [1, 2, 3]):
            return self._logical(node.name, lambda: kind(axes), x, rank - len(axes))
        where = [torch_axis(axis, rank) for axis in axes]
        return self._building.add(node.name, lambda: kind(where, keep), [x])

    def _slice(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = signal_of(inputs, 0)
        begin, end, strides = (constant_of(inputs, number).array for number in (1, 2, 3))
        index = slices(node, begin, end, strides)
        if index[:1] not in ((slice(None, None, 1),), (slice(0, None, 1),), (Ellipsis,)) or any(
            isinstance(each, slice) and each.step is not None and each.step < 1 for each in index
        ):
            raise Unfit("it takes some rows of a batch, or goes backwards")
        kept = sum(not isinstance(each, int) for each in index if each is not None and each is not Ellipsis)
        rank = len(x.shape) - sum(isinstance(each, int) for each in index) + sum(each is None for each in index)
        if kept > len(x.shape):
            raise Unfit("more axes than there are")
        return self._logical(node.name, lambda: own.Index(index), x, rank)

    # -- channels before the others ------------------------------------------------------------------------------

    def _nhwc(self, node: Node, x: Signal) -> Signal:
        if is_nchw(node) and x.is_picture:
            return self._transposed(f"{node.name}_in", x, [0, 2, 3, 1])
        return x

    def _back(self, node: Node, x: Signal) -> Signal:
        return self._transposed(f"{node.name}_out", x, [0, 3, 1, 2]) if is_nchw(node) else x


__all__ = ["Answer", "Arranging"]
