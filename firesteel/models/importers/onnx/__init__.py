"""Networks from ONNX files: https://github.com/onnx/onnx/blob/main/docs/IR.md, operators of all versions in use.

The reader is ours because the package that translates ONNX to torch (onnx2torch) needs torchvision, which brings a torch of its
own, and keeps neither the names of layers nor a free size of batches. Parsing is that of the package ``onnx``.
"""

from __future__ import annotations

import math

import torch

from firesteel.errors import ConfigError, ModelError, ResourceError
from firesteel.models.graph import as_graph
from firesteel.models.importers.base import Imported, Matching
from firesteel.models.importers.onnx.network import OnnxNetwork
from firesteel.models.importers.onnx.node import as_tensor
from firesteel.models.importers.onnx.reading import OnnxFile, read_file
from firesteel.models.importers.torch import Build, file_classes
from firesteel.models.importers.weights import load_into
from firesteel.models.shapes import MOST_ELEMENTS, show_shape
from firesteel.storage import Place


def read_onnx(
    model: Place,
    *,
    input_shape: tuple[int, ...] | None = None,
    output: str | None = None,
    build: Build | None = None,
    num_classes: int | None = None,
    match_all: bool = True,
) -> Imported:
    """The network of an ONNX file, or its weights by name in another.

    Args:
        model: the file; external data beside it.
        input_shape: of one row, channels first: needed where the file leaves sizes open.
        output: name of the result that is taken; None takes the first.
        build: makes a network that takes the file's weights by name, as torch's exporter keeps them; None takes that of the file.
        num_classes: of that network; None takes the outputs of the file's last layer.
        match_all: see :func:`firesteel.models.importers.weights.load_into`.

    Raises:
        ResourceError: if the package onnx is missing, or an example of what the network takes does not fit into memory.
        FormatError: if the file is damaged.
        ModelError: if it holds what cannot be done, where the node is named; or takes whole numbers.
        ConfigError: if ``input_shape`` is needed, or does not fit.
    """
    file = read_file(model)
    if build is not None and input_shape is not None:
        tensors = {
            name: as_tensor(file.constants[name]) for name in file.weights if file.constants[name].dtype.kind == "f"
        }
        network = build(num_classes or file_classes(model, tensors))
        return Imported(
            network.eval(), input_shape, load_into(network, tensors, match_all=match_all), labels=file.labels
        )
    if output is not None and output not in file.outputs:
        raise ConfigError(f"{model} has no output {output!r}. It has {', '.join(file.outputs[:5])}.")
    if file.integer_input is not None:
        raise ModelError(
            f"{model} takes whole numbers ({file.integer_input}), as networks of words do.\n"
            "Datasets here hold pictures and vectors of numbers with a fraction: a network that takes float32 is needed, or one"
            " that makes such of its input first (Cast)."
        )
    output = output or file.outputs[0]
    rows, own, channels_last = _input_of(model, file, input_shape)
    try:
        example = torch.zeros(rows, *own)
    except RuntimeError as error:  # of torch's allocator
        raise ResourceError(f"{rows:,} rows of {model} do not fit into memory: {str(error)[:100]}") from error
    made = OnnxNetwork(example, file.input_name, channels_last=channels_last)
    made.build(file.nodes, file.constants, file.weights, output)
    graph, notes = as_graph(made.eval(), example)
    names = [name for name in graph.state_dict() if name in made.origins]
    used = {made.origins[name] for name in names} | _behind(file, output)
    unused = tuple(name for name in file.weights if name not in used)
    changes = {name: change for name, change in made.changes.items() if name in names}
    lines = list(notes)
    if channels_last:
        lines.append("the file's network takes channels last; this one takes them first, as datasets have them")
    if len(file.outputs) > 1:
        lines.append(f"of {len(file.outputs)} outputs one is taken: {output}; --output takes another")
    return Imported(graph, own, Matching(tuple(names), (), unused, changes), file.labels, tuple(lines))


def _input_of(place: Place, file: OnnxFile, wanted: tuple[int, ...] | None) -> tuple[int, tuple[int, ...], bool]:
    """Rows of an example, the shape of one row with channels first, and whether the file has channels last."""
    first, *sizes = file.input_shape or (None,)
    last = len(sizes) == 3 and (sizes[2] or 9) <= 4 < (sizes[0] or 9)
    ordered = [sizes[2], sizes[0], sizes[1]] if last else list(sizes)
    given = show_shape(ordered)
    if wanted is not None and (
        not sizes or (len(wanted) == len(ordered) and all(own in (None, new) for own, new in zip(ordered, wanted)))
    ):
        ordered = list(wanted)
    known = [size for size in ordered if size is not None]
    if not known or len(known) < len(ordered):
        raise ConfigError(
            f"{place} takes rows of shape {given if sizes else 'unknown'} and leaves sizes open.\n"
            "Say which: --input-shape CxHxW (in Python: input_shape=(C, H, W)), or --size HxW for pictures."
        )
    rows = first if first is not None and first <= 4096 else 2
    if rows * math.prod(known) > MOST_ELEMENTS:
        raise ConfigError(
            f"{place} takes {rows:,} rows of {math.prod(known):,} numbers at a time, beyond what a network needs"
            f" ({MOST_ELEMENTS:,} in all)."
        )
    return rows, tuple(known), last


def _behind(file: OnnxFile, output: str) -> set[str]:
    """Tensors of the file that the output is computed from, also those that only went into others or hold sizes."""
    needed = {output}
    for node in reversed(file.nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
    return {name for name in needed if name in file.constants}


__all__ = ["read_onnx"]
