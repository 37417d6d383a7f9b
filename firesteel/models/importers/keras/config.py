"""The layers of a configuration of Keras 2 or 3, of a Sequential, a Functional or a nested model, as one list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from firesteel.errors import FormatError, ModelError

MAX_LAYERS = 10_000
MAX_DEPTH = 16
_MODELS = ("Sequential", "Functional", "Model")


@dataclass(frozen=True)
class KerasLayer:
    """One call of a layer.

    Attributes:
        name: with the models that it is in: ``encoder/conv2d``.
        kind: its class.
        config: its options.
        inputs: values that it takes.
        output: value that it gives.
        path: of its weights in files of Keras 3: ``layers/conv2d_1``.
    """

    name: str
    kind: str
    config: dict[str, Any]
    inputs: tuple[str, ...]
    output: str
    path: str

    def get(self, name: str, default: Any = None) -> Any:
        """An option; None in the file is the default."""
        found = self.config.get(name)
        return default if found is None else found

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"


@dataclass(frozen=True)
class KerasModel:
    """A network.

    Attributes:
        layers: in an order in which they can run.
        input: value that comes in.
        shape: of one input row as Keras has it, channels last as a rule; None where the file leaves a size open.
        output: value that it gives.
    """

    layers: list[KerasLayer]
    input: str
    shape: tuple[int | None, ...] | None
    output: str


def read_config(config: dict[str, Any], where: str) -> KerasModel:
    """The network of a configuration.

    Raises:
        FormatError: if it is none.
        ModelError: if it has not one input and one output, or layers that hold code.
    """
    reader = _Reader(where)
    try:
        inputs, outputs = reader.model(config, "", "", None, 0)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{where}: the configuration is not one of Keras ({type(error).__name__}: {error})."
        ) from error
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{where}: a network with one input and one output is needed, this has {len(inputs)} and {len(outputs)}."
        )
    return KerasModel(reader.layers, inputs[0], reader.shapes.get(inputs[0]), outputs[0])


class _Reader:
    def __init__(self, where: str):
        self.where = where
        self.layers: list[KerasLayer] = []
        self.shapes: dict[str, tuple[int | None, ...] | None] = {}

    def model(
        self, config: dict[str, Any], prefix: str, path: str, given: list[str] | None, depth: int
    ) -> tuple[list[str], list[str]]:
        """Inputs and outputs of a model; ``given`` are the values that a model within another is called with."""
        kind, inner = str(config["class_name"]), config["config"]
        if kind not in _MODELS:
            raise ModelError(
                f"{self.where} is a model of class {kind!r}, whose code is not in the file. Sequential and functional models are read;"
                " save this one as a SavedModel or as ONNX."
            )
        if depth > MAX_DEPTH:
            raise FormatError(f"{self.where}: models within models, more than {MAX_DEPTH} deep.")
        layers = inner if isinstance(inner, list) else inner["layers"]  # Keras before 2.2 has a bare list
        if kind == "Sequential":
            return self._sequential(layers, inner, prefix, path, given, depth)
        return self._functional(layers, inner, prefix, path, given, depth)

    def _sequential(
        self, layers: list[Any], inner: Any, prefix: str, path: str, given: list[str] | None, depth: int
    ) -> tuple[list[str], list[str]]:
        value = given[0] if given else f"{prefix}input"
        first = value
        if not given:
            shape = inner.get("build_input_shape") if isinstance(inner, dict) else None
            shape = _shape_of(layers[0]["config"]) or (tuple(shape[1:]) if shape else None)
            self.shapes[first] = shape
        for layer, weights in zip(layers, _paths(layers, path)):
            if layer["class_name"] == "InputLayer":
                continue
            value = self._call(layer, prefix, weights, [value], depth)[0]
        return [first], [value]

    def _functional(
        self, layers: list[Any], inner: Any, prefix: str, path: str, given: list[str] | None, depth: int
    ) -> tuple[list[str], list[str]]:
        values: dict[tuple[str, int], list[str]] = {}
        ins = [str(each[0]) for each in _ends(inner["input_layers"])]
        waiting: list[tuple[Any, int, list[tuple[str, int, int]], str]] = []
        for layer, weights in zip(layers, _paths(layers, path)):
            name = str(layer.get("name") or layer["config"]["name"])
            if layer["class_name"] == "InputLayer":
                place = ins.index(name) if name in ins else None
                value = given[place] if given and place is not None else f"{prefix}{name}"
                values[name, 0] = [value]
                if not given:
                    self.shapes[value] = _shape_of(layer["config"])
                continue
            for number, node in enumerate(layer["inbound_nodes"]):
                waiting.append((layer, number, _sources(node, name), weights))
        self._run(waiting, values, prefix, depth)
        outs = [values[str(each[0]), int(each[1])][int(each[2])] for each in _ends(inner["output_layers"])]
        return [values[name, 0][0] for name in ins], outs

    def _run(
        self,
        waiting: list[tuple[Any, int, list[tuple[str, int, int]], str]],
        values: dict[tuple[str, int], list[str]],
        prefix: str,
        depth: int,
    ) -> None:
        """Call layers as soon as what they take is there; a file may list them in any order."""
        while waiting:
            later = []
            for layer, number, sources, weights in waiting:
                if not all((name, node) in values for name, node, _ in sources):
                    later.append((layer, number, sources, weights))
                    continue
                taken = [values[name, node][tensor] for name, node, tensor in sources]
                name = str(layer.get("name") or layer["config"]["name"])
                values[name, number] = self._call(layer, prefix, weights, taken, depth, number)
            if len(later) == len(waiting):
                raise FormatError(f"{self.where}: layers take values that no layer gives, or each other's.")
            waiting = later

    def _call(
        self, layer: dict[str, Any], prefix: str, path: str, inputs: list[str], depth: int, number: int = 0
    ) -> list[str]:
        kind, config = str(layer["class_name"]), layer["config"]
        name = str(layer.get("name") or config["name"])
        if kind in _MODELS:
            return self.model(layer, f"{prefix}{name}/", f"{path}/", inputs, depth + 1)[1]
        if len(self.layers) >= MAX_LAYERS:
            raise ModelError(f"{self.where} has more than {MAX_LAYERS:,} layers.")
        if not isinstance(config, dict):
            raise FormatError(f"{self.where}: {name} has no options.")
        output = f"{prefix}{name}:{number}"
        self.layers.append(KerasLayer(f"{prefix}{name}", kind.rpartition(">")[2], config, tuple(inputs), output, path))
        return [output]


def _ends(given: Any) -> list[Any]:
    """``[["a", 0, 0], ["b", 0, 0]]``, of which Keras 3 writes a single one without the outer list."""
    return [given] if given and isinstance(given[0], str) else list(given)


def _sources(node: Any, layer: str) -> list[tuple[str, int, int]]:
    """Layer, call and tensor of each value that a call takes."""
    if isinstance(node, dict):
        _refuse_options(layer, node.get("kwargs") or {})
        return [(str(name), int(call), int(tensor)) for name, call, tensor in _histories(node["args"])]
    first = [node] if isinstance(node[0], str) else node
    for each in first:
        _refuse_options(layer, each[3] if len(each) > 3 and each[3] else {})
    return [(str(each[0]), int(each[1]), int(each[2])) for each in first]


def _refuse_options(layer: str, given: dict[str, Any]) -> None:
    """A call may say that there is no mask and that it is not for training, as networks compute here; nothing else."""
    used = {name: value for name, value in given.items() if value is not None and value is not False}
    if used:
        raise ModelError(f"layer {layer!r} is called with options of its own ({str(used)[:120]}), which is not read.")


def _histories(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any, Any]]:
    if depth > 8:
        raise FormatError("a layer's inputs are nested too deeply")
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, call, tensor = value["config"]["keras_history"]
        yield name, call, tensor
    elif isinstance(value, list):
        for each in value:
            yield from _histories(each, depth + 1)
    elif value is not None:
        raise ModelError(f"a layer is called with {str(value)[:60]!r} beside values, which is not read.")


def _shape_of(config: dict[str, Any]) -> tuple[int | None, ...] | None:
    shape = config.get("batch_input_shape") or config.get("batch_shape")
    return None if shape is None else tuple(None if size is None else int(size) for size in shape[1:])


def _paths(layers: list[Any], prefix: str) -> list[str]:
    """Where Keras 3 keeps the weights of each layer: under its class, numbered."""
    seen: dict[str, int] = {}
    found = []
    for layer in layers:
        name = _snake_case(str(layer["class_name"]).rpartition(">")[2])
        count = seen[name] = seen.get(name, -1) + 1
        found.append(f"{prefix}layers/{name}" + (f"_{count}" if count else ""))
    return found


def _snake_case(name: str) -> str:
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


__all__ = ["KerasLayer", "KerasModel", "read_config"]
