"""Layers and inputs of a network, from a text or a binary NetParameter of either version, as the phase TEST has them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.binary import Blob
from firesteel.models.importers.caffe.schema import V1_TYPES, Message

DATA_LAYERS = ("Data", "ImageData", "HDF5Data", "MemoryData", "DummyData", "WindowData", "AnnotatedData", "Input")
"""They feed a network; what they give becomes its input."""

MAX_LAYERS = 20_000


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: in the file.
        type: as today's Caffe names it: ``Convolution``.
        bottoms: values that it takes.
        tops: values that it gives; one that is also a bottom is changed in place.
        message: all that the file says of it.
        blobs: its weights, as the file has them.
        shared: names by which its weights are shared with other layers; empty where they are not.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message
    blobs: tuple[Blob, ...]
    shared: tuple[str, ...]

    def options(self, name: str) -> Message:
        """The message of a kind of layer: ``convolution_param``."""
        return self.message.message(name)

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.type})"


@dataclass(frozen=True)
class Net:
    """A network as its file has it.

    Attributes:
        name: of the network.
        inputs: value -> its shape with the batch first; None if the file does not say.
        layers: in the order in which they run, without those that feed it.
        batch: rows of a batch in the file; None if it does not say.
        notes: for people.
    """

    name: str
    inputs: dict[str, tuple[int, ...] | None]
    layers: list[Layer]
    batch: int | None
    notes: list[str] = field(default_factory=list)


def read_structure(message: Message, where: str) -> Net:
    """The network of a NetParameter.

    Args:
        message: of a text or of a .caffemodel. Caffe saves the network as it was trained, so rules of phases in the latter have
            been followed already.
        where: name of the file, for messages.

    Raises:
        ModelError: if there is no layer, or one is without a name or of no type.
    """
    layers = read_layers(message, where)
    notes: list[str] = []
    state = _state_of(message)
    inputs = _declared_inputs(message, where)
    kept = []
    for layer in layers:
        if layer.type in DATA_LAYERS:
            for number, top in enumerate(layer.tops):
                shape = _shape_given_by(layer, number)
                inputs[top] = shape or inputs.get(top)
            notes += _preprocessing(layer)
        elif _is_in(layer.message, state):
            kept.append(layer)
    ignored = sorted(message.ignored.union(*(layer.message.ignored for layer in layers)))
    if ignored:
        notes.append(f"fields that Caffe itself does not have were ignored: {', '.join(ignored[:8])}")
    if not inputs:
        # A .caffemodel may be saved without what fed it: then the first value that no layer gives is the input.
        tops: set[str] = set()
        for layer in kept:
            inputs.update({name: None for name in layer.bottoms[:1] if name not in tops and not inputs})
            tops.update(layer.tops)
    batches = [shape[0] for shape in inputs.values() if shape]
    return Net(str(message.get("name", "")), inputs, kept, batches[0] if batches else None, list(dict.fromkeys(notes)))


def read_layers(message: Message, where: str) -> list[Layer]:
    """All layers of a NetParameter, also those that only feed it or belong to another phase."""
    found = [_layer(each, number, where) for number, each in enumerate(message.all("layers") + message.all("layer"))]
    if not found:
        raise ModelError(f"{where} describes no network: it has no layer.")
    if len(found) > MAX_LAYERS:
        raise ModelError(f"{where} has {len(found):,} layers; more than {MAX_LAYERS:,} are not read.")
    return found


def _layer(message: Message, number: int, where: str) -> Layer:
    old = message.kind == "V1LayerParameter"
    kind = message.get("type", "")
    if old:
        kind = V1_TYPES.get(kind, kind)
    tops = tuple(message.all("top"))
    name = message.get("name") or (tops[0] if tops else "")
    if not name:
        raise ModelError(f"{where}: layer {number + 1} has no name.")
    shared = message.all("param") if old else [spec.get("name", "") for spec in message.all("param")]
    return Layer(name, kind, tuple(message.all("bottom")), tops, message, tuple(message.all("blobs")), tuple(shared))


def _declared_inputs(message: Message, where: str) -> dict[str, tuple[int, ...] | None]:
    """``input`` with ``input_shape`` or with four ``input_dim`` each."""
    names, shapes, sizes = message.all("input"), message.all("input_shape"), message.all("input_dim")
    if shapes and len(shapes) not in (1, len(names)):
        raise ModelError(f"{where} has {len(names)} inputs and {len(shapes)} input_shape; one for each is needed.")
    if sizes and len(sizes) != 4 * len(names):
        raise ModelError(f"{where} has {len(names)} inputs and {len(sizes)} input_dim; four for each are needed.")
    inputs: dict[str, tuple[int, ...] | None] = {}
    for number, name in enumerate(names):
        if shapes:
            inputs[name] = tuple(shapes[number if len(shapes) > 1 else 0].all("dim"))
        else:
            inputs[name] = tuple(sizes[4 * number : 4 * number + 4]) or None
    return inputs


def _shape_given_by(layer: Layer, number: int) -> tuple[int, ...] | None:
    if layer.type == "Input":
        shapes = layer.options("input_param").all("shape")
    elif layer.type == "DummyData":
        shapes = layer.options("dummy_data_param").all("shape")
    elif layer.type == "MemoryData" and number == 0:
        given = layer.options("memory_data_param")
        sizes = tuple(given.get(name, 0) for name in ("batch_size", "channels", "height", "width"))
        return sizes if all(sizes) else None
    else:
        return None
    return (
        tuple(shapes[number if len(shapes) > 1 else 0].all("dim")) if number < len(shapes) or len(shapes) == 1 else None
    )


def _preprocessing(layer: Layer) -> list[str]:
    """What a layer that reads data did to it: the importer's caller must say the same."""
    if "transform_param" not in layer.message.values:
        return []
    given = layer.options("transform_param")
    found = []
    if (scale := given.get("scale", 1.0)) != 1:
        found.append(f"scale {scale:.9g}")
    if means := given.all("mean_value"):
        found.append(f"mean {', '.join(f'{mean:g}' for mean in means)}")
    if given.get("mean_file"):
        found.append(f"the mean picture {given.get('mean_file')}")
    if given.get("crop_size"):
        found.append(f"a crop of {given.get('crop_size')}x{given.get('crop_size')}")
    return [f"it was trained with {' and '.join(found)} ({layer})"] if found else []


