"""A network in two parts: what is frozen, whose results for a row are always the same, and what learns."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from firesteel.errors import ConfigError, ModelError
from firesteel.models.graph import Graph, as_graph
from firesteel.models.graph.network import INPUT, LayerSpec, StepSpec, TensorSpec
from firesteel.models.graph.values import names_in
from firesteel.models.registry import ModelSource, build_model, count_parameters
from firesteel.models.transfer.freezing import freeze
from firesteel.models.transfer.pretrained import Pretrained, is_part_of, load_pretrained
from firesteel.specs import Spec

_TRIAL_ROWS = 3


@dataclass(frozen=True)
class Cut:
    """A network that was cut.

    Attributes:
        trunk: (B, *input_shape) -> (B, F), in evaluation mode; F = prod(shape).
        head: the network that learns, on rows of ``shape``; its tensors have the names that they have in the whole.
        shape: of what goes from one to the other.
        where: the step that gives it, for people.
        frozen: parameters in the trunk.
    """

    trunk: Graph
    head: Spec
    shape: tuple[int, ...]
    where: str
    frozen: int


def cut(
    source: ModelSource,
    pretrained: Pretrained,
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    freeze_until: str | None,
    train_only: Sequence[str],
) -> Cut:
    """Cut a pretrained network as late as nothing that learns has been met.

    Args:
        source: the network for the new classes.
        pretrained: its weights.
        input_shape: of a row.
        num_classes: new ones.
        freeze_until, train_only: what is frozen, see :func:`firesteel.models.transfer.freezing.freeze`. If neither is
            given, all but a new head is.

    Raises:
        ConfigError: if everything is frozen, or nothing.
        ModelError: if more than one result of the frozen part goes to the rest.
    """
    network = build_model(source, input_shape=input_shape, num_classes=num_classes, seed=0)
    load_pretrained(network, pretrained)
    if freeze_until is None and not train_only:
        if not pretrained.head:
            raise ConfigError(
                "nothing says which layers are frozen, and the classes are those of the model.\n"
                "Use --freeze-until LAYER, or --replace-head LAYER."
            )
        train_only = pretrained.head
    still = freeze(network.eval(), until=freeze_until, only=train_only, head=pretrained.head)
    return _cut(network, still, input_shape)


def _cut(network: nn.Module, still: Collection[nn.Module], input_shape: tuple[int, ...]) -> Cut:
    """See :func:`cut`; a network of which a part is frozen."""
    learns = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    quiet = {name for name, module in network.named_modules() if any(module is each for each in still)}
    example = torch.zeros(_TRIAL_ROWS, *input_shape)
    graph = network if isinstance(network, Graph) else as_graph(network, example)[0]
    if graph.rows is not None:
        raise ModelError(
            f"the network takes exactly {graph.rows} row{'s' * (graph.rows > 1)} at a time, as its file says: it cannot be cut."
        )
    stored = graph.options
    layers = {layer["name"]: LayerSpec.model_validate(layer) for layer in stored["layers"]}
    steps = [StepSpec.model_validate(step) for step in stored["steps"]]
    fixed = {INPUT}
    for step in steps:
        if set(_values_of(step)) <= fixed and _is_fixed(step, layers, learns, quiet):
            fixed.add(step.name)
    rest = [step for step in steps if step.name not in fixed]
    crossing = list(dict.fromkeys(name for step in rest for name in _values_of(step) if name in fixed))
    if stored["output"] in fixed:
        raise ConfigError("everything up to the network's result is frozen: nothing is left to learn.")
    if crossing == [INPUT]:
        raise ConfigError("the network's first layer learns: there is nothing frozen before it to compute once.")
    if len(crossing) != 1:
        raise ModelError(
            f"{len(crossing)} results of the frozen layers go to those that learn ({', '.join(crossing[:5])}); one can be"
            " kept.\nFreeze up to a layer, or a block, that everything passes through."
        )
    (where,) = crossing
    shape = _shape_of(graph, where, example)
    flat = StepSpec(name=f"{where}__flat", op="aten.flatten.using_ints", inputs=[{"value": where}, 1])
    before = [*_needed(steps, where), flat]
    of_trunk = _part(stored, before)
    trunk = Graph(
        input_shape, math.prod(shape), of_trunk["layers"], of_trunk["tensors"], steps=before, output=flat.name
    )
    trunk.load_state_dict({name: graph.state_dict()[name] for name in trunk.state_dict()})
    renamed = [step.model_copy(update=_with_input(step, where)) for step in rest]
    after = _part(stored, renamed)
    head = Spec(
        name="graph",
        options={
            **{
                name: [each.model_dump(exclude_defaults=True) for each in after[name]] for name in ("layers", "tensors")
            },
            "steps": [step.model_dump(exclude_defaults=True) for step in renamed],
            "output": stored["output"],
        },
    )
    return Cut(trunk.eval(), head, shape, where, count_parameters(trunk))


def _is_fixed(step: StepSpec, layers: dict[str, LayerSpec], learns: set[str], quiet: set[str]) -> bool:
    """Whether a step gives the same for the same row at every time."""
    tensors = [*names_in(step.inputs, "tensor"), *names_in(list(step.options.values()), "tensor")]
    if any(name in learns for name in tensors):
        return False
    if step.layer is None:
        return True
    if any(is_part_of(name, (step.layer,)) for name in learns):
        return False
    if "Dropout" in layers[step.layer].type or layers[step.layer].options.get("dropout"):  # of a recurrent layer
        return is_part_of(step.layer, quiet)
    # A norm without parameters of its own stands still only where it is said to.
    free = "Norm" in layers[step.layer].type and layers[step.layer].options.get("affine") is False
    return not free or is_part_of(step.layer, quiet)


def _values_of(step: StepSpec) -> Iterator[str]:
    yield from names_in([*step.inputs, *step.options.values()])


def _needed(steps: Sequence[StepSpec], output: str) -> list[StepSpec]:
    """The steps that one of them follows from, itself the last."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(_values_of(step))
            kept.append(step)
    return kept[::-1]


