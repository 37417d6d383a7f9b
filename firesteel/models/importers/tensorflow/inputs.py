"""Inputs and options of an operation, and the name of the layer that it becomes."""

from __future__ import annotations

from typing import Any

from firesteel.models.importers.tensorflow.messages import Node
from firesteel.models.importers.tensorflow.values import Constant, Shape, Signal, Value


class Unfit(Exception):
    """A node that cannot be translated, and why."""


def signal_of(inputs: list[Value], number: int) -> Signal:
    """An input that depends on the batch."""
    found = inputs[number] if number < len(inputs) else None
    if not isinstance(found, Signal):
        raise Unfit(f"input {number} must depend on the network's input")
    return found


def constant_of(inputs: list[Value], number: int) -> Constant:
    """An input that is numbers of the file."""
    found = inputs[number] if number < len(inputs) else None
    if not isinstance(found, Constant):
        raise Unfit(f"input {number} must be numbers of the file")
    return found


def is_nchw(node: Node) -> bool:
    """Whether an operation has channels before the other axes."""
    return node.attributes.get("data_format") == "NCHW"


def spatial(node: Node, name: str) -> Shape:
    """Height and width of strides, windows or dilations."""
    given: Any = node.attributes.get(name) or [1, 1, 1, 1]
    if len(given) != 4 or not all(isinstance(size, int) and 1 <= size <= 1 << 16 for size in given):
        raise Unfit(f"{name} {given} are not read")
    batch, channels, sizes = (given[0], given[1], given[2:]) if is_nchw(node) else (given[0], given[3], given[1:3])
    if (batch, channels) != (1, 1):
        raise Unfit(f"{name} {given} go over rows or channels")
    return tuple(sizes)


def scope(node: Node) -> str:
    """What the names of an operation and its neighbours begin with."""
    return node.name.rpartition("/")[0] or node.name


def layer_name(constant: Constant, node: Node) -> str:
    """The layer that a variable belongs to: ``conv2d/kernel`` is of ``conv2d``."""
    return constant.name.rpartition("/")[0] or scope(node)