@dataclass(frozen=True)
class _State:
    phase: str
    level: int
    stages: frozenset[str]


def _state_of(message: Message) -> _State:
    given = message.message("state")
    # NVIDIA DIGITS writes one file for all; what is to be used stands in its stage "deploy".
    stages = given.all("stage") or ["deploy"]
    return _State(given.get("phase", "TEST"), given.get("level", 0), frozenset(stages))


def _is_in(message: Message, state: _State) -> bool:
    if message.get("blobs") is not None or (message.kind == "LayerParameter" and message.get("phase") is not None):
        return True  # of a .caffemodel: the rules have been followed
    if include := message.all("include"):
        return any(_meets(rule, state) for rule in include)
    return not any(_meets(rule, state) for rule in message.all("exclude"))


def _meets(rule: Message, state: _State) -> bool:
    stages: list[Any] = rule.all("stage")
    return (
        rule.get("phase", state.phase) == state.phase
        and rule.get("min_level", state.level) <= state.level <= rule.get("max_level", state.level)
        and all(stage in state.stages for stage in stages)
        and not any(stage in state.stages for stage in rule.all("not_stage"))
    )


def duplicate_names(layers: list[Layer]) -> list[str]:
    """Names that more than one layer has."""
    return [name for name, count in Counter(layer.name for layer in layers).items() if count > 1]


__all__ = ["DATA_LAYERS", "Layer", "Net", "duplicate_names", "read_layers", "read_structure"]
