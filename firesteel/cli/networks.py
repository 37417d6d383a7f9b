"""What ``firesteel models`` and ``firesteel summary`` show on a terminal."""

from __future__ import annotations

from typing import Any

from firesteel.analysis.report.wording import size
from firesteel.cli.output import say
from firesteel.cli.tables import print_table
from firesteel.models.summary import LayerSummary, ModelSummary
from firesteel.models.zoo import ENTRIES


def zoo_as_json() -> dict[str, Any]:
    """The object that ``firesteel models --json`` prints."""
    return {"models": {name: entry.to_json() for name, entry in ENTRIES.items()}}


def show_zoo() -> None:
    """A line a network."""
    print_table(
        ["name", "made for", "what it is", "source", "classes", "parameters"],
        [
            [name, _shape(each.input_shape), each.about, each.source, f"{each.num_classes:,}", f"{each.parameters:,}"]
            for name, each in ENTRIES.items()
        ],
        numbers=2,
    )
    say("\nfiresteel train DATASET RUN --model NAME; the shape of the input and the classes are those of the dataset.")
    say("Layers and options of one: firesteel summary NAME. A network of your own is MODULE:FACTORY.")


def show_summary(found: ModelSummary) -> None:
    """The layers as a table, and what they add up to."""
    print_table(
        ["layer", "type", "output", "parameters", "multiply-adds", "memory"],
        [_layer(layer) for layer in found.layers],
        numbers=3,
    )
    classes = "" if found.num_classes is None else f", {found.num_classes:,} classes"
    say(f"\n{found.model} for {_shape(found.input_shape)}{classes}")
    frozen = found.parameters - found.trainable
    say(
        f"  parameters     {found.parameters:,}, {size(4 * found.parameters)};"
        f" {found.trainable:,} trainable, {frozen:,} frozen"
    )
    say(f"  multiply-adds  {found.multiply_adds:,} a sample, forward")
    held = "" if found.training_bytes is None else f"; held for the backward pass: {size(found.training_bytes)}"
    say(f"  memory         {size(found.activation_bytes)} a sample for all outputs{held}")


def _layer(layer: LayerSummary) -> list[str]:
    output = "not called" if not layer.calls else _shape(layer.output_shape)
    return [
        layer.name or "(itself)", layer.type, output + (f" ({layer.calls} times)" if layer.calls > 1 else ""),
        f"{layer.parameters:,}" if layer.parameters else "", f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        size(layer.activation_bytes) if layer.activation_bytes else "",
    ]  # fmt: skip


def _shape(shape: tuple[int, ...] | None) -> str:
    return "–" if shape is None else "x".join(map(str, shape)) or "1"
