"""One node of an ONNX graph while the network is built, and what an operator makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firesteel.errors import ModelError

Value = Any
"""A tensor that depends on the batch; or a numpy array: a constant, or sizes that are computed (whose dtype is object where
they hold torch's symbols)."""


@dataclass
class Node:
    """A node with what is known of its inputs when the network is built.

    Attributes:
        op: its operator.
        name: for messages and names of layers; never empty.
        attributes: by name; strings are str, tensors numpy arrays.
        opset: version of the operators.
        inputs: names; an input that is left out is an empty string.
        outputs: names.
        constants: of each input its value if it is constant, else None.
        examples: of each input its value for the example; None if it is left out.
    """

    op: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    inputs: Sequence[str]
    outputs: Sequence[str]
    constants: Sequence[np.ndarray | None] = ()
    examples: Sequence[Value] = ()

    def get(self, attribute: str, default: Any = None) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, number: int) -> bool:
        """Whether an input is there."""
        return number < len(self.inputs) and bool(self.inputs[number])

    def constant(self, number: int) -> np.ndarray | None:
        return self.constants[number] if self.has(number) else None

    def example(self, number: int = 0) -> Tensor:
        """An input's value as a tensor.

        Raises:
            ModelError: if it is left out.
        """
        if not self.has(number):
            raise self.refusal(f"has no input {number}")
        return as_tensor(self.examples[number])

    def needed_constant(self, number: int, what: str) -> np.ndarray:
        """A constant input; also sizes that come from shapes which are known.

        Raises:
            ModelError: if it is none.
        """
        value = self.constant(number)
        if value is None and self.has(number) and isinstance(self.examples[number], np.ndarray):
            value = self.examples[number]
        if value is None:
            raise self.refusal(f"has a {what} that is no constant, which is not supported")
        return value

    def integers(self, number: int, attribute: str, what: str) -> list[int] | None:
        """Whole numbers that older versions have as an attribute, newer ones as an input."""
        if attribute in self.attributes:
            given = self.attributes[attribute]
            return [int(each) for each in (given if isinstance(given, list | tuple) else [given])]
        if not self.has(number):
            return None
        return [int(each) for each in self.needed_constant(number, what).reshape(-1)]

    def refusal(self, why: str) -> ModelError:
        return ModelError(f"ONNX node {self.name!r} ({self.op}) {why}.")


@dataclass
class Call:
    """What a node computes.

    Attributes:
        function: of the inputs that are taken.
        takes: their numbers; None is all that are there.
        layer: the function is a layer with weights and gets a name of its own.
        weights: of a layer: name in it -> (name in the file, value, what was done to it in words).
    """

    function: Callable[..., Any]
    takes: Sequence[int] | None = None
    layer: nn.Module | None = None
    weights: Mapping[str, tuple[str, np.ndarray, str]] = field(default_factory=dict)


Operator = Callable[[Node], Call]


def as_tensor(value: Value) -> Tensor:
    """A value as a tensor."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype == object:
        return torch.tensor(value.tolist())
    array = np.ascontiguousarray(value)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def as_sizes(value: Value) -> list[Any]:
    """Sizes out of a computed or constant value."""
    if isinstance(value, Tensor):
        raise ModelError("the ONNX network computes a shape from values of its tensors, which is not supported.")
    return [each if isinstance(each, torch.SymInt) else int(each) for each in np.asarray(value).reshape(-1).tolist()]


def results(given: Any) -> list[Value]:
    """What a function has given, as values."""
    each_given = given if isinstance(given, tuple | list) else (given,)
    return [each if isinstance(each, Tensor) else np.asarray(each) for each in each_given]


def is_host(*values: Value) -> bool:
    """Whether all are numpy arrays, so that numpy computes."""
    return all(isinstance(value, np.ndarray) for value in values)
