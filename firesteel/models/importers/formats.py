"""Which importer reads a file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from firesteel.errors import ConfigError, StorageError
from firesteel.models.importers.base import Imported
from firesteel.specs import did_you_mean
from firesteel.storage import Place

READERS = {
    "caffe": "firesteel.models.importers.caffe:read_caffe",
    "keras": "firesteel.models.importers.keras:read_keras",
    "onnx": "firesteel.models.importers.onnx:read_onnx",
    "tensorflow": "firesteel.models.importers.tensorflow:read_tensorflow",
    "torch": "firesteel.models.importers.torch:read_torch",
    "safetensors": "firesteel.models.importers.torch:read_torch",
}
"""Format -> what reads it; imported when it is needed, for some need packages that few have."""
_ENDINGS = {
    ".caffemodel": "caffe", ".onnx": "onnx", ".h5": "keras", ".hdf5": "keras", ".keras": "keras", ".json": "keras",
    ".pb": "tensorflow", ".pt": "torch", ".pth": "torch", ".ckpt": "torch", ".bin": "torch", ".tar": "torch",
    ".safetensors": "safetensors",
}  # fmt: skip
_BEGINNINGS = {b"PK\x03\x04": "torch", b"\x80\x02": "torch", b"\x89HDF": "keras"}


def find_format(place: Place, given: str = "auto") -> str:
    """The format of a file, by its name, else by its first bytes.

    Args:
        place: a file, or the folder of a SavedModel.
        given: a format, or ``auto``.

    Raises:
        ConfigError: if there is no such format, or it cannot be told.
        StorageError: if there is no such file.
    """
    if given != "auto" and given not in READERS:
        raise ConfigError(
            f"there is no format {given!r}. There are auto, {', '.join(READERS)}.{did_you_mean(given, READERS)}"
        )
    if not place.exists():
        raise StorageError(f"there is no file {place}.")
    if given != "auto":
        return given
    if place.is_dir():
        if (place / "saved_model.pb").exists():
            return "tensorflow"
        raise ConfigError(f"{place} is a folder without saved_model.pb: give the file of the network.")
    for ending, name in _ENDINGS.items():
        if place.name.lower().endswith(ending):
            return name
    with place.open() as stream:
        head = stream.read(8)
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    raise ConfigError(
        f"cannot tell the format of {place} by its name. Say it: --format {'|'.join(READERS)}\n"
        f"Known endings: {', '.join(_ENDINGS)}, and folders of TensorFlow's SavedModel."
    )


def reader_of(name: str) -> Callable[..., Imported]:
    """The function that reads a format."""
    module, _, function = READERS[name].partition(":")
    found: Any = getattr(importlib.import_module(module), function)
    return found


__all__ = ["READERS", "find_format", "reader_of"]
