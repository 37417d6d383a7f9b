"""A network of torch from the layers of a configuration, with their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers.base import Matching
from firesteel.models.importers.keras.config import KerasLayer, KerasModel
from firesteel.models.importers.keras.files import KerasFile, WeightStore
from firesteel.models.importers.keras.layers import build_pieces
from firesteel.models.importers.keras.pieces import Call, Piece, Shape, Source
from firesteel.models.importers.keras.places import named_places
from firesteel.models.importers.network import LayerNetwork, Step, layer_names
from firesteel.models.importers.weights import is_finite
from firesteel.models.shapes import MOST_ELEMENTS, show_shape

MAX_PARAMETERS = 1 << 34
MAX_INITIAL = 1 << 29
"""Numbers that layers without weights in the file may begin with: 2 GiB."""

_ELEMENTWISE = ("Dropout", "Activation", "ReLU", "LeakyReLU", "ELU", "AlphaDropout", "GaussianNoise", "Identity")


@dataclass
class _Part:
    """A module, its name in the file's terms, and its values."""

    name: str
    layer: KerasLayer | None
    piece: Piece
    inputs: tuple[str, ...]
    output: str


def assemble(
    file: KerasFile,
    model: KerasModel,
    shape: Shape,
    version: int,
    notes: list[str],
    *,
    match_all: bool,
    given: Shape | None,
) -> tuple[nn.Module, Shape, Shape, Matching]:
    """Build a network and give it its weights.

    Args:
        file: where the weights are.
        model: its layers.
        shape: of one input row, as Keras has it.
        version: of Keras, the first number.
        notes: to add to.
        match_all: every tensor of the network must be in the file.
        given: shape of one row that the caller wants; None is the file's, channels first.

    Returns:
        the network, the shape of one row of its input and of its output, and what became of the tensors.
    """
    builder = _Builder(model, file.channels_last, version, notes)
    own = _channels_first(shape) if file.channels_last else shape
    builder.begin(own, shape, given)
    for layer in model.layers:
        builder.add(layer)
    parts = builder.parts
    if not any(part.output == model.output for part in parts):
        raise ModelError("the network has no layer that gives something.")
    names = layer_names(part.name for part in parts)
    matching = _filled(parts, names, file.weights, match_all=match_all)
    modules = {names[part.name]: part.piece.module for part in parts}
    steps = [Step(names[part.name], part.inputs, (part.output,)) for part in parts]
    network = LayerNetwork(modules.items(), steps, model.input, model.output).eval()
    return network, given or own, builder.shapes[model.output], matching


