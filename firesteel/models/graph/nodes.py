"""Questions about the nodes of an exported program, and the steps that they became."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from firesteel.errors import ModelError
from firesteel.models.graph.steps import StepSpec
from firesteel.models.graph.values import names_in


def single_output(given: Any) -> Any:
    """The one result of a network, also out of a list or dictionary of one.

    Raises:
        ModelError: if it gives several.
    """
    while isinstance(given, list | tuple | dict):
        if len(given) != 1:
            raise ModelError(f"the network gives {len(given)} results; one is needed: the logits of the classes.")
        given = next(iter(given.values() if isinstance(given, dict) else given))
    return given


def node_of(value: Any) -> Node:
    """A value that must be that of a node."""
    if not isinstance(value, Node):
        raise ModelError(f"the network has the value {str(value)[:40]} where a tensor is needed.")
    return value


def bound_arguments(node: Node) -> dict[str, Any]:
    """All arguments of a call by name, with their defaults."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    bound = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    bound |= {argument.name: value for argument, value in zip(arguments, node.args)}
    return bound | dict(node.kwargs)


def are_zeros(states: Any) -> bool:
    """Whether recurrent states are zeros that the network has made itself."""
    return all(
        isinstance(each, Node) and str(each.target).startswith(("aten.zeros.", "aten.new_zeros."))
        for each in (states if isinstance(states, list | tuple) else [states])
    )


def needed_steps(steps: list[StepSpec], output: str) -> list[StepSpec]:
    """The steps without those that nothing needs."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.name in wanted:
            kept.append(step)
            wanted |= set(names_in([step.inputs, list(step.options.values())]))
    return kept[::-1]


def tensor_names(step: StepSpec) -> list[str]:
    """Tensors that a step takes."""
    return list(names_in([step.inputs, list(step.options.values())], "tensor"))


__all__ = ["are_zeros", "bound_arguments", "needed_steps", "node_of", "single_output", "tensor_names"]
