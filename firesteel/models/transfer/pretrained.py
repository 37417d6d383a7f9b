"""What a training takes over from a trained network: its layers, its weights, and how its input was normalised."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ConfigError, ModelError
from firesteel.models.description import (
    WEIGHTS_NAME,
    ModelDescription,
    find_model_folder,
    load_state,
    read_description,
    shared_names,
    source_for,
)
from firesteel.models.registry import ModelSource
from firesteel.specs import Spec, did_you_mean
from firesteel.storage import Place

if TYPE_CHECKING:
    from torch import Tensor, nn

_OUTPUTS = {"Linear": "out_features", "Conv1d": "out_channels", "Conv2d": "out_channels", "Conv3d": "out_channels"}
"""Layers that can be a head -> what says how many classes they give."""

_SHOWN_LAYERS = 6


class Completion(BaseModel):
    """The network that a job's is a part of, trained on features of a dataset.

    Attributes:
        model: the whole network.
        feature: of a row that it takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Spec
    feature: Feature


class Pretrained(BaseModel):
    """What a job begins with.

    Attributes:
        place: URI of the model folder with the weights.
        head: layers that are new; none if the classes are the same and the head is kept.
        known: (new number, old number) of the classes that the network knew: a new head begins with their weights.
        normalization: of the input, as that network was trained.
        channel_order: of its input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    head: tuple[str, ...] = ()
    known: tuple[tuple[int, int], ...] = ()
    normalization: Statistics
    channel_order: Literal["rgb", "bgr"] = "rgb"


@dataclass(frozen=True)
class Beginning:
    """A network that was trained before, for a new task.

    Attributes:
        source: how it is made, with the head for the new classes.
        pretrained: what it begins with.
        notes: for people.
    """

    source: ModelSource
    pretrained: Pretrained
    notes: tuple[str, ...]


def begin_with(
    where: str | Place, labels: Sequence[str], feature: Feature, *, model: Any = None, replace_head: str | None = None
) -> Beginning:
    """Find out how a trained network begins a new task.

    The head is the last dense or convolutional layer that gives one number a class. It is kept if the classes are the
    same, else it is replaced by one for the new classes, in which those of a name that the network knew keep their weights.

    Args:
        where: a run, or a model folder.
        labels: of the new task.
        feature: of its rows.
        model: the factory, or its name, where the model's own description may not be followed.
        replace_head: names of the layers that begin anew, with commas between them, wholly; None finds the head.

    Raises:
        RunError: if there is no model.
        ConfigError: if it takes another kind of input, or has no such layer.
        ModelError: if it cannot be built, or no layer is found to be its head.
    """
    folder = find_model_folder(Place.of(where))
    description = read_description(folder)
    check_input(description, feature, folder)
    source = source_for(description, model)
    network = _on_meta(source, description.feature, len(description.labels))
    same = list(labels) == list(description.labels)
    head = () if same and replace_head is None else _head(network, len(description.labels), replace_head)
    if not same and source.spec.name == "graph" and source.factory is None:
        source = ModelSource(with_classes(source.spec, head, len(description.labels), len(labels)))
    known = _known(description.labels, labels) if head and replace_head is None else ()
    if known and not _takes_the_same(network, _on_meta(source, feature, len(labels)), head):
        known = ()
    pretrained = Pretrained(
        place=folder.uri, head=head, known=known, normalization=description.normalization,
        channel_order=description.channel_order,
    )  # fmt: skip
    return Beginning(source, pretrained, (_note(folder, description, pretrained, labels),))


def _known(before: Sequence[str], now: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(new number, old number) of each class that was there before."""
    number = {label: old for old, label in enumerate(before)}
    return tuple((new, number[label]) for new, label in enumerate(now) if label in number)


def _takes_the_same(before: nn.Module, now: nn.Module, head: Iterable[str]) -> bool:
    """Whether the weights of a class in the head fit: not if pictures of another size give it other features."""
    old, new = before.state_dict(), now.state_dict()
    return all(
        name in old and tensor.dim() and old[name].shape[1:] == tensor.shape[1:]
        for name, tensor in new.items()
        if is_part_of(name, head)
    )


def check_input(description: ModelDescription, feature: Feature, where: Place) -> None:
    """Raises:
    ConfigError: if the model takes another kind of rows. (Another size of pictures may do.)"""
    takes, given = description.feature, feature
    both = f"{where} takes {_shown(takes)}, the dataset holds {_shown(given)}."
    if takes.table is not None or given.table is not None:
        if takes != given:
            raise ConfigError(f"{both} A table must be encoded as the model's was.")
    elif takes.dtype != given.dtype or len(takes.shape) != len(given.shape):
        raise ConfigError(both)
    elif takes.shape[0] != given.shape[0]:
        raise ConfigError(f"{both}\nPrepare it with --channels {takes.shape[0]}.")


