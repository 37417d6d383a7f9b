"""LSTM and GRU of Keras as torch's.

Keras orders the gates of an LSTM as torch does (input, forget, cell, output), those of a GRU not (update, reset, new; torch
has reset, update, new). It has one bias where torch has two: the second stays zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers.keras.config import KerasLayer
from firesteel.models.importers.keras.pieces import Call, Piece, Source


class Lstm(nn.LSTM):
    """nn.LSTM that gives its states alone, (B, T, N)."""

    def forward(self, input: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        found: Tensor = super().forward(input, hx)[0]
        return found


class Gru(nn.GRU):
    """nn.GRU that gives its states alone, (B, T, N)."""

    def forward(self, input: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        found: Tensor = super().forward(input, hx)[0]
        return found


class BothEnds(nn.Module):
    """The last state of the one direction and the first of the other: (B, T, 2 N) -> (B, 2 N)."""

    def __init__(self, units: int):
        super().__init__()
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        import torch

        return torch.cat([x[:, -1, : self.units], x[:, 0, self.units :]], dim=1)


def recurrent(call: Call) -> list[Piece]:
    """LSTM and GRU over (T, C)."""
    module = _module(call, call.layer, bidirectional=False)
    pieces = [Piece("flip", shared.Flip())] if call.layer.get("go_backwards", False) else []
    pieces.append(Piece("", module, _sources(call.layer, "", "")))
    return pieces if call.layer.get("return_sequences", False) else [*pieces, Piece("last", shared.Last())]


def bidirectional(call: Call) -> list[Piece]:
    """A layer and the same backwards, their states one behind the other."""
    inner = call.layer.get("layer")
    if (
        not isinstance(inner, dict)
        or inner.get("class_name") not in ("LSTM", "GRU")
        or not isinstance(inner.get("config"), dict)
    ):
        raise ModelError(f"{call.layer}: a Bidirectional of LSTM or GRU is read.")
    if call.layer.get("merge_mode", "concat") != "concat":
        raise ModelError(f"{call.layer}: merge_mode concat is read, got {call.layer.get('merge_mode')!r}.")
    layer = KerasLayer(call.layer.name, inner["class_name"], inner["config"], (), "", call.layer.path)
    if layer.get("go_backwards", False):
        raise ModelError(f"{call.layer}: go_backwards within Bidirectional is not read.")
    module = _module(call, layer, bidirectional=True)
    sources = _sources(layer, "", "forward_") | _sources(layer, "_reverse", "backward_")
    piece = Piece("", module, sources)
    if layer.get("return_sequences", False):
        return [piece]
    return [piece, Piece("ends", BothEnds(module.hidden_size))]


def _module(call: Call, layer: KerasLayer, *, bidirectional: bool) -> nn.RNNBase:
    call.needs(2)
    units = layer.get("units")
    if not isinstance(units, int) or not 1 <= units <= 1 << 16:
        raise ModelError(f"{call.layer}: units must be from 1 to 65,536, got {units!r}.")
    wanted = {"activation": "tanh", "recurrent_activation": "sigmoid", "stateful": False, "return_state": False}
    for option, value in wanted.items():
        if layer.get(option, value) != value:
            raise ModelError(f"{call.layer}: {option} {layer.get(option)!r} is not read, {value!r} is.")
    if layer.kind == "GRU" and not layer.get("reset_after", True):
        raise ModelError(f"{call.layer}: a GRU with reset_after=False (Keras 1) cannot be computed by torch.")
    kind = Lstm if layer.kind == "LSTM" else Gru
    bias = bool(layer.get("use_bias", True))
    return kind(call.shape[1], units, batch_first=True, bias=bias, bidirectional=bidirectional)


def _sources(layer: KerasLayer, suffix: str, prefix: str) -> dict[str, Source]:
    """Of the tensors of one direction."""
    gates = _swapped if layer.kind == "GRU" else _as_they_are
    change = "IG -> GI" + (", gates zrn -> rzn" if layer.kind == "GRU" else "")
    found = {
        f"weight_ih_l0{suffix}": Source((f"{prefix}kernel",), change, lambda value: gates(value).T),
        f"weight_hh_l0{suffix}": Source((f"{prefix}recurrent_kernel",), change, lambda value: gates(value).T),
    }
    if layer.get("use_bias", True):
        bias: Callable[[int], Callable[[np.ndarray], np.ndarray]] = lambda row: lambda value: _bias(gates(value), row)  # noqa: E731
        found[f"bias_ih_l0{suffix}"] = Source((f"{prefix}bias",), None, bias(0))
        found[f"bias_hh_l0{suffix}"] = Source((f"{prefix}bias",), None, bias(1))
    return found


def _bias(value: np.ndarray, row: int) -> np.ndarray:
    """One of the two biases; an LSTM has only one, which is added to the inputs."""
    if value.ndim == 2:
        return value[row]
    return value if row == 0 else np.zeros_like(value)


def _as_they_are(value: np.ndarray) -> np.ndarray:
    return value


def _swapped(value: np.ndarray) -> np.ndarray:
    update, reset, new = np.split(value, 3, axis=-1)
    return np.concatenate([reset, update, new], axis=-1)


__all__ = ["bidirectional", "recurrent"]
