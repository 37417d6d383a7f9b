"""What layers of Keras have in common: dimensions, padding, activations, sequences."""

from __future__ import annotations

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers import modules as shared
from firesteel.models.importers import windows
from firesteel.models.importers.keras.activations import activation
from firesteel.models.importers.keras.pieces import Call, Piece, Source

SPATIAL = {"1D": 1, "2D": 2, "3D": 3}
"""Endings of names of layers, and the axes that their windows go over."""


def dimensions(call: Call) -> int:
    """Axes that a layer's windows go over, from its name."""
    count = next(count for ending, count in SPATIAL.items() if ending in call.layer.kind)
    call.needs(count + 1)
    given = call.layer.get("data_format", "channels_last")
    if given != ("channels_last" if call.channels_last else "channels_first"):
        raise ModelError(f"{call.layer}: data_format {given} differs from that of the network's other layers.")
    return count


def sequence_first(call: Call, pieces: list[Piece]) -> list[Piece]:
    """Layers over sequences want (B, C, T), and values are (B, T, C)."""
    if len(call.shape) != 2 or not call.channels_last:
        return pieces
    return [
        Piece("to_channels_first", shared.Permute((0, 2, 1))),
        *pieces,
        Piece("to_channels_last", shared.Permute((0, 2, 1))),
    ]


def channels_and_sizes(call: Call) -> tuple[int, tuple[int, ...]]:
    """Channels of a row, and the sizes of its other axes."""
    if len(call.shape) == 2 and call.channels_last:
        return call.shape[1], call.shape[:1]
    return call.shape[0], call.shape[1:]


def activated(call: Call, name: str = "activation") -> list[Piece]:
    """The activation that a layer has as an option; nothing if it has none."""
    module = activation(
        call.layer.get(name), str(call.layer), version=call.version, axis=1 if len(call.shape) != 2 else -1
    )
    return [] if module is None else [Piece("activation", module)]


def chain(modules: list[nn.Module], sources: dict[str, Source], at: int) -> list[Piece]:
    """Modules of which the one at ``at`` has the layer's name and weights."""
    names = {windows.Pad: "pad", windows.Crop: "crop"}
    return [
        Piece("" if number == at else names.get(type(module), "part"), module, sources if number == at else {})
        for number, module in enumerate(modules)
    ]


def padding_of(
    call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> windows.Pads:
    """Padding of a layer's windows, before and behind on each axis."""
    padding = call.choice("padding", "valid", ("valid", "same", "causal"))
    if padding == "same":
        return windows.same_padding(sizes, kernel, stride, dilation)
    if padding == "causal":
        if len(sizes) != 1:
            raise ModelError(f"{call.layer}: padding causal is for sequences.")
        return ((dilation[0] * (kernel[0] - 1), 0),)
    if any((wide - 1) * spread + 1 > size for size, wide, spread in zip(sizes, kernel, dilation)):
        raise ModelError(
            f"{call.layer}: a window of {kernel} does not fit into {sizes}. Give the size that the network was made for."
        )
    return windows.no_padding(len(sizes))
