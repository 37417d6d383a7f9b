"""An ``Add`` behind ``Conv`` or ``MatMul`` as the bias of that layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from firesteel.models.importers.onnx.node import Node


def with_biases(nodes: Sequence[Node], constants: Mapping[str, np.ndarray], output: str) -> Iterator[Node]:
    """The nodes in their order, without the additions that became the third input of another.

    Args:
        nodes: all that the output is computed from.
        constants: by name.
        output: name of the network's result.
    """
    uses = Counter([output, *(name for node in nodes for name in node.inputs)])
    adds = _additions(nodes, uses)
    merged: set[int] = set()
    for node in nodes:
        if id(node) in merged:
            continue
        add = adds.get(node.outputs[0]) if node.outputs else None
        if add is not None and (bias := _bias_of(node, add, constants)):
            merged.add(id(add))
            op = "Gemm" if node.op == "MatMul" else node.op
            node = Node(op, node.name, node.attributes, node.opset, [*node.inputs[:2], bias], add.outputs)
        yield node


def _additions(nodes: Sequence[Node], uses: Mapping[str, int]) -> dict[str, Node]:
    """Value that only an ``Add`` takes -> that node."""
    found: dict[str, Node] = {}
    for node in nodes:
        if node.op == "Add" and node.opset >= 7 and len(node.inputs) == 2:
            found |= {name: node for name in node.inputs if uses.get(name) == 1}
    return found


def _bias_of(node: Node, add: Node, constants: Mapping[str, np.ndarray]) -> str | None:
    """What an ``Add`` behind ``Conv`` or ``MatMul`` adds, if it is a bias that the layer can have itself."""
    other = next((name for name in add.inputs if name != node.outputs[0]), "")
    return other if other in constants and _takes_bias(node, constants, constants[other]) else None


def _takes_bias(node: Node, constants: Mapping[str, np.ndarray], bias: np.ndarray) -> bool:
    weight = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or bias.dtype.kind != "f" or weight.dtype.kind != "f" or any(node.inputs[2:]):
        return False
    if node.op == "Conv":
        dims = weight.ndim - 2
        channels = (weight.shape[0], *[1] * dims)
        return dims >= 1 and bias.shape in (channels, (1, *channels))
    if node.op == "MatMul" and node.inputs[0] not in constants:
        return weight.ndim == 2 and bias.shape in ((weight.shape[1],), (1, weight.shape[1]))
    return False


__all__ = ["with_biases"]
