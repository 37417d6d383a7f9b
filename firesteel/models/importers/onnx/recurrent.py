"""``LSTM``, ``GRU`` and ``RNN`` of ONNX as layers of ``torch.nn``."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from firesteel.models.importers.onnx.node import Call, Node, Operator

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where torch's gates stand in ONNX: iofc -> ifgo; zrh -> rzn."""
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def _recurrent(kind: str) -> Operator:
    def make(node: Node) -> Call:
        _check(node, kind)
        w, r = node.needed_constant(1, "weight"), node.needed_constant(2, "recurrence weight")
        b = node.constant(3)
        hidden, gates = r.shape[2], len(_GATES[kind])
        if w.ndim != 3 or w.shape[1] != gates * hidden or w.shape[0] not in (1, 2):
            raise node.refusal(f"has weights of shape {w.shape} for {hidden} hidden values")
        layer: Any = getattr(nn, kind)(
            w.shape[2], hidden, bias=b is not None, bidirectional=w.shape[0] == 2, device="meta"
        )
        weights = {}
        for direction, suffix in enumerate(("", "_reverse")[: w.shape[0]]):
            parts = {"weight_ih": (1, w[direction]), "weight_hh": (2, r[direction])}
            if b is not None:
                halves = np.split(b[direction], 2)
                parts |= {"bias_ih": (3, halves[0]), "bias_hh": (3, halves[1])}
            for name, (number, value) in parts.items():
                change = "gates reordered" if gates > 1 else ""
                weights[f"{name}_l0{suffix}"] = (node.inputs[number], _reordered(value, kind), change)
        return Call(_Run(layer), [0, *(number for number in (5, 6) if node.has(number))], layer, weights)

    return make


class _Run(nn.Module):
    """A layer with the results that ONNX has: (steps, directions, B, hidden), then the last states."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        start = () if not states else (tuple(states),) if len(states) > 1 else (states[0],)
        outputs, final = self.layer(features, *start)
        directions = 2 if self.layer.bidirectional else 1
        outputs = outputs.unflatten(-1, (directions, -1)).transpose(1, 2)
        return (outputs, *final) if isinstance(final, tuple) else (outputs, final)


def _reordered(value: np.ndarray, kind: str) -> np.ndarray:
    parts = np.split(value, len(_GATES[kind]))
    return np.concatenate([parts[number] for number in _GATES[kind]])


def _check(node: Node, kind: str) -> None:
    if node.get("direction", "forward") not in ("forward", "bidirectional") or node.get("layout", 0):
        raise node.refusal("runs backwards only or has layout 1, which is not supported")
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    plain = _ACTIVATIONS[kind] * directions
    if list(node.get("activations", plain)) != plain or "clip" in node.attributes:
        raise node.refusal("has activations of its own or clips, which is not supported")
    if node.has(4) or node.has(7):
        raise node.refusal("has lengths of sequences or peepholes, which are not supported")
    if kind == "LSTM" and node.has(5) != node.has(6):
        raise node.refusal("has one of two initial states")
    if kind == "GRU" and not node.get("linear_before_reset", 0):
        raise node.refusal(
            "multiplies by the reset gate before the matrix (linear_before_reset 0); torch's GRU does not"
        )


OPERATORS: dict[str, Operator] = {kind: _recurrent(kind) for kind in ("LSTM", "GRU", "RNN")}
