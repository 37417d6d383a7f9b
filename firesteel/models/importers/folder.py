"""An imported network as a model folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError, ModelError, RunError
from firesteel.models.description import DESCRIPTION_NAME, WEIGHTS_NAME, ModelDescription, save_model
from firesteel.models.graph import Graph, as_graph
from firesteel.models.graph.network import INPUT
from firesteel.models.importers.base import Imported, Matching
from firesteel.models.importers.preprocessing import Preprocessing, feature_of
from firesteel.models.registry import ModelSource, count_parameters
from firesteel.models.shapes import show_shape
from firesteel.specs import Spec
from firesteel.storage import Place


@dataclass(frozen=True)
class ImportResult:
    """What ``firesteel import`` has made.

    Attributes:
        folder: of the model.
        source: the file it came from.
        format: of that.
        model: name of the network: ``graph`` for one that came from the file.
        input_shape: of one row, channels first.
        labels: of the classes.
        parameters: number of them.
        matching: what became of the tensors.
        notes: what a person should know, a line each.
    """

    folder: Place
    source: Place
    format: str
    model: str
    input_shape: tuple[int, ...]
    labels: list[str]
    parameters: int
    matching: Matching
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "folder": self.folder.uri, "source": self.source.uri, "format": self.format, "model": self.model,
            "input_shape": list(self.input_shape), "classes": len(self.labels), "parameters": self.parameters,
            **self.matching.to_json(), "notes": list(self.notes),
        }  # fmt: skip


def check_folder(folder: Place, *, overwrite: bool) -> None:
    """Raises:
    RunError: if something lies in the folder that may not be replaced."""
    if folder.is_empty_or_missing():
        return
    if not (folder / DESCRIPTION_NAME).exists():
        raise RunError(f"{folder} is not empty and holds no model. Nothing was changed. Choose an empty or new folder.")
    if not overwrite:
        raise RunError(f"{folder} holds a model. Choose another folder, or pass --overwrite to replace it.")


def write_folder(
    folder: Place,
    source: Place,
    format: str,
    imported: Imported,
    *,
    into: ModelSource | None,
    input_shape: tuple[int, ...] | None,
    labels: list[str] | None,
    preprocessing: Preprocessing,
) -> ImportResult:
    """Write the model folder of an imported network.

    Args:
        folder: empty, or of a model that is replaced.
        source: the file.
        format: of it.
        imported: the network.
        into: how the network is made, if the file did not say; else it is stored as a graph.
        input_shape: that the caller wants; rows of another shape with as many numbers are brought into that of the network.
        labels: of the classes; None takes those of the file, or numbers.
        preprocessing: of pictures.

    Raises:
        ConfigError: if labels or numbers do not fit the network.
        ModelError: if the network cannot be stored.
    """
    notes = [*imported.matching.notes, *imported.notes, *preprocessing.warnings()]
    shape, network = imported.input_shape, imported.network
    if into is None:
        graph, more = _stored(network, shape)
        notes += [note for note in more if note not in notes]
        num_classes = _num_classes(graph, shape)
        graph, shape = _with_input(graph, shape, input_shape, notes, num_classes)
        network, spec = graph, Spec(name="graph", options=graph.options)
    else:
        spec, num_classes = into.spec, _num_classes(network, shape)
    names = _labels(labels, imported.labels, num_classes)
    statistics = preprocessing.statistics(shape)
    description = ModelDescription(
        model=spec,
        importable=into is None or into.has_name,
        feature=feature_of(shape),
        normalization=statistics,
        channel_order=preprocessing.channel_order,
        labels=names,
        parameters=count_parameters(network),
        trained_on={"imported_from": source.uri, "format": format, "notes": notes},
    )
    for name in (DESCRIPTION_NAME, WEIGHTS_NAME):  # a model that is replaced is none until the new one is whole
        if (folder / name).exists():
            (folder / name).delete()
    save_model(folder, network, description)
    matching = replace(imported.matching, notes=())
    return ImportResult(folder, source, format, spec.name, shape, names, description.parameters, matching, tuple(notes))


def _stored(network: nn.Module, shape: tuple[int, ...]) -> tuple[Graph, tuple[str, ...]]:
    return (network, ()) if isinstance(network, Graph) else as_graph(network, torch.zeros(2, *shape))


@torch.no_grad()
def _num_classes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """K, of what the network itself gives: its head may be another than the file's."""
    try:
        given = network(torch.zeros(1, *shape))
    except Exception as error:  # whatever the code of a network of the caller's own raises
        first = next(iter(str(error).splitlines()), "")
        raise ModelError(
            f"the network cannot take a row of {show_shape(shape)}: {type(error).__name__}: {first[:200]}"
        ) from error
    if not isinstance(given, Tensor) or given.dim() != 2 or len(given) != 1:
        shown = show_shape(tuple(given.shape)) if isinstance(given, Tensor) else type(given).__name__
        raise ModelError(f"the network gives {shown} for one row; 1xK is needed, a number for each class.")
    return given.shape[1]


def _with_input(
    graph: Graph, own: tuple[int, ...], wanted: tuple[int, ...] | None, notes: list[str], num_classes: int
) -> tuple[Graph, tuple[int, ...]]:
    """The graph for rows of the wanted shape: a reshape at its front, if it is another one with as many numbers."""
    if wanted is None or wanted == own:
        return graph, own
    if math.prod(wanted) != math.prod(own):
        raise ConfigError(
            f"the network takes rows of shape {show_shape(own)}; --input-shape {show_shape(wanted)} does not fit."
        )
    options = graph.options
    front = {"name": "front", "op": "aten.reshape.default", "inputs": [{"value": INPUT}, [-1, *own]]}
    steps = [{**step, **_renamed(step)} for step in options["steps"]]
    with torch.device("meta"):
        made = Graph(wanted, num_classes, **(options | {"steps": [front, *steps]}))
    made.load_state_dict(graph.state_dict(), assign=True)
    order = "; their numbers are taken channel by channel" if len(wanted) == 3 and wanted[0] > 1 else ""
    notes.append(f"rows of shape {show_shape(wanted)} are brought into the network's {show_shape(own)}{order}")
    return made.eval(), wanted


def _renamed(step: dict[str, Any]) -> dict[str, Any]:
    """What a step takes, with the front in place of the input."""

    def renamed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [renamed(each) for each in value]
        return {"value": "front"} if value == {"value": INPUT} else value

    found = {"inputs": renamed(step.get("inputs", []))}
    if "options" in step:
        found["options"] = {name: renamed(value) for name, value in step["options"].items()}
    return found


def _labels(labels: list[str] | None, of_file: tuple[str, ...] | None, count: int) -> list[str]:
    if labels is None and of_file is not None and len(of_file) == count:
        return list(of_file)
    if labels is None:
        return [str(number) for number in range(count)]
    if len(labels) != count:
        raise ConfigError(f"there are {len(labels)} labels and the network has {count} classes.")
    return labels


__all__ = ["ImportResult", "check_folder", "write_folder"]
