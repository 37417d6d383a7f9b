"""The end of a network: logits of shape (B, K), without the softmax that losses and predictors have themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from firesteel.errors import ModelError
from firesteel.models.graph.network import LayerSpec, StepSpec

_SHAPING = ("flatten", "view", "reshape", "squeeze", "contiguous", "clone", "permute", "transpose", "to", "unsqueeze")
"""Operators that keep all values."""


@dataclass(frozen=True)
class Ending:
    """Steps that end in logits.

    Attributes:
        steps: all of them.
        output: the one that gives (B, K).
        num_classes: K.
        notes: what was changed, in words.
    """

    steps: list[StepSpec]
    output: str
    num_classes: int
    notes: tuple[str, ...]


def end_in_logits(
    steps: list[StepSpec], output: str, shapes: Mapping[str, tuple[int, ...]], layers: Mapping[str, LayerSpec]
) -> Ending:
    """Leave out a softmax at the end, and make (B, K) of (B, K, 1, 1).

    Args:
        steps: of the network.
        output: the step that gives its result.
        shapes: of the results of the steps that give tensors.
        layers: by name.

    Raises:
        ModelError: if the result is no list of classes for each row.
    """
    shape = shapes.get(output, ())
    classes = math.prod(int(size) for size in shape[1:])
    if len(shape) < 2 or classes < 1 or sum(int(size) > 1 for size in shape[1:]) > 1:
        given = "x".join(map(str, ("B", *shape[1:]))) if shape else "no tensor"
        raise ModelError(f"the network gives {given}; a classifier gives BxK, one number for each class of each row.")
    by_name = {step.name: step for step in steps}
    last = _last_that_computes(by_name, output)
    kind = _kind(last, layers)
    if classes == 1:
        return _two_classes(steps, output, last, kind, shape)
    notes: tuple[str, ...] = ()
    if last is not None and kind == "softmax" and _over_classes(last, shapes, classes):
        steps, output = _without(steps, last, output)
        notes = ("the softmax at the end is left out: the loss and the predictor have it",)
    if last is not None and kind == "sigmoid":
        notes = (
            "the network ends in a sigmoid for each class: probabilities that Firesteel shows are those of a softmax",
        )
        steps, output = _without(steps, last, output)
    if len(shape) > 2:
        steps, output = _flattened(steps, output)
    return Ending(steps, output, classes, notes)


def _last_that_computes(steps: Mapping[str, StepSpec], output: str) -> StepSpec | None:
    """The last step that changes values, not only their shape."""
    step = steps.get(output)
    while step is not None:
        name = "flatten" if step.layer is not None and step.op is None and _looks_flat(step) else _packet(step)
        if name not in _SHAPING or not isinstance(step.inputs[0], dict):
            return step
        step = steps.get(step.inputs[0].get("value", ""))
    return None


def _looks_flat(step: StepSpec) -> bool:
    return step.layer is not None and "flatten" in step.name


def _packet(step: StepSpec) -> str:
    return step.op.split(".")[1] if step.op is not None else ""


def _kind(step: StepSpec | None, layers: Mapping[str, LayerSpec]) -> str:
    if step is None:
        return ""
    if step.layer is not None:
        return layers[step.layer].type.lower()
    return {"_softmax": "softmax"}.get(_packet(step), _packet(step))


def _over_classes(step: StepSpec, shapes: Mapping[str, tuple[int, ...]], classes: int) -> bool:
    shape, dim = shapes.get(step.name, ()), step.inputs[1] if len(step.inputs) > 1 else step.options.get("dim")
    return isinstance(dim, int) and -len(shape) <= dim < len(shape) and dim % len(shape) != 0 and shape[dim] == classes


def _without(steps: list[StepSpec], left_out: StepSpec, output: str) -> tuple[list[StepSpec], str]:
    """The steps without one that gives what it gets."""
    given = left_out.inputs[0]["value"]
    kept = []
    for step in steps:
        if step is not left_out:
            takes = [{"value": given} if each == {"value": left_out.name} else each for each in step.inputs]
            kept.append(step.model_copy(update={"inputs": takes}))
    return kept, given if output == left_out.name else output


def _flattened(steps: list[StepSpec], output: str) -> tuple[list[StepSpec], str]:
    flat = StepSpec(name=f"{output}_flat", op="aten.flatten.using_ints", inputs=[{"value": output}, 1])
    return [*steps, flat], flat.name


def _two_classes(
    steps: list[StepSpec], output: str, last: StepSpec | None, kind: str, shape: tuple[int, ...]
) -> Ending:
    """One logistic output z is two classes with logits 0 and z: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    if last is None or kind != "sigmoid":
        raise ModelError("the network gives one number for each row and no sigmoid before it: it is no classifier.")
    steps, output = _without(steps, last, output)
    if len(shape) > 2:
        steps, output = _flattened(steps, output)
    zeros = StepSpec(name=f"{output}_zero", op="aten.zeros_like.default", inputs=[{"value": output}])
    both = StepSpec(
        name=f"{output}_both", op="aten.cat.default", inputs=[[{"value": zeros.name}, {"value": output}], 1]
    )
    notes = ("the network's one logistic output became two classes",)
    return Ending([*steps, zeros, both], both.name, 2, notes)


__all__ = ["Ending", "end_in_logits"]
