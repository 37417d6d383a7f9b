"""How much is computed of constants alone: known before it is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from firesteel.models.importers.onnx.node import Call, Node, Value, results

_FREE = 1 << 28
"""Numbers that any file may compute."""
_SHAPED_BY = {"Reshape": (1,), "Expand": (1,), "Tile": (1,)}
"""Operators the shape of whose result depends on the values of inputs, and which these are."""
_BOUNDED = ("Range", "ConstantOfShape", "Slice")
"""Operators that need no trial: the first two have limits of their own, and a slice is no larger than its input."""


class ConstantBudget:
    """Numbers that a file may compute of its constants, all nodes together: 2^28, or four times what it holds itself.

    Args:
        held: numbers of each constant of the file.
        mode: in which a run takes no memory.
    """

    def __init__(self, held: Iterable[int], mode: FakeTensorMode):
        self._mode = mode
        self._most = self._left = max(_FREE, 4 * sum(held))

    def check(self, node: Node, call: Call, given: Sequence[Value]) -> None:
        """Before a node computes of numpy arrays.

        Args:
            node: whose results these are.
            call: of it.
            given: numpy arrays, None where an input is left out.

        Raises:
            ModelError: if its results would be more than is left.
        """
        if node.op in _BOUNDED:
            return
        sizes = _SHAPED_BY.get(node.op, ())
        with self._mode:
            made = call.function(
                *(value if value is None or number in sizes else _like(value) for number, value in enumerate(given))
            )
        self._refuse(node, (math.prod(each.shape) for each in results(made)))

    def take(self, node: Node, made: Sequence[Value]) -> None:
        """After it has.

        Raises:
            ModelError: if that is more than was left.
        """
        self._refuse(node, (math.prod(each.shape) for each in made))
        self._left -= sum(math.prod(each.shape) for each in made)

    def _refuse(self, node: Node, sizes: Iterable[int]) -> None:
        count = sum(sizes)
        if count > self._left:
            raise node.refusal(
                f"makes a constant of {count:,} numbers; {self._most:,} are allowed for all that are computed of the file's own"
            )


def _like(value: Any) -> Tensor:
    """A tensor without memory. Of one type, because a few of numpy's operators have no twin for whole numbers in torch."""
    return torch.empty(value.shape, dtype=torch.float32)


__all__ = ["ConstantBudget"]