class _Builder:
    """Modules layer by layer, and the shape of each value as torch has it."""

    def __init__(self, model: KerasModel, channels_last: bool, version: int, notes: list[str]):
        self.model, self.channels_last, self.version, self.notes = model, channels_last, version, notes
        self.parts: list[_Part] = []
        self.shapes: dict[str, Shape] = {}
        self.order: dict[str, Shape] = {}
        self._built: dict[str, list[Piece]] = {}
        self._renamed: dict[str, str] = {}
        self._parameters = 0
        self._consumers: dict[str, list[KerasLayer]] = {}
        for layer in model.layers:
            for name in layer.inputs:
                self._consumers.setdefault(name, []).append(layer)

    def begin(self, own: Shape, keras: Shape, given: Shape | None) -> None:
        """The input, and before it what brings another shape of as many values to it."""
        self.shapes[self.model.input] = own
        if given is None or tuple(given) == own:
            return
        if math.prod(given) != math.prod(own):
            raise ModelError(
                f"the network takes rows of {show_shape(own)} (channels first), {show_shape(given)} was asked for."
            )
        pieces: list[nn.Module] = []
        rank = len(given) + 1
        if self.channels_last and rank >= 4:
            pieces.append(shared.Permute((0, *range(2, rank), 1)))
        pieces.append(shared.Reshape(keras))
        if self.channels_last and len(keras) >= 3:
            pieces.append(shared.Permute((0, len(keras), *range(1, len(keras)))))
        value = f"{self.model.input}#fitted"
        self.parts.append(_Part("fit_input", None, Piece("", nn.Sequential(*pieces)), (self.model.input,), value))
        self.shapes[value] = own
        self._renamed[self.model.input] = value
        self.notes.append(f"rows of {show_shape(given)} are put in the shape of the network's input, {show_shape(own)}")

    def add(self, layer: KerasLayer) -> None:
        inputs = tuple(self._renamed.get(name, name) for name in layer.inputs)
        shapes = [self.shapes[name] for name in inputs]
        order = self.order.get(inputs[0])
        with torch.device("meta"):
            pieces = self._built.get(layer.name) or self._pieces(layer, shapes, order)
        first = layer.name not in self._built
        self._built[layer.name] = pieces
        if first:
            self._count(layer, pieces)
        value, taken = "", inputs
        for number, piece in enumerate(pieces):
            value = layer.output if number == len(pieces) - 1 else f"{layer.output}#{number}"
            self._add_part(layer, piece, number, taken, value)
            taken = (value,)
        self._follow_order(layer, inputs[0], order)

    def _pieces(self, layer: KerasLayer, shapes: list[Shape], order: Shape | None) -> list[Piece]:
        call = Call(layer, shapes, self.channels_last, self.version, order, self.notes)
        if layer.kind == "Flatten" and self._is_picture(shapes[0]) and not self._only_dense(layer.output):
            rank = len(shapes[0]) + 1
            return [Piece("to_channels_last", shared.Permute((0, *range(2, rank), 1))), *build_pieces(call)]
        return build_pieces(call)

    def _is_picture(self, shape: Shape) -> bool:
        return self.channels_last and len(shape) >= 3

    def _follow_order(self, layer: KerasLayer, taken: str, order: Shape | None) -> None:
        if layer.kind == "Flatten" and self._is_picture(self.shapes[taken]) and self._only_dense(layer.output):
            shape = self.shapes[taken]
            self.order[layer.output] = (*shape[1:], shape[0])
        elif order is not None and layer.kind in _ELEMENTWISE:
            self.order[layer.output] = order

    def _only_dense(self, value: str) -> bool:
        """True if what is flattened goes into dense layers alone, whose weights can be put in another order."""
        consumers = self._consumers.get(value, [])
        if value == self.model.output or not consumers:
            return False
        names = [layer.name for layer in self.model.layers]
        return all(
            names.count(layer.name) == 1
            and (layer.kind == "Dense" or (layer.kind in _ELEMENTWISE and self._only_dense(layer.output)))
            for layer in consumers
        )

    def _add_part(self, layer: KerasLayer, piece: Piece, number: int, taken: tuple[str, ...], value: str) -> None:
        name = f"{layer.name}_{piece.suffix}" if piece.suffix else layer.name
        found = _run(layer, piece.module, [self.shapes[each] for each in taken])
        self.shapes[value] = found
        self.parts.append(_Part(name, layer, piece, taken, value))

    def _count(self, layer: KerasLayer, pieces: list[Piece]) -> None:
        self._parameters += sum(tensor.numel() for piece in pieces for tensor in piece.module.parameters())
        if self._parameters > MAX_PARAMETERS:
            raise ModelError(
                f"{layer} brings the network to {self._parameters:,} parameters; more than {MAX_PARAMETERS:,} are refused."
            )


def _run(layer: KerasLayer, module: nn.Module, shapes: Sequence[Shape]) -> Shape:
    """Shape of a row of what a module gives; nothing is computed."""
    try:
        with torch.no_grad():
            found = tuple(module.eval()(*[torch.empty((2, *shape), device="meta") for shape in shapes]).shape)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{layer} cannot take {', '.join(map(show_shape, shapes))}: {reason}") from error
    if not found or found[0] != 2 or min(found) <= 0 or math.prod(found[1:]) > MOST_ELEMENTS:
        raise ModelError(
            f"{layer} gives {show_shape(found[1:])} for a row; from 1 to {MOST_ELEMENTS:,} numbers are allowed."
        )
    return found[1:]


