"""Which layers lead from a picture to the classes, and how values go through them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.structure import Layer, Net
from firesteel.specs import did_you_mean

_MEASURES = ("Accuracy", "ArgMax", "Silence", "HDF5Output", "SoftmaxWithLoss", "DetectionEvaluate")


@dataclass(frozen=True)
class Node:
    """A layer and its values.

    Attributes:
        layer: of the file.
        inputs: names of values; a value that is changed in place has a new name after it.
        outputs: names of values.
        scale: the Scale that follows a BatchNorm and is part of the same module of torch; None else.
    """

    layer: Layer
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scale: Layer | None = None


@dataclass(frozen=True)
class Flow:
    """Layers that lead to the output, in their order.

    Attributes:
        nodes: these layers.
        input: name of the value that comes in.
        output: name of the value with the classes.
        notes: what was left out, for people.
    """

    nodes: list[Node]
    input: str
    output: str
    notes: list[str]


def is_measure(layer: Layer) -> bool:
    """True for what only trains or measures."""
    return layer.type in _MEASURES or layer.type.endswith("Loss")


def trace(net: Net, output: str | None) -> Flow:
    """Follow the values of a network.

    Args:
        net: the network.
        output: name of a value or layer that gives the logits; None looks for the last value that no other layer takes.

    Raises:
        ModelError: if a value comes from nowhere, there is no such output, or not one input.
    """
    nodes, measures, latest = _connected(net)
    notes = []
    if measures:
        notes.append(f"layers that only train or measure were left out: {_listed(layer.name for layer, _ in measures)}")
    chosen = _output_of(net, nodes, measures, latest, output, notes)
    producer = {name: node for node in nodes for name in node.outputs}
    live = _leading_to(chosen, producer)
    kept = [node for node in nodes if id(node) in live]
    inputs = {name for node in kept for name in node.inputs if name not in producer}
    if len(inputs) != 1:
        raise ModelError(
            f"a network with one input is needed, {chosen!r} is computed from {_listed(sorted(inputs)) or 'none'}."
        )
    return Flow(_with_scales(kept, chosen), inputs.pop(), chosen, notes)


def _connected(net: Net) -> tuple[list[Node], list[tuple[Layer, tuple[str, ...]]], dict[str, str]]:
    """Nodes, layers that only measure, and the last name of each value."""
    latest = {name: name for name in net.inputs}
    versions: dict[str, int] = dict.fromkeys(net.inputs, 1)
    nodes, measures = [], []
    for layer in net.layers:
        missing = [name for name in layer.bottoms if name not in latest]
        if missing and not is_measure(layer):
            raise ModelError(
                f"{layer} takes {missing[0]!r}, which no layer before it gives.{did_you_mean(missing[0], latest)}"
            )
        inputs = tuple(latest[name] for name in layer.bottoms if name in latest)
        if is_measure(layer):
            measures.append((layer, inputs))
            continue
        outputs = []
        for top in layer.tops or (layer.name,):
            versions[top] = versions.get(top, 0) + 1
            outputs.append(top if versions[top] == 1 else f"{top}#{versions[top]}")
            latest[top] = outputs[-1]
        nodes.append(Node(layer, inputs, tuple(outputs)))
    return nodes, measures, latest


def _output_of(
    net: Net,
    nodes: list[Node],
    measures: list[tuple[Layer, tuple[str, ...]]],
    latest: dict[str, str],
    output: str | None,
    notes: list[str],
) -> str:
    if output is not None:
        of_layers = {node.layer.name: node.outputs[0] for node in nodes}
        if output not in of_layers and output not in latest:
            known = [*of_layers, *latest]
            raise ModelError(f"the network has no layer and no value {output!r}.{did_you_mean(output, known)}")
        return of_layers.get(output) or latest[output]
    taken = {name for node in nodes for name in node.inputs}
    ends = [name for node in nodes for name in node.outputs if name not in taken]
    if not ends:
        raise ModelError("the network has no layer that gives something.")
    # Where losses say what is trained, an end without one is a by-product.
    trained = {inputs[0] for layer, inputs in measures if inputs and layer.type.endswith("Loss")}
    chosen = next((name for name in reversed(ends) if name in trained), ends[-1])
    others = [name for name in ends if name != chosen]
    if others:
        notes.append(f"{chosen} is taken for the output; left out: {_listed(others)}")
    return chosen


def _leading_to(output: str, producer: dict[str, Node]) -> set[int]:
    live: set[int] = set()
    waiting = [output]
    while waiting:
        node = producer.get(waiting.pop())
        if node is not None and id(node) not in live:
            live.add(id(node))
            waiting += node.inputs
    return live


def _with_scales(nodes: list[Node], output: str) -> list[Node]:
    """A BatchNorm and the Scale with bias behind it as one node: torch has one module for both."""
    uses: dict[str, int] = {output: 1}
    for node in nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    scales = {node.inputs[0]: node for node in nodes if is_affine(node.layer)}
    merged, dropped = [], set()
    for node in nodes:
        scale = scales.get(node.outputs[0]) if node.layer.type == "BatchNorm" else None
        if scale is not None and uses[node.outputs[0]] == 1:
            merged.append(Node(node.layer, node.inputs, scale.outputs, scale.layer))
            dropped.add(id(scale))
        elif id(node) not in dropped:
            merged.append(node)
    return merged


def is_affine(layer: Layer) -> bool:
    """True for a Scale that is a factor and a bias for each channel."""
    options = layer.options("scale_param") if layer.type == "Scale" else None
    return (
        options is not None
        and len(layer.bottoms) == 1
        and options.get("bias_term", False)
        and options.get("axis", 1) == 1
        and options.get("num_axes", 1) == 1
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


__all__ = ["Flow", "Node", "is_affine", "is_measure", "trace"]
