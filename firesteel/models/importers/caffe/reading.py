"""Caffe's files as networks of torch."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers.base import Imported
from firesteel.models.importers.caffe.assembly import assemble, with_flat_output
from firesteel.models.importers.caffe.binary import read_caffemodel
from firesteel.models.importers.caffe.by_name import named_values
from firesteel.models.importers.caffe.graph import trace
from firesteel.models.importers.caffe.prototxt import parse_prototxt
from firesteel.models.importers.caffe.schema import Message
from firesteel.models.importers.caffe.structure import Layer, Net, read_layers, read_structure
from firesteel.models.importers.caffe.values import LazyTensors
from firesteel.models.importers.weights import load_into
from firesteel.models.shapes import MOST_ELEMENTS, show_shape
from firesteel.storage import Place


def read_caffe(
    model: Place,
    *,
    prototxt: Place | None = None,
    into: nn.Module | None = None,
    match_all: bool = True,
    input_shape: tuple[int, ...] | None = None,
    output: str | None = None,
) -> Imported:
    """Read a ``.caffemodel``.

    Without ``into`` the network is built: from the prototxt (deploy or training), or from the structure that the .caffemodel
    has itself. With it, weights go into that network by the names of layers: ``conv1`` into ``conv1`` or
    ``features.conv1``, ``fire2/squeeze1x1`` into ``fire2.squeeze1x1`` or ``fire2_squeeze1x1``; a BatchNorm and the Scale behind it
    into one ``BatchNorm2d``. Both libraries lay out convolutions as (out, in, height, width) and flatten channels first, so
    nothing is turned.

    Args:
        model: the weights.
        prototxt: the network; not together with ``into`` needed, but its input shape is then taken from it.
        into: a network that gets the weights in place.
        match_all: every tensor of the network must be in the file (and with ``into`` the other way round); if false, a layer
            that the file does not have keeps its initial values.
        input_shape: of one row, channels first; None takes the one of the prototxt. Needed where that has none: training
            prototxts read it from their data.
        output: layer or value that gives the logits; None finds the last.

    Raises:
        FormatError: if the .caffemodel is damaged.
        ModelError: if the network cannot be built, or weights and network do not fit.
        StorageError: if a file cannot be read.
    """
    weights = read_caffemodel(model)
    text = None if prototxt is None else parse_prototxt(prototxt.read_bytes(), prototxt.name)
    layers = read_layers(weights, model.name)
    if into is not None:
        return _into(into, layers, text, input_shape, match_all=match_all)
    return _network(weights if text is None else text, (prototxt or model).name, layers, input_shape, output, match_all)


def _network(
    message: Message,
    where: str,
    layers: list[Layer],
    input_shape: tuple[int, ...] | None,
    output: str | None,
    match_all: bool,
) -> Imported:
    if not any(layer.bottoms for layer in read_layers(message, where)):
        raise ModelError(
            f"{where} holds weights without the network. Pass its text with --prototxt, or a network with --into."
        )
    net = read_structure(message, where)
    flow = trace(net, output)
    shape = _input_shape(net, flow.input, input_shape)
    with_weights = {layer.name: layer for layer in reversed(layers) if layer.blobs}
    with_weights = {name: with_weights[name] for name in reversed(with_weights)}
    network, out, matching = assemble(flow, shape, net.batch, with_weights, match_all=match_all)
    if len(out) == 0 or math.prod(out[1:]) != 1:
        raise ModelError(
            f"the network gives {show_shape(out) if out else 'one number'} for a row ({flow.output}), a number for each class is"
            " needed. Choose a layer that does with output=NAME."
        )
    if len(out) > 1:
        network = with_flat_output(network)
    return Imported(network, shape, matching, notes=(*net.notes, *flow.notes))


def _input_shape(net: Net, name: str, given: tuple[int, ...] | None) -> tuple[int, ...]:
    declared = net.inputs[name]
    shape = tuple(given) if given is not None else (declared or ())[1:]
    if not shape:
        raise ModelError(
            f"the network does not say what its input {name!r} is: a training prototxt reads it from the data.\n"
            "Give the shape of one row, channels first (--input-shape 3x227x227), or the deploy.prototxt."
        )
    if any(size <= 0 for size in shape) or math.prod(shape) > MOST_ELEMENTS or len(shape) > 4:
        raise ModelError(f"the input {name!r} cannot have the shape {show_shape(shape)}.")
    return shape


def _into(
    network: nn.Module,
    layers: list[Layer],
    text: Message | None,
    input_shape: tuple[int, ...] | None,
    *,
    match_all: bool,
) -> Imported:
    if input_shape is None and text is not None:
        net = read_structure(text, "the prototxt")
        input_shape = next((shape[1:] for shape in net.inputs.values() if shape), None)
    if input_shape is None:
        raise ModelError("the shape of one row of the network's input is needed (--input-shape 3x224x224).")
    values = named_values(layers, network)
    if not values:
        raise ModelError("the .caffemodel has no weights: none of its layers has blobs.")
    matching = load_into(network, LazyTensors(values), match_all=match_all)
    changes = {name: value.change for name, value in values.items() if value.change and name in matching.matched}
    matching = replace(matching, reshaped={**matching.reshaped, **changes})
    network.eval()
    return Imported(network, tuple(input_shape), matching)


__all__ = ["read_caffe"]
