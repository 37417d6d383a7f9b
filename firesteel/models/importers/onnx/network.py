"""From the nodes of an ONNX graph to a module."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from firesteel.errors import FiresteelError, ModelError
from firesteel.models.importers.network import put_module
from firesteel.models.importers.onnx import arithmetic, layers, recurrent, shapes
from firesteel.models.importers.onnx.biases import with_biases
from firesteel.models.importers.onnx.constants import ConstantBudget
from firesteel.models.importers.onnx.node import Call, Node, Value, as_tensor, is_host, results
from firesteel.models.shapes import show_shape
from firesteel.specs import did_you_mean

OPERATORS = layers.OPERATORS | recurrent.OPERATORS | arithmetic.OPERATORS | shapes.OPERATORS
"""Of the default domain of ONNX."""
_MOST_ELEMENTS = 1 << 30
_OPERATION_NAMES = re.compile(
    r"^(BiasAdd|Conv\w*|MatMul|Gemm|Add|Relu\w*|Mul|BatchNorm\w*|FusedBatchNorm\w*|ReadVariableOp|Tensordot|LSTM|GRU|RNN)$"
)


@dataclass(frozen=True)
class _Step:
    function: Callable[..., Any]
    inputs: tuple[str | np.ndarray | None, ...]
    outputs: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """The nodes of an ONNX graph in their order; layers with weights are children under their names.

    Args:
        example: (B, ...), as the file's network takes it; its values are not looked at.
        input_name: of the file's input.
        channels_last: pictures come in with channels first, and the file's network takes them last.

    Attributes:
        origins: tensor of this network -> the file's name of it.
        changes: tensor of this network -> what was done to the file's.
    """

    def __init__(self, example: Tensor, input_name: str, *, channels_last: bool):
        super().__init__()
        self.origins: dict[str, str] = {}
        self.changes: dict[str, str] = {}
        self._channels_last, self._input_name = channels_last, input_name
        self._steps: list[_Step] = []
        self._output = ""
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._constants: dict[str, np.ndarray] = {}
        with self._mode:
            self._examples: dict[str, Value] = {
                input_name: self._front(torch.zeros(example.shape, dtype=example.dtype))
            }

    def forward(self, features: Tensor) -> Tensor:
        """What the file's network gives for a batch with channels first."""
        values: dict[str, Value] = {self._input_name: self._front(features)}
        for step in self._steps:
            given = [self._value(each, values) for each in step.inputs]
            values.update(zip(step.outputs, results(step.function(*given))))
        result = values[self._output]
        if not isinstance(result, Tensor):
            raise ModelError("the ONNX network gives sizes, not values.")
        return result

    def _front(self, features: Tensor) -> Tensor:
        return features.movedim(1, -1) if self._channels_last else features

    def _value(self, given: str | np.ndarray | None, values: dict[str, Value]) -> Value:
        if not isinstance(given, str):
            return given
        return values[given] if given in values else self.get_parameter_or_buffer(given)

    def get_parameter_or_buffer(self, name: str) -> Tensor:
        """A tensor of the file that belongs to no layer."""
        found = getattr(self, name)
        assert isinstance(found, Tensor)
        return found

    # -- while it is built ---------------------------------------------------------------------------------------------

    def build(
        self, nodes: Sequence[Node], constants: dict[str, np.ndarray], weights: Iterable[str], output: str
    ) -> None:
        """Make the steps.

        Args:
            nodes: in an order in which each finds its inputs; without constants and examples.
            constants: initializers and constant nodes, by name.
            weights: those of the constants that may be trained.
            output: name of the result.

        Raises:
            ModelError: naming the node that cannot be done.
        """
        self._constants, self._trainable, self._output = dict(constants), set(weights), output
        self._budget = ConstantBudget((value.size for value in constants.values()), self._mode)
        for node in with_biases(_needed(nodes, output), self._constants, output):
            self._add(node)
        if output not in self._examples:
            raise ModelError(f"the ONNX network's output {output!r} does not depend on its input.")
        self._examples = {}

    def _add(self, node: Node) -> None:
        for name in node.inputs:
            if name and name not in self._constants and name not in self._examples:
                raise node.refusal(f"takes {name!r}, which no node before it gives")
        node.constants = [self._constants.get(name) for name in node.inputs]
        node.examples = [self._constants[n] if n in self._constants else self._examples.get(n) for n in node.inputs]
        if node.op not in OPERATORS:
            raise ModelError(
                f"ONNX node {node.name!r} has the operator {node.op!r}, which is not supported."
                f"{did_you_mean(node.op, OPERATORS)}"
            )
        try:
            with torch.no_grad(), _quiet():
                call = OPERATORS[node.op](node)
                if all(name in self._constants for name in node.inputs if name) and node.op != "Dropout":
                    self._fold(node, call)
                else:
                    self._step(node, call)
        except FiresteelError:
            raise
        except Exception as error:  # whatever torch and numpy think of these inputs
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise node.refusal(f"cannot be done: {first[:200]}") from error

    def _fold(self, node: Node, call: Call) -> None:
        """Compute what depends on constants only."""
        if call.layer is not None:
            raise node.refusal("is a layer of constants, which is not supported")
        given = [node.constants[number] if node.has(number) else None for number in self._taken(node, call)]
        self._budget.check(node, call, given)
        made = results(call.function(*given))
        self._budget.take(node, made)
        for name, value in zip(node.outputs, made):
            self._constants[name] = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
            if all(each in self._trainable for each in node.inputs[:1]):
                self._trainable.add(name)

    def _step(self, node: Node, call: Call) -> None:
        if call.layer is not None:
            self._put_layer(node, call)
        elif isinstance(call.function, nn.Module):
            put_module(self, self._free_name(_name_of(node)), call.function)
        inputs = tuple(self._input(node, number) for number in self._taken(node, call))
        function = call.function
        step = _Step(function, inputs, tuple(node.outputs))
        self._steps.append(step)
        with self._mode:
            given = [self._value(each, self._examples) for each in inputs]
            sizes = is_host(*(each for each in given if each is not None))  # numpy computes them, and takes memory
            if sizes:
                self._budget.check(node, call, given)
            found = results(function(*given))
        _check_size(node, found)
        if sizes:
            self._budget.take(node, found)
        self._examples.update(zip(step.outputs, found))

    @staticmethod
    def _taken(node: Node, call: Call) -> list[int]:
        if call.takes is not None:
            return list(call.takes)
        count = max((number + 1 for number, name in enumerate(node.inputs) if name), default=0)
        return list(range(count))

    def _input(self, node: Node, number: int) -> str | np.ndarray | None:
        """What a step takes: the name of a value, a constant of numbers to count with, or a tensor of this module."""
        name = node.inputs[number] if number < len(node.inputs) else ""
        if not name:
            return None
        value = self._constants.get(name)
        if value is None:
            return name
        if value.dtype.kind != "f" or value.size == 1:
            return value
        return self._put_tensor(name, value)

    def _put_tensor(self, name: str, value: np.ndarray) -> str:
        """A constant as a parameter or buffer of this module."""
        for own, origin in self.origins.items():
            if origin == name and "." not in own:
                return own
        own = self._free_name(_identifier(name))
        tensor = as_tensor(value).clone()
        if name in self._trainable:
            self.register_parameter(own, nn.Parameter(tensor))
        else:
            self.register_buffer(own, tensor)
        self.origins[own] = name
        return own

    def _put_layer(self, node: Node, call: Call) -> None:
        """Give a layer its name and its weights."""
        assert call.layer is not None
        name = self._free_name(_layer_name(node, call))
        for tensor, (origin, value, change) in call.weights.items():
            own = getattr(call.layer, tensor)
            made = as_tensor(np.ascontiguousarray(value, dtype=np.float32))
            if made.shape != own.shape:
                raise node.refusal(f"has {tensor} of shape {tuple(made.shape)}; {tuple(own.shape)} is needed")
            setattr(call.layer, tensor, nn.Parameter(made) if isinstance(own, nn.Parameter) else made)
            self.origins[f"{name}.{tensor}"] = origin
            source = self._constants.get(origin)
            if not change and source is not None and source.shape != value.shape:
                change = f"{show_shape(source.shape)} -> {show_shape(value.shape)}"
            if change:
                self.changes[f"{name}.{tensor}"] = change
        counter = getattr(call.layer, "num_batches_tracked", None)
        if counter is not None:
            call.layer.num_batches_tracked = torch.zeros((), dtype=torch.int64)
        put_module(self, name, call.layer)

    def _free_name(self, name: str) -> str:
        """A name that nothing has yet, and whose parts are no attributes of modules."""
        parts = [
            part + "_" if hasattr(nn.Module, part) or hasattr(OnnxNetwork, part) else part for part in name.split(".")
        ]
        name = ".".join(part for part in parts if part) or "layer"
        taken = {each for each, _ in self.named_modules()} | {each for each, _ in self.named_parameters()}
        taken |= {each for each, _ in self.named_buffers()} | self.__dict__.keys()
        above = [".".join(name.split(".")[:end]) for end in range(1, name.count(".") + 1)]
        if any(self._is_tensor(each) or self._is_layer(each) for each in above):
            name = name.replace(".", "_")
        base, number = name, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        return name

    def _is_tensor(self, name: str) -> bool:
        return name in self._parameters or name in self._buffers

    def _is_layer(self, name: str) -> bool:
        try:
            return type(self.get_submodule(name)) is not nn.Module
        except AttributeError:
            return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of operators that refuse their inputs: the error says it."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _needed(nodes: Sequence[Node], output: str) -> list[Node]:
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]


