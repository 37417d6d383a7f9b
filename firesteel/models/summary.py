"""What a network consists of: its layers, their outputs, parameters, multiply-adds and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerSummary:
    """A layer: a module with parameters or operations of its own.

    Attributes:
        name: as in the state dict; ``""`` is the network itself.
        type: class of the module.
        output_shape: of one sample, without the dimension of the batch; of several outputs the first. None if the layer
            was not called.
        calls: how often it was called for one sample; all figures are of all calls.
        parameters: its own, without those of modules in it; what is shared counts for the layer that comes first.
        trainable: those of them that have gradients.
        multiply_adds: for one sample, of matrix products, convolutions and attention.
        activation_bytes: of its output for one sample in float32; 0 where it works in place or only changes the shape.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    calls: int
    parameters: int
    trainable: int
    multiply_adds: int
    activation_bytes: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        shape = None if self.output_shape is None else list(self.output_shape)
        return {**vars(self), "output_shape": shape}


@dataclass(frozen=True)
class ModelSummary:
    """The layers of a network in the order in which they end their work, those that were not called last.

    Attributes:
        model: how it is named.
        input_shape: of one sample.
        num_classes: K; None if the network was given ready made.
        layers: see :class:`LayerSummary`.
        training_bytes: what one sample holds in memory between the forward and the backward pass, in float32, the
            sample itself included; None if that could not be found out.
    """

    model: str
    input_shape: tuple[int, ...]
    num_classes: int | None
    layers: tuple[LayerSummary, ...]
    training_bytes: int | None

    @property
    def parameters(self) -> int:
        """Of the whole network, shared ones once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Parameters that have gradients."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For one sample."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Outputs of all layers for one sample, in float32."""
        return sum(layer.activation_bytes for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``frozen`` is ``parameters - trainable``."""
        return {
            "model": self.model, "input_shape": list(self.input_shape), "classes": self.num_classes,
            "parameters": self.parameters, "trainable": self.trainable, "frozen": self.parameters - self.trainable,
            "multiply_adds": self.multiply_adds, "activation_bytes": self.activation_bytes,
            "training_bytes": self.training_bytes, "layers": [layer.to_json() for layer in self.layers],
        }  # fmt: skip


__all__ = ["LayerSummary", "ModelSummary"]
