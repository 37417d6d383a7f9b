"""A network from a stored list of layers and steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.graph.layers import RECURRENT, make_layer
from firesteel.models.graph.operators import check_parts
from firesteel.models.graph.steps import INPUT, Part, StepSpec, ordered_steps
from firesteel.models.graph.values import DTYPES
from firesteel.models.shapes import MOST_ELEMENTS

_TRIAL_ROWS = 2


class LayerSpec(Part):
    """A layer: its name in the state dict, its class in ``torch.nn`` and the arguments of its constructor."""

    name: str
    type: str
    options: dict[str, Any] = Field(default_factory=dict)


class TensorSpec(Part):
    """A parameter, or a constant, that belongs to no layer."""

    name: str
    shape: list[int]
    dtype: str = "float32"
    trainable: bool = False


class Graph(nn.Module):
    """A network that is data: layers and operators, and the order in which they are called.

    It is an ordinary module: parameters have the names that they had where they came from, layers are found by
    ``get_submodule`` and can be frozen, hooked and replaced, dropout and batch norm live in training mode.

    Everything is checked before memory is taken: each layer and operator against a fixed list, and by a run without data
    the size of every result.

    Args:
        input_shape: of one row.
        num_classes: K.
        layers: see :class:`LayerSpec`; also as dictionaries.
        tensors: see :class:`TensorSpec`.
        steps: see :class:`StepSpec`, in the order of their execution.
        output: the step whose result are the logits.
        rows: the network can only take this many rows at a time: batches are cut, and the last part is filled up with its
            first row. None takes any.

    Raises:
        ModelError: if the description is not sound; it names the layer or the step.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        layers: Iterable[Any] = (),
        tensors: Iterable[Any] = (),
        steps: Iterable[Any] = (),
        output: str = "",
        rows: int | None = None,
    ):
        super().__init__()
        self._layers = _parsed(LayerSpec, layers)
        self._tensors = _parsed(TensorSpec, tensors)
        self._specs = _parsed(StepSpec, steps)
        self._output, self._rows = output, rows
        if rows is not None and not 1 <= rows <= 1 << 16:
            raise ModelError(f"rows of a graph must be between 1 and 65,536, got {rows}.")
        self._steps = ordered_steps(self._specs, output)
        with torch.device("meta"):
            self._build()
            self._try(tuple(input_shape), num_classes)
        if torch.get_default_device().type != "meta":
            self._modules.clear()
            self._parameters.clear()
            self._buffers.clear()
            self._build()
        self._channels_last = any(layer.type in ("Conv2d", "ConvTranspose2d") for layer in self._layers)
        self._lay_out()

    @property
    def options(self) -> dict[str, Any]:
        """What builds this graph again, in JSON values."""
        described: dict[str, Any] = {
            "layers": [layer.model_dump(exclude_defaults=True) for layer in self._layers],
            "tensors": [tensor.model_dump(exclude_defaults=True) for tensor in self._tensors],
            "steps": [step.model_dump(exclude_defaults=True) for step in self._specs],
            "output": self._output,
        }
        return described if self._rows is None else described | {"rows": self._rows}

    @property
    def rows(self) -> int | None:
        """How many rows it takes at a time; None is any number."""
        return self._rows

    def forward(self, features: Tensor) -> Tensor:
        """(B, *input_shape) -> logits (B, K)."""
        if self._rows is None:
            return self._run(features)
        parts = []
        for part in features.split(self._rows):
            missing = self._rows - len(part)
            whole = torch.cat([part, part[:1].expand(missing, *part.shape[1:])]) if missing else part
            parts.append(self._run(whole)[: len(part)])
        return torch.cat(parts) if parts else features.new_zeros(0)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module; the weights are then laid out as the graph likes them."""
        result = super().load_state_dict(*args, **kwargs)
        self._lay_out()
        return result

    def _lay_out(self) -> None:
        """Convolutions take 0.6 of the time where channels lie last in memory, on CPUs and tensor cores."""
        if self._channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _run(self, features: Tensor) -> Tensor:
        if self._channels_last and features.dim() == 4:
            features = features.contiguous(memory_format=torch.channels_last)
        values: dict[str, Any] = {INPUT: features}
        for step in self._steps:
            values[step.name] = step.run(self, values, features.device)
            for name in step.last:
                del values[name]
        return values[self._output]

    def value_of(self, step: str, features: Tensor) -> Any:
        """What one of the steps gives for a batch, (B, *input_shape); ``input`` is the batch itself.

        Raises:
            ModelError: if there is no such step.
        """
        values: dict[str, Any] = {INPUT: features}
        for each in self._steps:
            if step in values:
                break
            values[each.name] = each.run(self, values, features.device)
        if step not in values:
            raise ModelError(f"the graph has no step {step!r}.")
        return values[step]

    def tensor_of(self, name: str) -> Tensor:
        """A parameter or constant by its name in the state dict."""
        place, _, last = name.rpartition(".")
        found = getattr(self.get_submodule(place), last)
        assert isinstance(found, Tensor)
        return found

    def _build(self) -> None:
        """Make the layers and the tensors where torch's default device is."""
        types = {}
        for layer in self._layers:
            self._put(layer.name, make_layer(layer.type, layer.options))
            types[layer.name] = layer.type
        for tensor in self._tensors:
            self._put(tensor.name, _empty(tensor))
        for step in self._steps:
            if step.layer is not None and step.layer not in types:
                raise ModelError(f"step {step.name!r} calls a layer {step.layer!r} that the graph does not have.")
            step.recurrent = step.layer is not None and types[step.layer] in RECURRENT
            for name in step.tensors:
                self._check_tensor(step.name, name)

    def _check_tensor(self, step: str, name: str) -> None:
        try:
            self.tensor_of(name)
        except (AttributeError, AssertionError) as error:
            raise ModelError(f"step {step!r} takes a tensor {name!r} that the graph does not have.") from error

    def _put(self, name: str, what: nn.Module | nn.Parameter | Tensor) -> None:
        """Give something its place in the tree of modules; those above it are made."""
        *above, last = name.split(".")
        module: nn.Module = self
        for part in above:
            if part not in module._modules:
                _add(module, part, nn.Module(), name)
            module = module._modules[part]  # type: ignore[assignment]
        _add(module, last, what, name)

    def _try(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        """Go through all steps without data, which tells the shape of every result."""
        rows = self._rows or _TRIAL_ROWS
        features = torch.zeros(rows, *input_shape)
        values: dict[str, Any] = {INPUT: features}
        training = self.training
        self.eval()
        for step in self._steps:
            if step.op is not None:
                check_parts(step.op, step.given(self, values), f"step {step.name!r} of the graph")
            try:
                with torch.no_grad():
                    values[step.name] = step.run(self, values, features.device)
            except ModelError:
                raise
            except Exception as error:  # whatever an operator thinks of its inputs
                first = str(error).strip().splitlines()[:1]
                raise ModelError(
                    f"step {step.name!r} ({step.what}) of the graph fails: {' '.join(first)[:200]}"
                ) from error
            for elements in _sizes(values[step.name]):
                if elements > MOST_ELEMENTS * rows:
                    raise ModelError(
                        f"step {step.name!r} ({step.what}) of the graph makes {elements // rows:,} numbers of one row;"
                        f" {MOST_ELEMENTS:,} are allowed."
                    )
        self.train(training)
        result = values[self._output]
        if not isinstance(result, Tensor) or tuple(result.shape) != (rows, num_classes):
            given = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ModelError(f"the graph gives {given} for {rows} rows; {(rows, num_classes)} is needed.")


def _empty(spec: TensorSpec) -> nn.Parameter | Tensor:
    if spec.dtype not in DTYPES or any(not 0 <= size <= 1 << 40 for size in spec.shape):
        raise ModelError(f"tensor {spec.name!r} of the graph cannot have shape {spec.shape} and dtype {spec.dtype!r}.")
    try:
        zeros = torch.zeros(spec.shape, dtype=DTYPES[spec.dtype])
    except RuntimeError as error:
        raise ModelError(f"tensor {spec.name!r} of the graph cannot be made: {str(error).splitlines()[0]}") from error
    return nn.Parameter(zeros) if spec.trainable else zeros


def _add(module: nn.Module, name: str, what: nn.Module | nn.Parameter | Tensor, whole: str) -> None:
    try:
        if isinstance(what, nn.Module):
            module.add_module(name, what)
        elif isinstance(what, nn.Parameter):
            module.register_parameter(name, what)
        else:
            module.register_buffer(name, what)
    except (KeyError, RuntimeError) as error:
        reason = error.args[0] if error.args else error
        raise ModelError(f"{whole!r} cannot be the name of a layer or tensor of a graph: {reason}.") from error


def _sizes(value: Any) -> Iterator[int]:
    if isinstance(value, Tensor):
        yield math.prod(value.shape)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _sizes(each)


def _parsed(kind: type[Any], given: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(each if isinstance(each, kind) else kind.model_validate(each) for each in given)
    except (ValidationError, TypeError) as error:
        raise ModelError(f"the graph is not sound: {' '.join(str(error).splitlines()[:3])[:200]}") from error


__all__ = ["INPUT", "Graph", "LayerSpec", "StepSpec", "TensorSpec"]
