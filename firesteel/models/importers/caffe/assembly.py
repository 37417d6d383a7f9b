"""A network of torch from the layers of a file, with their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers.base import Matching
from firesteel.models.importers.caffe.graph import Flow, Node
from firesteel.models.importers.caffe.layers import build_layer
from firesteel.models.importers.caffe.shapes import Shape, output_shapes
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.importers.caffe.values import Value, change_of_shape, values_of
from firesteel.models.importers.network import LayerNetwork, Step, layer_names
from firesteel.models.importers.weights import is_finite
from firesteel.models.shapes import MOST_ELEMENTS, show_shape
from firesteel.specs import did_you_mean

BATCH = 2
"""Rows with which shapes are worked out."""
MAX_INITIAL = 1 << 29
"""Numbers that layers without weights in the file may begin with: 2 GiB."""


@dataclass
class _Part:
    """A module under its name, and where its tensors come from."""

    name: str
    node: Node
    module: nn.Module
    make: Callable[[], nn.Module]
    values: dict[str, Value] = field(default_factory=dict)


def assemble(
    flow: Flow, shape: Shape, batch: int | None, weights: Mapping[str, Layer], *, match_all: bool
) -> tuple[LayerNetwork, Shape, Matching]:
    """Build a network and give it its weights.

    Args:
        flow: its layers.
        shape: of one input row.
        batch: rows of a batch in the file; None if it does not say.
        weights: layers of the .caffemodel by name.
        match_all: every tensor of the network must be in the file.

    Returns:
        the network in evaluation mode, the shape of one row of its output, and what became of the tensors.

    Raises:
        ModelError: if a layer cannot be built, or weights are missing or do not fit.
    """
    parts, shapes = _built(flow, shape, batch, weights)
    missing = _missing(parts)
    if missing and match_all:
        raise ModelError(_missing_weights(missing, weights))
    _refuse_giants(missing)
    matching = _filled(parts, weights)
    _share(parts)
    steps = [Step(part.name, part.node.inputs, part.node.outputs) for part in parts]
    network = LayerNetwork([(part.name, part.module) for part in parts], steps, flow.input, flow.output)
    return network.eval(), shapes[flow.output][1:], matching


def with_flat_output(network: LayerNetwork) -> LayerNetwork:
    """The same with (B, K, 1, 1) -> (B, K) at its end."""
    names = [step.layer for step in network.steps]
    last = layer_names([*names, "logits"])["logits"]
    step = Step(last, (network.output,), (f"{network.output}#flat",))
    layers = [(name, network.get_submodule(name)) for name in dict.fromkeys(names)]
    return LayerNetwork([*layers, (last, nn.Flatten(1))], [*network.steps, step], network.input, step.outputs[0]).eval()


def _built(
    flow: Flow, shape: Shape, batch: int | None, weights: Mapping[str, Layer]
) -> tuple[list[_Part], dict[str, Shape]]:
    """Modules without memory, each with what it gives for the shapes of its inputs."""
    shapes: dict[str, Shape] = {flow.input: (BATCH, *shape)}
    parts: list[_Part] = []
    unique = _unique_names(flow.nodes)
    names = layer_names(unique)
    for node, unique_name in zip(flow.nodes, unique):
        taken = [shapes[name] for name in node.inputs]

        def make(node: Node = node, taken: list[Shape] = taken) -> nn.Module:
            return _module(node, taken, batch)

        with torch.device("meta"):
            module = make().eval()
        given = _given(node.layer, module, taken)
        if len(given) != len(node.outputs):
            raise ModelError(f"{node.layer} gives {len(given)} values, and {len(node.outputs)} tops are named.")
        shapes.update(zip(node.outputs, given))
        part = _Part(names[unique_name], node, module, make)
        part.values = _values(node, weights)
        _check_shapes(part, taken)
        parts.append(part)
    return parts, shapes


def _module(node: Node, shapes: list[Shape], batch: int | None) -> nn.Module:
    module = build_layer(node.layer, shapes, batch)
    if node.scale is None:
        return module
    assert isinstance(module, nn.modules.batchnorm._BatchNorm), "only a BatchNorm takes a Scale in"
    return type(module)(module.num_features, eps=module.eps, momentum=module.momentum)


def _unique_names(nodes: list[Node]) -> list[str]:
    """Names of layers; those that come again, which Caffe allows, get a number."""
    seen: dict[str, int] = {}
    found = []
    for node in nodes:
        name = node.layer.name
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _given(layer: Layer, module: nn.Module, shapes: list[Shape]) -> list[Shape]:
    """Shapes of what a layer gives.

    Raises:
        ModelError: if there is nothing, or too much, or rows are mixed.
    """
    found = output_shapes(module, shapes)
    for shape in found:
        if not shape or shape[0] != BATCH:
            raise ModelError(f"{layer} gives {show_shape(shape)} for {BATCH} rows: it mixes the rows of a batch.")
        if min(shape) <= 0 or math.prod(shape[1:]) > MOST_ELEMENTS:
            raise ModelError(
                f"{layer} gives {show_shape(shape[1:])} for a row; from 1 to {MOST_ELEMENTS:,} numbers are allowed."
            )
    return found


def _values(node: Node, weights: Mapping[str, Layer]) -> dict[str, Value]:
    def of(layer: Layer) -> dict[str, Value]:
        found = weights.get(layer.name)
        # Type and options are the network's: a file of weights alone need not have them.
        return values_of(replace(layer, blobs=found.blobs)) if found is not None else {}

    return of(node.layer) | (of(node.scale) if node.scale else {})


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: each for name, each in module.state_dict(keep_vars=True).items() if not name.endswith("_tracked")}


def _check_shapes(part: _Part, inputs: list[Shape]) -> None:
    own = _tensors(part.module)
    for name, value in part.values.items():
        if name not in own:
            raise ModelError(f"{part.node.layer} has {name} in the file, and none in the network (bias_term: false?).")
        if math.prod(value.shape) != own[name].numel() or not _same(value.shape, tuple(own[name].shape)):
            raise ModelError(
                f"{part.node.layer}: {name} is {show_shape(value.shape)} in the file and {show_shape(tuple(own[name].shape))} in the network,"
                f" whose input there is {', '.join(show_shape(shape[1:]) for shape in inputs)}.\n"
                "Give the size that the network was made for (--size, --input-shape), or the prototxt that belongs to the weights."
            )


def _same(given: Shape, wanted: Shape) -> bool:
    return [size for size in given if size != 1] == [size for size in wanted if size != 1]


def _missing(parts: list[_Part]) -> dict[str, Tensor]:
    """Tensors without values in the file, by qualified name; those that are shared with an earlier layer aside."""
    shared: set[str] = set()
    missing = {}
    for part in parts:
        names = _shared_names(part)
        for name, tensor in _tensors(part.module).items():
            if name not in part.values and names.get(name) not in shared:
                missing[f"{part.name}.{name}"] = tensor
        shared.update(names.values())
    return missing


def _missing_weights(missing: dict[str, Tensor], weights: Mapping[str, Layer]) -> str:
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in missing))
    shown = ", ".join(layers[:4]) + (", ..." if len(layers) > 4 else "")
    return (
        f"the file has no weights for {len(missing)} tensors of the network, of layers {shown}."
        f"{did_you_mean(layers[0], weights)}\nThe file has weights for {len(weights)} layers: {', '.join(list(weights)[:4])}, ...\n"
        "With match-all off (--no-match-all) such layers keep their initial values."
    )


def _refuse_giants(missing: dict[str, Tensor]) -> None:
    count = sum(tensor.numel() for tensor in missing.values())
    if count > MAX_INITIAL:
        raise ModelError(
            f"layers without weights in the file have {count:,} numbers; more than {MAX_INITIAL:,} are refused."
        )


def _filled(parts: list[_Part], weights: Mapping[str, Layer]) -> Matching:
    matched, initial, reshaped, notes = [], [], {}, []
    for part in parts:
        own = _tensors(part.module)
        part.module = _with_memory(part, fresh=set(own) - set(part.values))
        for name, tensor in _tensors(part.module).items():
            full = f"{part.name}.{name}"
            value = part.values.get(name)
            if value is None:
                initial.append(full)
                continue
            value.write(tensor.detach().numpy())
            matched.append(full)
            change = value.change or change_of_shape(value.shape, tuple(tensor.shape))
            if change:
                reshaped[full] = change
            if not is_finite(tensor):
                notes.append(f"{full} holds NaN or infinity")
    taken = {layer.name for part in parts for layer in (part.node.layer, part.node.scale) if layer is not None}
    unused = [f"{name}.{each}" for name, layer in weights.items() if name not in taken for each in values_of(layer)]
    return Matching(tuple(matched), tuple(initial), tuple(unused), reshaped, tuple(notes))


def _with_memory(part: _Part, fresh: set[str]) -> nn.Module:
    """The module on the CPU; initial values are only drawn where the file has none."""
    if fresh:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return part.make().eval()
    module = part.module
    # What Module.to_empty does; on the way from the meta device that imports torch's compiler, which takes half a second.
    for name, parameter in module.named_parameters():
        setattr(module, name, nn.Parameter(torch.empty(parameter.shape)))
    for name, buffer in module.named_buffers():
        setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))
    return module


def _shared_names(part: _Part) -> dict[str, str]:
    """Tensor -> the name by which it is shared, of layers that share theirs."""
    return {tensor: name for tensor, name in zip(("weight", "bias"), part.node.layer.shared) if name}


def _share(parts: list[_Part]) -> None:
    """Make tensors of one name one tensor."""
    first: dict[str, nn.Parameter] = {}
    for part in parts:
        for tensor, name in _shared_names(part).items():
            parameter = getattr(part.module, tensor, None)
            if not isinstance(parameter, nn.Parameter):
                continue
            known = first.setdefault(name, parameter)
            if known.shape != parameter.shape:
                raise ModelError(f"{part.node.layer} shares {name!r}, which has another shape in an earlier layer.")
            setattr(part.module, tensor, known)


__all__ = ["assemble", "with_flat_output"]
