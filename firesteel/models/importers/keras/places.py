"""Where the variables of a layer of Keras are in the file of its weights."""

from __future__ import annotations

from firesteel.models.importers.keras.config import KerasLayer
from firesteel.models.importers.keras.files import WeightStore


def named_places(layer: KerasLayer, store: WeightStore) -> dict[str, str]:
    """Variable of a layer -> its place in the file."""
    if store.by_path:
        return _numbered_places(layer, store)
    top, _, inner = layer.name.partition("/")
    found = store.named(layer.name) or store.named(top)
    if not store.named(layer.name) and inner:
        # Weights of a model within the model all lie under its name.
        found = {name: place for name, place in found.items() if f"/{inner.rpartition('/')[2]}/" in f"/{name}"}
    named = {_variable(name): place for name, place in found.items()}
    if layer.kind.startswith("Depthwise") and "kernel" in named:  # as Keras 3 calls it
        named["depthwise_kernel"] = named["kernel"]
    return named


def _variable(name: str) -> str:
    """``lstm/forward_lstm/lstm_cell/kernel`` -> ``forward_kernel``."""
    *groups, last = name.split("/")
    last = last.removesuffix(":0")
    direction = next(
        (side for side in ("forward_", "backward_") if any(group.startswith(side) for group in groups)), ""
    )
    return direction + last


_VARIABLES = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "PReLU": ("alpha",),
    "LSTM": ("kernel", "recurrent_kernel", "bias"),
    "GRU": ("kernel", "recurrent_kernel", "bias"),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "DepthwiseConv1D": ("depthwise_kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
}
"""Variables in the order in which Keras makes them."""


def _numbered_places(layer: KerasLayer, store: WeightStore) -> dict[str, str]:
    if layer.kind == "Bidirectional":
        both = {}
        for side in ("forward", "backward"):
            places = store.at(f"{layer.path}/{side}_layer/cell")
            both.update({f"{side}_{name}": place for name, place in zip(_VARIABLES["LSTM"], places)})
        return both
    names = list(_VARIABLES.get(layer.kind, ("kernel", "bias")))
    for option, name in (("scale", "gamma"), ("center", "beta")):
        if name in names and not layer.get(option, True):
            names.remove(name)
    path = f"{layer.path}/cell" if layer.kind in ("LSTM", "GRU") else layer.path
    return dict(zip(names, store.at(path)))


__all__ = ["named_places"]
