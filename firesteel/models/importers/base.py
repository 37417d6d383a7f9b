"""What every importer gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Matching:
    """What became of the tensors of a file and of those of the network.

    Attributes:
        matched: tensors of the network that have their values from the file.
        initial: tensors of the network that keep their initial values.
        unused: tensors of the file that no layer has taken.
        reshaped: tensor of the network -> what was done to the file's: ``HWIO -> OIHW``, ``1x1x10x500 -> 10x500``.
        notes: what else was done, a line each; not again among those of :class:`Imported`.
    """

    matched: tuple[str, ...]
    initial: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    reshaped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "matched": list(self.matched), "initial": list(self.initial), "unused": list(self.unused),
            "reshaped": dict(self.reshaped), "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """A network with the weights of a file.

    Attributes:
        network: on the CPU, float32, in evaluation mode; (B, *input_shape) -> (B, K), what the file's network gives. Where that
            ends in a softmax it is left out later, when the network becomes a graph.
        input_shape: of one row, channels first.
        matching: what became of the tensors.
        labels: names of the classes, if the file has them. They are taken where the network has as many classes.
        notes: what a person should know, a line each.
    """

    network: nn.Module
    input_shape: tuple[int, ...]
    matching: Matching
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


__all__ = ["Imported", "Matching"]
