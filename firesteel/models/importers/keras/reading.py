"""Keras's files as networks of torch, channels first."""

from __future__ import annotations

import math

from torch import nn

from firesteel.errors import ModelError
from firesteel.models.importers.base import Imported, Matching
from firesteel.models.importers.keras.assembly import assemble
from firesteel.models.importers.keras.config import KerasModel, read_config
from firesteel.models.importers.keras.files import KerasFile, open_keras
from firesteel.models.importers.weights import load_into
from firesteel.models.shapes import MOST_ELEMENTS, show_shape
from firesteel.storage import Place


def read_keras(
    model: Place,
    *,
    weights: Place | None = None,
    into: nn.Module | None = None,
    match_all: bool = True,
    input_shape: tuple[int, ...] | None = None,
) -> Imported:
    """Read a network of Keras 2 or 3. Neither Keras nor TensorFlow is needed, and nothing in the file is run.

    Layers become modules of torch under their names (``fire2/squeeze1x1`` is ``fire2.squeeze1x1``), channels first, so that the
    network trains as any other. Kernels are turned; a dense layer behind a Flatten has its inputs put in the order of
    channels first; padding ``same`` that is not the same on both sides becomes a layer of its own.

    Args:
        model: ``.h5`` or ``.keras`` of a whole model, or ``.json`` of a network.
        weights: ``.h5`` with the weights of a ``.json``.
        into: a network that gets the weights by the names of layers, in place; None builds the file's.
        match_all: see :func:`firesteel.models.importers.weights.load_into`; a network that is built must find all its weights
            in the file unless this is false.
        input_shape: of one row, channels first: fills in what the file leaves open; another shape of as many values is put
            in the file's shape at the front.

    Raises:
        FormatError: if a file is damaged.
        ModelError: if there are layers that cannot be read, code (Lambda), or weights that do not fit.
        ResourceError: if h5py is missing.
        StorageError: if a file cannot be read.
    """
    with open_keras(model, weights) as file:
        found = _imported(file, model.name, input_shape, match_all=match_all or into is not None)
    if into is None:
        return found
    matching = load_into(into, found.network.state_dict(), match_all=match_all)
    changes = {name: change for name, change in found.matching.reshaped.items() if name in matching.matched}
    matching = Matching(
        matching.matched, matching.initial, matching.unused, {**changes, **matching.reshaped}, matching.notes
    )
    return Imported(into.eval(), found.input_shape, matching, notes=found.notes)


def _imported(file: KerasFile, where: str, input_shape: tuple[int, ...] | None, *, match_all: bool) -> Imported:
    model = read_config(file.config, where)
    version = int(file.version[0]) if file.version[:1].isdigit() else 2
    notes: list[str] = []
    network, shape, out, matching = assemble(
        file, model, _keras_shape(model, input_shape, file), version, notes, match_all=match_all, given=input_shape
    )
    if len(out) > 1 and math.prod(out[1:]) == 1:
        network, out = nn.Sequential(network, nn.Flatten(1)), out[:1]
    if len(out) != 1:
        raise ModelError(f"{where}: the network gives {show_shape(out)} for a row; a number for each class is needed.")
    return Imported(network.eval(), shape, matching, notes=(*file.notes, *notes))


def _keras_shape(model: KerasModel, given: tuple[int, ...] | None, file: KerasFile) -> tuple[int, ...]:
    """Of one input row, as Keras has it; sizes that the file leaves open from what the caller gives."""
    declared = model.shape
    last = file.channels_last
    if declared is None:
        if given is None:
            raise ModelError(
                "the file does not say the shape of its input. Give that of one row, channels first (--input-shape 3x32x32)."
            )
        declared = (None,) * len(given)
    if None in declared:
        if given is None or len(given) != len(declared):
            shown = show_shape(declared)
            raise ModelError(
                f"the file leaves the size of its input open ({shown}). Give the shape of one row, channels first (--input-shape)."
            )
        theirs = (*given[1:], given[0]) if last and len(given) >= 3 else given
        declared = tuple(size if size is not None else other for size, other in zip(declared, theirs))
    shape = tuple(int(size) for size in declared if size is not None)
    if any(size <= 0 for size in shape) or not 1 <= len(shape) <= 4 or math.prod(shape) > MOST_ELEMENTS:
        raise ModelError(f"the input of the network cannot have the shape {shape}.")
    return shape


__all__ = ["read_keras"]
