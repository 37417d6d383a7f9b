"""The layers of ``torch.nn`` that a stored graph may have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.graph.values import check_value
from firesteel.specs import check_options, did_you_mean

_TYPES = """
Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Linear Embedding
BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d RMSNorm
RNN LSTM GRU MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d
AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout
ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Hardswish Hardsigmoid Hardtanh Softplus LogSigmoid
Flatten
"""
TYPES = frozenset(_TYPES.split())
"""Names in ``torch.nn``."""
RECURRENT = ("RNN", "LSTM", "GRU")
_MOST_STACKED = 256
"""Layers in one recurrent layer: each costs time before any size is looked at."""
_NOT_OPTIONS = {"self", "mode", "device", "dtype", "max_norm", "args", "kwargs"}


def make_layer(type_name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a layer from what is stored.

    Raises:
        ModelError: if it is none of :data:`TYPES`, or its options are wrong.
    """
    if type_name not in TYPES:
        raise ModelError(f"the layer {type_name[:60]!r} is none that a graph may have.{did_you_mean(type_name, TYPES)}")
    check_options(f"layer {type_name}", options, _allowed(type_name))
    for name, value in options.items():
        check_value(value, f"option {name} of a {type_name}")
    stacked = options.get("num_layers", 1)
    if not isinstance(stacked, int) or not 1 <= stacked <= _MOST_STACKED:
        raise ModelError(f"a {type_name} of {stacked} layers is beyond what a graph may have ({_MOST_STACKED}).")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    try:
        layer: nn.Module = getattr(nn, type_name)(**values)
    except Exception as error:  # whatever torch thinks of these sizes
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ModelError(f"the layer {type_name}({shown[:200]}) cannot be made: {str(error)[:200]}") from error
    return layer


@cache
def _allowed(type_name: str) -> tuple[str, ...]:
    names = {"nonlinearity"} if type_name == "RNN" else set()  # which it takes out of its **kwargs
    made = getattr(nn, type_name)
    for each in made.__mro__:  # LSTM(*args, **kwargs) passes them on
        if "__init__" in vars(each):
            parameters = inspect.signature(each.__init__).parameters.values()
            names |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                break
    return tuple(sorted(name for name in names - _NOT_OPTIONS if not name.startswith("_")))


__all__ = ["RECURRENT", "TYPES", "make_layer"]
