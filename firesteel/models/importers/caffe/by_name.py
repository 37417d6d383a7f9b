"""Names of a file's layers -> names of a given network's tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.importers.caffe.values import Value, values_of
from firesteel.models.shapes import show_shape


def named_values(layers: list[Layer], network: nn.Module) -> dict[str, Value]:
    """The file's tensors under the names that the network has for them; under their own where it has none.

    Raises:
        ModelError: if a layer's name fits more than one module.
    """
    modules = {name for name, module in network.named_modules() if name}
    state: Mapping[str, Tensor] = network.state_dict()
    found: dict[str, Value] = {}
    norm: str | None = None
    for layer in layers:
        if not layer.blobs:
            continue
        path = find_module(layer.name, modules)
        if path is None and layer.type == "Scale" and norm is not None and f"{norm}.weight" in state:
            path = norm  # torch has one module for a BatchNorm and the Scale behind it
        for name, value in values_of(layer).items():
            full = f"{path or layer.name}.{name}"
            found[full] = _fitted(value, tuple(state[full].shape)) if full in state else value
        norm = path if layer.type == "BatchNorm" else None
    return found


def find_module(name: str, modules: set[str]) -> str | None:
    """The module that a layer's name means: the same, or as the last part of a longer one; None if there is none.

    Raises:
        ModelError: if there are several.
    """
    spellings = list(dict.fromkeys([name, name.replace("/", "."), name.replace("/", "_"), name.replace(".", "_")]))
    for spelling in spellings:
        if spelling in modules:
            return spelling
    for spelling in spellings:
        near = sorted(module for module in modules if module.endswith(f".{spelling}"))
        if len(near) > 1:
            raise ModelError(
                f"layer {name!r} of the file could be {near[0]} or {near[1]} of the network. Give the network's layers names of their own."
            )
        if near:
            return near[0]
    return None


def _fitted(value: Value, wanted: tuple[int, ...]) -> Value:
    """A dense layer of the file as the convolution over a whole picture that the network has, or the other way round."""
    turns = {len(value.shape), len(wanted)} == {2, 4} and value.shape[:1] == wanted[:1]
    if not turns or math.prod(value.shape) != math.prod(wanted):
        return value
    shape = value.shape

    def write(target: np.ndarray) -> None:
        value.write(target.reshape(shape))

    return replace(value, shape=wanted, write=write, change=f"{show_shape(shape)} -> {show_shape(wanted)}")


__all__ = ["find_module", "named_values"]