def _layer_name(node: Node, call: Call) -> str:
    """``layer1.0.conv1`` where a weight is called ``layer1.0.conv1.weight``; else by the node."""
    for tensor, (origin, _, _) in call.weights.items():
        for ending in (f".{tensor}", f".{tensor.removesuffix('_l0')}"):
            if origin.endswith(ending) and re.fullmatch(r"[\w.]+", origin):
                return origin.removesuffix(ending)
    return _name_of(node)


def _name_of(node: Node) -> str:
    """``fire2/squeeze1x1/BiasAdd`` as ``fire2.squeeze1x1``."""
    parts = [part for part in re.split(r"/+", node.name) if part]
    while len(parts) > 1 and _OPERATION_NAMES.match(parts[-1]):
        parts.pop()
    return ".".join(_identifier(part) for part in parts)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name.removesuffix(":0"))[:80] or "tensor"


def _check_size(node: Node, result: Any) -> None:
    for each in result if isinstance(result, tuple | list) else (result,):
        if isinstance(each, Tensor) and math.prod(each.shape) > _MOST_ELEMENTS:
            raise node.refusal(f"makes {math.prod(each.shape):,} numbers; {_MOST_ELEMENTS:,} are allowed")


__all__ = ["OPERATORS", "OnnxNetwork"]