def _head(network: nn.Module, classes: int, wanted: str | None) -> tuple[str, ...]:
    layers = {name: module for name, module in network.named_modules() if any(True for _ in module.parameters(False))}
    if wanted is None:
        found = [name for name, module in layers.items() if _outputs(module) == classes]
        if not found:
            raise ModelError(
                f"no layer of the network gives one number for each of its {classes} classes: its head is not found.\n"
                f"Name it with --replace-head; the last layers are {_last(layers)}."
            )
        return (found[-1],)
    names = tuple(name.strip() for name in wanted.split(","))
    for name in names:
        if name not in layers:
            raise ConfigError(
                f"replace_head: the network has no layer {name!r} with weights.{did_you_mean(name, layers)}"
                f" Its last layers are {_last(layers)}."
            )
    return names


def _outputs(module: nn.Module) -> int | None:
    kind = _OUTPUTS.get(type(module).__name__)
    return None if kind is None else getattr(module, kind)


def with_classes(spec: Spec, head: Iterable[str], classes: int, wanted: int) -> Spec:
    """A stored graph whose head gives so many classes.

    Raises:
        ModelError: if none of these layers gives as many as the graph has.
    """
    options = copy.deepcopy(spec.options)
    changed = False
    for layer in options["layers"]:
        kind = _OUTPUTS.get(layer["type"])
        if layer["name"] in set(head) and kind is not None and layer["options"].get(kind) == classes:
            layer["options"][kind] = wanted
            changed = True
    if not changed:
        raise ModelError(
            f"none of the layers {', '.join(head)} gives the network's {classes} classes, which become {wanted}.\n"
            "Name the one that does with --replace-head."
        )
    return Spec(name=spec.name, options=options)


def load_pretrained(model: nn.Module, pretrained: Pretrained, *, part: bool = False) -> None:
    """Give a network the weights that it begins with; the layers of a new head keep their own.

    Args:
        model: changed in place.
        pretrained: what it begins with.
        part: whether it is only the part of that network which learns.

    Raises:
        ModelError: naming what is missing, not known or of another shape.
    """
    import torch

    folder = Place.of(pretrained.place)
    path, saved = folder / WEIGHTS_NAME, load_state(folder)
    new = [name for name in saved if is_part_of(name, pretrained.head)]
    own = model.state_dict(keep_vars=True)
    wanted = {name: tensor for name, tensor in own.items() if not is_part_of(name, pretrained.head)}
    missing = sorted(wanted.keys() - saved.keys() - shared_names(model))
    unknown = [] if part else sorted(saved.keys() - own.keys() - set(new))
    if missing or unknown:
        raise ModelError(
            f"{path} does not fit the network: {len(missing)} tensors missing {missing[:3]}, {len(unknown)} not known"
            f" {unknown[:3]}."
        )
    for name, tensor in wanted.items():
        if name in saved and saved[name].shape != tensor.shape:
            raise ModelError(
                f"{name} has shape {tuple(saved[name].shape)} in {path}, and {tuple(tensor.shape)} in the network for this"
                " dataset.\nPrepare the dataset with the size of pictures that the model takes, or let the layer begin anew:"
                f" --replace-head {name.rpartition('.')[0]},..."
            )
    with torch.no_grad():
        for name, tensor in wanted.items():
            if name in saved:
                tensor.copy_(saved[name])
        for name in own.keys() & set(new) if pretrained.known else ():
            now, before = zip(*pretrained.known)
            own[name][list(now)] = saved[name][list(before)]


def whole_state(state: Mapping[str, Tensor], pretrained: Pretrained) -> dict[str, Tensor]:
    """The state of a pretrained network of which a part has learnt: that part, and the rest as it was."""
    saved = load_state(Place.of(pretrained.place))
    return {name: tensor for name, tensor in saved.items() if not is_part_of(name, pretrained.head)} | dict(state)


def is_part_of(name: str, layers: Iterable[str]) -> bool:
    """Whether a tensor or layer is one of these layers, or belongs to one."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)


def _on_meta(source: ModelSource, feature: Feature, classes: int) -> nn.Module:
    import torch

    from firesteel.models.registry import build_model

    with torch.device("meta"):
        return build_model(source, input_shape=feature.shape, num_classes=classes)


def _note(folder: Place, description: ModelDescription, pretrained: Pretrained, labels: Sequence[str]) -> str:
    begins = f"begins with the weights of {folder}"
    if not pretrained.head:
        return f"{begins}, whose {len(labels)} classes are the same"
    kept = f", of which it keeps {len(pretrained.known)}" * bool(pretrained.known)
    return f"{begins}; new for {len(labels)} classes (it had {len(description.labels)}{kept}): {', '.join(pretrained.head)}"


def _last(layers: Mapping[str, Any]) -> str:
    return ", ".join(list(layers)[-_SHOWN_LAYERS:]) or "none"


def _shown(feature: Feature) -> str:
    if feature.table is not None:
        return f"rows of a table with {feature.shape[0]} values"
    return f"{'x'.join(map(str, feature.shape))} {feature.dtype}"


__all__ = [
    "Beginning", "Completion", "Pretrained", "begin_with", "check_input", "is_part_of", "load_pretrained", "whole_state",
    "with_classes",
]  # fmt: skip
