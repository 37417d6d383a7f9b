"""Activations of Keras by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers.modules import Exponential
from firesteel.specs import did_you_mean


class HardSigmoid(nn.Module):
    """min(max(slope * x + 0.5, 0), 1); the slope is 0.2 up to Keras 2 and 1/6 from Keras 3 on."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return (self.slope * x + 0.5).clamp(0, 1)


class Relu(nn.Module):
    """Keras's relu with all its options: 0 or ``slope`` times what lies below the threshold, no more than ``maximum``."""

    def __init__(self, maximum: float | None, slope: float, threshold: float):
        super().__init__()
        self.maximum, self.slope, self.threshold = maximum, slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        above = x if self.maximum is None else x.clamp(max=self.maximum)
        return torch.where(x >= self.threshold, above, self.slope * (x - self.threshold))


def relu(maximum: float | None, slope: float, threshold: float) -> nn.Module:
    """The module of torch for options of relu, where it has one."""
    if threshold == 0 and slope == 0 and maximum in (None, 6):
        return nn.ReLU() if maximum is None else nn.ReLU6()
    if threshold == 0 and maximum is None:
        return nn.LeakyReLU(slope)
    return Relu(maximum, slope, threshold)


_SIMPLE: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus,
    "softsign": nn.Softsign, "elu": nn.ELU, "selu": nn.SELU, "swish": nn.SiLU, "silu": nn.SiLU, "mish": nn.Mish,
    "exponential": Exponential, "hard_silu": nn.Hardswish, "hard_swish": nn.Hardswish, "hard_tanh": nn.Hardtanh,
    "log_sigmoid": nn.LogSigmoid, "celu": nn.CELU,
}  # fmt: skip


def activation(given: Any, layer: str, *, version: int, axis: int) -> nn.Module | None:
    """The module of an activation; None for one that changes nothing.

    Args:
        given: name in the configuration, or what Keras 3 writes for a function.
        layer: for messages.
        version: of Keras, the first number.
        axis: of the classes, for softmax.

    Raises:
        ModelError: if there is no such activation.
    """
    if isinstance(given, dict):
        inner = given.get("config")
        given = (
            inner
            if isinstance(inner, str)
            else inner.get("name")
            if isinstance(inner, dict)
            else given.get("class_name")
        )
    if given in (None, "linear"):
        return None
    if given in ("softmax", "log_softmax"):
        return nn.Softmax(axis) if given == "softmax" else nn.LogSoftmax(axis)
    if given == "hard_sigmoid":
        return HardSigmoid(0.2 if version < 3 else 1 / 6)
    if given == "leaky_relu":
        return nn.LeakyReLU(0.2)
    if given == "gelu":
        return nn.GELU()
    if given not in _SIMPLE:
        known = [*_SIMPLE, "softmax", "hard_sigmoid", "leaky_relu", "gelu", "linear"]
        raise ModelError(
            f"{layer}: there is no activation {given!r} here.{did_you_mean(str(given), known)}\nThere are {', '.join(sorted(known))}."
        )
    return _SIMPLE[given]()


__all__ = ["HardSigmoid", "activation", "relu"]
