"""TensorFlow's files as networks of torch, channels first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from firesteel.errors import FormatError, ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers.base import Imported, Matching
from firesteel.models.importers.tensorflow.building import Building, Part
from firesteel.models.importers.tensorflow.bundle import VariableStore
from firesteel.models.importers.tensorflow.messages import Node, Program, read_graph_def, read_saved_model
from firesteel.models.importers.tensorflow.operations import Translation
from firesteel.models.importers.tensorflow.restoring import checkpoint_names
from firesteel.models.importers.tensorflow.tracing import Tracer, needed, reference
from firesteel.models.importers.tensorflow.values import BATCH, Constant, Nothing, Shape, Signal, Value
from firesteel.models.importers.weights import load_into
from firesteel.models.importers.wire_format import map_file
from firesteel.models.shapes import MOST_ELEMENTS, show_shape
from firesteel.specs import did_you_mean
from firesteel.storage import Place


def read_tensorflow(
    model: Place,
    *,
    input_shape: tuple[int, ...] | None = None,
    output: str | None = None,
    into: nn.Module | None = None,
    match_all: bool = True,
) -> Imported:
    """Read a SavedModel (its folder) or a frozen graph (``.pb``). TensorFlow is not needed, and nothing in the file is run.

    Operations become layers under the names of their variables, channels first; a network that was made for a fixed number of
    rows takes any.

    Args:
        model: folder with ``saved_model.pb``, or a file.
        input_shape: of one row, channels first: fills in what the file leaves open; another shape of as many values is put
            in the file's shape at the front.
        output: of the signature, or an operation of a frozen graph; None takes the only one, or the last.
        into: a network that gets the weights by name, in place; None builds the file's.
        match_all: see :func:`firesteel.models.importers.weights.load_into`.

    Raises:
        FormatError: if a file is damaged.
        ModelError: if there are operations that cannot be read, or not one input and one output.
        StorageError: if a file cannot be read.
    """
    try:
        found = _read(model, input_shape, output)
    except FormatError as error:
        raise FormatError(f"{model} cannot be read as a network of TensorFlow: {error}.") from error
    if into is None:
        return found
    matching = load_into(into, found.network.state_dict(), match_all=match_all)
    return Imported(into.eval(), found.input_shape, matching, notes=found.notes)


def _read(model: Place, input_shape: tuple[int, ...] | None, output: str | None) -> Imported:
    if model.is_dir():
        if not (model / "saved_model.pb").exists():
            raise ModelError(f"{model} is no SavedModel: there is no saved_model.pb in it.")
        programs = read_saved_model(map_file(model / "saved_model.pb"))
        program = next((each for each in programs if "serve" in each.tags), programs[0])
        store = VariableStore(model / "variables")
        source, target = _ends_of_signature(program, output)
        return _translated(program, store, source, target, input_shape)
    program = read_graph_def(map_file(model))
    target, others = _last(program, output)
    found = _translated(program, None, _placeholder(program, target), target, input_shape)
    if not others:
        return found
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return replace(found, notes=(f"{target} is taken for the output; left out: {shown}", *found.notes))


def _ends_of_signature(program: Program, output: str | None) -> tuple[str, str]:
    """Names of the values that go in and come out."""
    names = {name: each for name, each in program.signatures.items() if each.inputs and each.outputs}
    if not names:
        raise ModelError(
            "the SavedModel has no signature with inputs and outputs. Save it with signatures (model.export)."
        )
    signature = names.get("serving_default") or next(iter(names.values()))
    if len(signature.inputs) != 1:
        raise ModelError(
            f"a network with one input is needed, the signature has {', '.join(sorted(signature.inputs))}."
        )
    if output is None and len(signature.outputs) > 1:
        raise ModelError(
            f"the signature has several outputs: {', '.join(sorted(signature.outputs))}. Choose one (output=NAME)."
        )
    if output is not None and output not in signature.outputs:
        raise ModelError(f"the signature has no output {output!r}.{did_you_mean(output, signature.outputs)}")
    chosen = signature.outputs[output] if output is not None else next(iter(signature.outputs.values()))
    return next(iter(signature.inputs.values())), chosen


def _placeholder(program: Program, target: str) -> str:
    order = needed(program.graph, [target], set())
    found = [node.name for node in order if node.op == "Placeholder"]
    if len(found) != 1:
        raise ModelError(
            f"a graph with one Placeholder before its output is needed, this has {', '.join(found[:5]) or 'none'}."
        )
    return found[0]


def _last(program: Program, output: str | None) -> tuple[str, list[str]]:
    """The operation that gives the classes: the last one whose value depends on the input and is not taken; and other such."""
    nodes = program.graph.nodes
    if output is not None:
        if reference(output)[0] not in nodes:
            raise ModelError(f"the graph has no operation {output!r}.{did_you_mean(output, nodes)}")
        return output, []
    live = {node.name for node in nodes.values() if node.op == "Placeholder"}
    growing = True
    while growing:
        more = {
            node.name
            for node in nodes.values()
            if node.name not in live and any(reference(name)[0] in live for name in node.inputs)
        }
        live |= more
        growing = bool(more)
    taken = {reference(name)[0] for node in nodes.values() for name in node.inputs}
    ends = [
        node.name
        for node in nodes.values()
        if node.name in live and node.name not in taken and node.op not in _NO_OUTPUTS
    ]
    if not ends:
        raise ModelError("the graph has no operation that depends on an input. A frozen graph of a network is needed.")
    return ends[-1], ends[:-1]


_NO_OUTPUTS = ("Placeholder", "NoOp", "Assert", "ArgMax", "TopKV2", "InTopK", "InTopKV2", "Equal", "Shape")


def _translated(
    program: Program, store: VariableStore | None, source: str, target: str, input_shape: tuple[int, ...] | None
) -> Imported:
    node = program.graph.nodes.get(reference(source)[0])
    if node is None:
        raise FormatError(f"there is no operation {source!r}")
    shape, batch, own_shape, notes = _input_of(node, input_shape)
    building = Building()
    signal = Signal("input#fitted", (BATCH, *shape))
    read = _reader(program, store)
    tracer = Tracer(program, Translation(building, batch), read, {node.name: signal})
    value = tracer.run(target)
    if isinstance(value, Nothing):
        raise ModelError(f"the network cannot be read: {value.reason}")
    if not isinstance(value, Signal) or value.shape[0] != BATCH:
        raise ModelError(
            f"{target} gives the same for every row, or mixes rows: it is no output of a classifier. Choose one (output=NAME)."
        )
    if math.prod(value.shape[1:-1]) != 1 or len(value.shape) < 2:
        raise ModelError(f"{target} gives {show_shape(value.shape[1:])} for a row; a number for each class is needed.")
    if len(value.shape) != 2:
        value = building.add("logits", lambda: nn.Flatten(1), [value])
    prefix = _fitting(own_shape, shape)
    network, matching = building.finish("input" if prefix else "input#fitted", value.name, prefix)
    unused = sorted(set(_weights_of(program, store)) - building.used(value.name))
    matching = Matching(matching.matched, (), tuple(unused), matching.reshaped, matching.notes)
    return Imported(network, own_shape, matching, notes=tuple(notes))


def _input_of(node: Node, given: tuple[int, ...] | None) -> tuple[Shape, int | None, Shape, list[str]]:
    """Shape of a row as TensorFlow has it, the fixed number of rows, the shape of a row that is taken, and notes."""
    declared = node.attributes.get("shape") or node.attributes.get("_output_shapes")
    notes: list[str] = []
    sizes: list[int | None] | None = list(declared)[1:] if isinstance(declared, tuple) and declared else None
    batch = declared[0] if isinstance(declared, tuple) and declared else None
    if batch is not None and batch > 1:
        notes.append(f"the graph was made for batches of {batch} rows; the network takes any")
    theirs = None if given is None else (*given[1:], given[0]) if len(given) == 3 else tuple(given)
    if sizes is None or None in sizes:
        if theirs is None or (sizes is not None and len(sizes) != len(theirs)):
            raise ModelError(
                "the file leaves the shape of its input open. Give that of one row, channels first (--input-shape 3x224x224)."
            )
        sizes = [own if own is not None else other for own, other in zip(sizes or [None] * len(theirs), theirs)]
    shape = tuple(int(size) for size in sizes if size is not None)
    if not shape or any(size <= 0 for size in shape) or math.prod(shape) > MOST_ELEMENTS or len(shape) > 4:
        raise ModelError(f"the input of the network cannot have the shape {shape}.")
    own_shape = (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
    if given is not None and math.prod(given) != math.prod(shape):
        raise ModelError(
            f"the network takes rows of {show_shape(own_shape)} (channels first), {show_shape(given)} was asked for."
        )
    if given is not None and tuple(given) != own_shape:
        notes.append(
            f"rows of {show_shape(given)} are put in the shape of the network's input, {show_shape(own_shape)}"
        )
        own_shape = tuple(given)
    return shape, batch if batch and batch > 1 else None, own_shape, notes


def _fitting(taken: Shape, shape: Shape) -> list[Part]:
    """What brings a row of ``taken``, channels first, to ``shape``, channels last as TensorFlow counts it; if it must."""
    if taken == ((shape[2], shape[0], shape[1]) if len(shape) == 3 else shape):
        return []
    modules: list[nn.Module] = [shared.Permute((0, 2, 3, 1))] if len(taken) == 3 else []
    modules += [shared.Reshape(shape), *([shared.Permute((0, 3, 1, 2))] if len(shape) == 3 else [])]
    return [Part("fit_input", nn.Sequential(*modules), ("input",), "input#fitted")]


def _reader(program: Program, store: VariableStore | None) -> Callable[[str], Value]:
    keys = {} if store is None else checkpoint_names(program)

    def read(name: str) -> Value:
        array = None if store is None else store.array(keys.get(name, name))
        return (
            Nothing(f"variable {name!r} has no value in the file: it is not frozen")
            if array is None
            else Constant(array, name)
        )

    return read


def _weights_of(program: Program, store: VariableStore | None) -> list[str]:
    """Names of what could be weights; the state of optimizers and metrics aside."""
    if store is not None:
        variables = [
            str(n.attributes.get("shared_name") or n.name)
            for n in program.graph.nodes.values()
            if n.op in ("VarHandleOp", "VariableV2")
        ]
        return [
            name
            for name in variables
            if "/" in name and not name.startswith(("Adam/", "SGD/", "RMSprop/", "training/"))
        ]
    return [
        n.name
        for n in program.graph.nodes.values()
        if n.op == "Const" and getattr(n.attributes.get("value"), "ndim", 0) > 1
    ]


__all__ = ["read_tensorflow"]
