"""The end of a network: logits of shape (B, K), without the softmax that losses and predictors have themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from firesteel.errors import ModelError
from firesteel.models.graph.network import LayerSpec, StepSpec
from firesteel.models.shapes import show_shape

_SHAPING = (
    "flatten",
    "unflatten",
    "view",
    "reshape",
    "squeeze",
    "unsqueeze",
    "contiguous",
    "clone",
    "permute",
    "transpose",
    "to",
)
"""Operators that keep all values."""


@dataclass(frozen=True)
class Ending:
    """Steps that end in logits.

    Attributes:
        steps: all of them.
        output: the one that gives (B, K).
        num_classes: K.
        notes: what was changed, in words.
        restore: of the logits, (B, K), what the network gave before its end was changed: (B, K), or (B, 1) of two classes.
    """

    steps: list[StepSpec]
    output: str
    num_classes: int
    notes: tuple[str, ...] = ()
    restore: Callable[[Tensor], Tensor] = lambda logits: logits


def end_in_logits(
    steps: list[StepSpec], output: str, shapes: Mapping[str, tuple[int, ...]], layers: Mapping[str, LayerSpec]
) -> Ending:
    """Leave out a softmax at the end, or sigmoids, and make (B, K) of (B, K, 1, 1).

    Only what comes last is left out: of a softmax of a softmax the first stays.

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
        given = show_shape(("B", *shape[1:])) if shape else "no tensor"
        raise ModelError(f"the network gives {given}; a classifier gives BxK, one number for each class of each row.")
    last = _last_that_computes(steps, output, layers)
    kind = _kind(last, layers)
    ending = Ending(steps, output, classes)
    if classes == 1 and (last is None or kind != "sigmoid"):
        raise ModelError("the network gives one number for each row and no sigmoid before it: it is no classifier.")
    if last is not None and (kind == "sigmoid" or (kind == "softmax" and _over_classes(last, shapes, classes))):
        kept, output = _without(steps, last, output)
        ending = replace(ending, steps=kept, output=output, **_LEFT_OUT[kind])
    if len(shape) > 2:
        ending = _flattened(ending)
    return _two_classes(ending) if classes == 1 else ending


_LEFT_OUT: dict[str, dict[str, Any]] = {
    "softmax": {
        "notes": ("the softmax at the end is left out: the loss and the predictor have it",),
        "restore": lambda logits: logits.softmax(1),
    },
    "sigmoid": {
        "notes": (
            "the sigmoid of each class at the end is left out: the loss and the predictor have a softmax instead",
        ),
        "restore": Tensor.sigmoid,
    },
}
"""What is known of an ending without its last step."""


def _last_that_computes(steps: list[StepSpec], output: str, layers: Mapping[str, LayerSpec]) -> StepSpec | None:
    """The last step that changes values, not only their shape."""
    by_name = {step.name: step for step in steps}
    step = by_name.get(output)
    while step is not None and _kind(step, layers) in _SHAPING and isinstance(step.inputs[0], dict):
        step = by_name.get(step.inputs[0].get("value", ""))
    return step


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


def _flattened(ending: Ending) -> Ending:
    flat = StepSpec(name=f"{ending.output}_flat", op="aten.flatten.using_ints", inputs=[{"value": ending.output}, 1])
    return replace(ending, steps=[*ending.steps, flat], output=flat.name)


def _two_classes(ending: Ending) -> Ending:
    """One logistic output z is two classes with logits 0 and z: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    output = ending.output
    zeros = StepSpec(name=f"{output}_zero", op="aten.zeros_like.default", inputs=[{"value": output}])
    both = StepSpec(
        name=f"{output}_both", op="aten.cat.default", inputs=[[{"value": zeros.name}, {"value": output}], 1]
    )
    notes = ("the network's one logistic output became two classes",)
    return Ending([*ending.steps, zeros, both], both.name, 2, notes, lambda logits: logits.softmax(1)[:, 1:])


__all__ = ["Ending", "end_in_logits"]
