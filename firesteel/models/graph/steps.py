"""The steps of a stored graph: how they are written, checked, and run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.graph.operators import check_arguments, find_operator, is_placed
from firesteel.models.graph.values import check_value, names_in, resolver

if TYPE_CHECKING:
    from firesteel.models.graph.network import Graph

INPUT = "input"
"""Name of the batch among the values."""
_MOST_STEPS = 100_000


class Part(BaseModel):
    """A part of a description, exactly as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StepSpec(Part):
    """A call of a layer or of an operator; see :mod:`firesteel.models.graph.values` for its inputs."""

    name: str
    layer: str | None = None
    op: str | None = None
    inputs: list[Any] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)


_ANY_LAYOUT = {"aten.view.default": "aten.reshape.default"}
"""Operators that want memory in one order -> what does the same for any."""


@dataclass
class Step:
    """A step, ready to run."""

    name: str
    layer: str | None
    op: str | None
    inputs: list[Any]
    options: dict[str, Any]
    last: list[str] = field(default_factory=list)
    recurrent: bool = False

    def __post_init__(self) -> None:
        self._make_resolvers()

    def _make_resolvers(self) -> None:
        self.tensors = [*names_in(self.inputs, "tensor"), *names_in(list(self.options.values()), "tensor")]
        self._positional = [resolver(each) for each in self.inputs]
        self._named = {name: resolver(each) for name, each in self.options.items()}
        self._is_placed = self.op is not None and is_placed(self.op)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_positional", "_named")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._make_resolvers()

    @property
    def what(self) -> str:
        return self.op or f"layer {self.layer}"

    def given(self, graph: Graph, values: dict[str, Any]) -> list[Any]:
        """The real inputs."""
        return [resolve(values, graph.tensor_of) for resolve in self._positional]

    def run(self, graph: Graph, values: dict[str, Any], device: torch.device) -> Any:
        given = self.given(graph, values)
        if self.layer is not None:
            layer = graph.get_submodule(self.layer)
            return _recur(layer, *given) if self.recurrent else layer(*given)
        assert self.op is not None
        named = {name: resolve(values, graph.tensor_of) for name, resolve in self._named.items()}
        if self._is_placed:
            named["device"] = device
        return find_operator(_ANY_LAYOUT.get(self.op, self.op))(*given, **named)


def ordered_steps(specs: Sequence[StepSpec], output: str) -> list[Step]:
    """The steps in their order, each with the values that nobody needs after it.

    Raises:
        ModelError: if a step is not sound, or takes what no step before it has given.
    """
    if len(specs) > _MOST_STEPS:
        raise ModelError(f"the graph has {len(specs):,} steps; {_MOST_STEPS:,} are allowed.")
    known = {INPUT}
    last: dict[str, int] = {}
    steps: list[Step] = []
    for number, spec in enumerate(specs):
        for name in _check_step(spec):
            if name not in known:
                raise ModelError(f"step {spec.name!r} takes {name!r}, which no step before it has given.")
            last[name] = number
        if spec.name in known:
            raise ModelError(f"two steps of the graph have the name {spec.name!r}.")
        known.add(spec.name)
        last[spec.name] = number
        steps.append(Step(spec.name, spec.layer, spec.op, spec.inputs, spec.options))
    if output not in known:
        raise ModelError(f"the graph's output {output!r} is none of its steps.")
    for name, number in last.items():
        if name != output:
            steps[number].last.append(name)
    return steps


def _check_step(spec: StepSpec) -> Iterator[str]:
    """The names of the values that a step takes, after it is found to be sound."""
    where = f"step {spec.name!r} of the graph"
    if (spec.layer is None) == (spec.op is None):
        raise ModelError(f"{where} must have either a layer or an op.")
    if spec.op is not None:
        find_operator(spec.op)
    if spec.layer is not None and spec.options:
        raise ModelError(f"{where} calls a layer, which takes inputs only, and has options.")
    everything = [*spec.inputs, *spec.options.values()]
    check_value(spec.inputs, where)
    for value in spec.options.values():
        check_value(value, where)
    if spec.op is not None:
        check_arguments(spec.op, spec.inputs, spec.options, where)
    return names_in(everything)


def _recur(layer: nn.Module, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """A recurrent layer with its results in one row, as the operators of ATen have them."""
    start = () if not states else (tuple(states),) if len(states) > 1 else states
    outputs, final = layer(features, *start)
    return (outputs, *final) if isinstance(final, tuple) else (outputs, final)


__all__ = ["INPUT", "Part", "Step", "StepSpec", "ordered_steps"]