def _filled(parts: list[_Part], names: dict[str, str], store: WeightStore, *, match_all: bool) -> Matching:
    matched, initial, reshaped, notes = [], [], {}, []
    plans = {}
    for part in parts:
        if part.name in plans:
            continue  # called more than once
        plans[part.name] = (part, _places(part, store))
    missing = [
        f"{names[name]}.{tensor}"
        for name, (part, places) in plans.items()
        for tensor in part.piece.sources
        if tensor not in places
    ]
    _check_missing(missing, plans, store, match_all=match_all)
    for name, (part, places) in plans.items():
        values = {tensor: _value(part, tensor, places[tensor], store) for tensor in places}
        part.piece.module.to_empty(device="cpu")
        _begin(part.piece, set(part.piece.sources) - set(places))
        for tensor, value in values.items():
            full = f"{names[name]}.{tensor}"
            target = part.piece.module.state_dict()[tensor]
            target.copy_(torch.from_numpy(value))
            matched.append(full)
            source = part.piece.sources[tensor]
            if source.change:
                reshaped[full] = source.change
            if not is_finite(target):
                notes.append(f"{full} holds NaN or infinity")
        initial += [f"{names[name]}.{tensor}" for tensor in part.piece.sources if tensor not in places]
    optimizer = [place for place in store.unused() if place.startswith("optimizer/")]
    if optimizer:
        notes.append(f"{len(optimizer)} tensors of the optimizer's state are not read")
    unused = [place for place in store.unused() if place not in optimizer]
    return Matching(tuple(matched), tuple(initial), tuple(unused), reshaped, tuple(notes))


def _places(part: _Part, store: WeightStore) -> dict[str, tuple[str, ...]]:
    """Where the weights of a module are in the file, for those that are there."""
    if part.layer is None or not part.piece.sources:
        return {}
    known = named_places(part.layer, store)
    return {
        tensor: tuple(known[name] for name in source.names)
        for tensor, source in part.piece.sources.items()
        if all(name in known for name in source.names)
    }


def _value(part: _Part, tensor: str, places: tuple[str, ...], store: WeightStore) -> np.ndarray:
    """The values for a tensor; sizes are compared before anything is read."""
    source: Source = part.piece.sources[tensor]
    wanted = part.piece.module.state_dict()[tensor]
    counts = sum(math.prod(store.shape(place)) for place in places)
    doubled = 2 if tensor.startswith("bias_") else 1  # both biases of a GRU are in one array
    if counts not in (wanted.numel(), doubled * wanted.numel()):
        raise ModelError(
            f"{part.layer}: {', '.join(source.names)} has shape {', '.join(show_shape(store.shape(place)) for place in places)} in the"
            f" file, {wanted.numel():,} numbers are needed for {show_shape(tuple(wanted.shape))}."
        )
    try:
        value = np.ascontiguousarray(source.make(*[store.array(place) for place in places]))
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{part.layer}: {', '.join(source.names)} has not the shape of such a layer's ({error})."
        ) from error
    if value.shape != tuple(wanted.shape):
        raise ModelError(
            f"{part.layer}: {tensor} would be {show_shape(value.shape)}, {show_shape(tuple(wanted.shape))} is needed."
        )
    return value


def _begin(piece: Piece, missing: set[str]) -> None:
    """Values of a module that has its memory now: initial ones where the file has none."""
    module = piece.module
    reset = getattr(module, "reset_parameters", None)
    if missing and callable(reset):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            reset()
    for name, tensor in module.state_dict().items():
        if name not in piece.sources:  # of a batch norm without scale or centre, and its counter
            tensor.fill_(1.0 if name == "weight" else 0)


def _check_missing(
    missing: list[str],
    plans: dict[str, tuple[_Part, dict[str, tuple[str, ...]]]],
    store: WeightStore,
    *,
    match_all: bool,
) -> None:
    if missing and match_all:
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise ModelError(
            f"{store.where} has no weights for {len(missing)} tensors of the network: {shown}.\n"
            f"It has {len(store.names)}: {', '.join(store.names[:4])}, ...\n"
            "With match-all off (--no-match-all) such layers keep their initial values."
        )
    wanted = set(missing)
    count = sum(
        part.piece.module.state_dict()[tensor].numel()
        for part, places in plans.values()
        for tensor in part.piece.sources
        if wanted and tensor not in places
    )
    if count > MAX_INITIAL:
        raise ModelError(
            f"layers without weights in the file have {count:,} numbers; more than {MAX_INITIAL:,} are refused."
        )


def _channels_first(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1]) if len(shape) >= 3 else shape


__all__ = ["assemble"]