def _part(stored: dict[str, Any], steps: Sequence[StepSpec]) -> dict[str, list[Any]]:
    """The layers and tensors that some steps use."""
    used = {step.layer for step in steps}
    names = {name for step in steps for name in names_in([*step.inputs, *step.options.values()], "tensor")}
    tensors = [TensorSpec.model_validate(each) for each in stored["tensors"] if each["name"] in names]
    # A tensor may be one of a layer that no step calls as a layer.
    layers = [
        LayerSpec.model_validate(each)
        for each in stored["layers"]
        if each["name"] in used or any(is_part_of(name, (each["name"],)) for name in names)
    ]
    return {"layers": layers, "tensors": tensors}


def _with_input(step: StepSpec, where: str) -> dict[str, Any]:
    """The inputs of a step that takes what crosses the cut as the input of the network."""

    def renamed(value: Any) -> Any:
        if value == {"value": where}:
            return {"value": INPUT}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        return value

    return {"inputs": renamed(step.inputs), "options": {name: renamed(each) for name, each in step.options.items()}}


@torch.no_grad()
def _shape_of(graph: Graph, where: str, example: torch.Tensor) -> tuple[int, ...]:
    result = graph.value_of(where, example)
    if not isinstance(result, torch.Tensor) or result.dim() < 2 or len(result) != len(example):
        raise ModelError(
            f"what goes from the frozen layers to the others ({where}) is no row of numbers for each row of the input."
        )
    if result.dtype != torch.float32:
        raise ModelError(f"what goes from the frozen layers to the others ({where}) is {result.dtype}, not float32.")
    return tuple(result.shape[1:])


__all__ = ["Cut", "cut"]
