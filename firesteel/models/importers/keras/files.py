"""What Keras writes: a configuration in JSON, and weights in HDF5; as one ``.h5``, as a zip ``.keras``, or as two files.

Read without Keras: version 3 refuses many files of version 2 (names with a slash, old classes), and would run what a
Lambda layer holds. HDF5 is read by :mod:`firesteel.models.importers.keras.unpacking`, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firesteel.errors import ConfigError, FormatError, ModelError, ResourceError
from firesteel.storage import Place

MAX_CONFIG_BYTES = 64 << 20
MAX_EXPANSION = 100
"""Bytes out of a byte in: weights do not compress so well, bombs do."""
_FREE_BYTES = 1 << 20
_SECONDS, _BYTES_A_SECOND = 20, 10 << 20
"""That HDF5 may take: some seconds, and more for large files."""
_PROGRAM = Path(__file__).with_name("unpacking.py")


@dataclass(frozen=True)
class KerasFile:
    """An open model.

    Attributes:
        config: of the model: ``{"class_name": ..., "config": ...}``.
        version: of Keras, as far as the file says: ``2.4.0``.
        weights: where they are.
        notes: for people.
    """

    config: dict[str, Any]
    version: str
    weights: WeightStore
    notes: tuple[str, ...] = ()

    @property
    def channels_last(self) -> bool:
        """How pictures lie: channels last, unless a layer says that they come first; all layers must agree then."""
        return '"data_format": "channels_first"' not in json.dumps(self.config)


class WeightStore:
    """Weights of an HDF5 file, by layer; mapped, and read when they are asked for.

    Args:
        index: what :mod:`firesteel.models.importers.keras.unpacking` says of them.
        values: all, one behind the other.
        where: name of the file, for messages.
    """

    def __init__(self, index: dict[str, Any], values: np.ndarray, where: str):
        self._index, self._values, self.where = index, values, where
        self.by_path = bool(index["by_path"])  # as Keras 3 lays them
        self.names = sorted(index["arrays"])
        self.taken: set[str] = set()

    def named(self, layer: str) -> dict[str, str]:
        """Weights of a layer at the top of the model, in old files: variable's name in the layer -> place in the file."""
        names = [] if self.by_path else self._index["layers"].get(layer, [])
        return {
            name.removesuffix(":0"): f"{layer}/{name}" for name in names if f"{layer}/{name}" in self._index["arrays"]
        }

    def at(self, path: str) -> list[str]:
        """Places of the weights of a layer, in new files, in their order."""
        found = [name for name in self.names if name.startswith(f"{path}/vars/")]
        return sorted(found, key=lambda name: (len(name), name))

    def shape(self, place: str) -> tuple[int, ...]:
        """Of a weight."""
        return tuple(self._index["arrays"][place][1])

    def array(self, place: str) -> np.ndarray:
        """The values of a weight: float32, a view."""
        self.taken.add(place)
        first, shape = self._index["arrays"][place]
        return self._values[first // 4 : first // 4 + math.prod(shape)].reshape(shape)

    def unused(self) -> list[str]:
        """Places of weights that nobody has asked for."""
        return [name for name in self.names if name not in self.taken]


@contextmanager
def open_keras(model: Place, weights: Place | None) -> Iterator[KerasFile]:
    """Open a model.

    Args:
        model: ``.h5``, ``.keras`` or ``.json``.
        weights: ``.h5`` of weights that belongs to a ``.json``.

    Raises:
        ConfigError: if weights are given for a model that is no JSON.
        FormatError: if it is damaged.
        ModelError: if it holds weights alone, or a ``.json`` comes alone.
        ResourceError: if h5py is missing.
    """
    with model.open() as file:
        head = file.read(64)
    is_json = head.lstrip()[:1] == b"{"
    if weights is not None and not is_json:
        raise ConfigError(f"--weights belongs to a network in JSON; {model.name} is none.")
    if head.startswith(b"PK"):
        with _opened_zip(model.read_bytes(), model.name) as found:
            yield found
    elif head.startswith(b"\x89HDF"):
        with _local(model) as path, _unpacked(path, model.name) as (index, values):
            yield _of_h5(index, values, model.name)
    elif is_json:
        if weights is None:
            raise ModelError(
                f"{model.name} describes a network without weights. Give the file of its weights too (--weights FILE.h5)."
            )
        config = _json(model.read_bytes(), model.name)
        with _local(weights) as path, _unpacked(path, weights.name) as (index, values):
            version = str(config.get("keras_version", ""))
            yield KerasFile(config, version, WeightStore(index, values, weights.name))
    else:
        raise FormatError(f"{model.name} is no model of Keras: neither HDF5, nor a zip, nor JSON.")


def _of_h5(index: dict[str, Any], values: np.ndarray, where: str) -> KerasFile:
    if index["config"] is None:
        raise ModelError(
            f"{where} holds weights without the network. Give the network's JSON as the model and this file as its weights"
            " (--weights), or save the whole model (model.save)."
        )
    notes = ("the optimizer's state is not read",) if index["optimizer"] else ()
    config = _json(index["config"].encode("utf-8", "backslashreplace"), where)
    return KerasFile(config, index["version"], WeightStore(index, values, where), notes)


@contextmanager
def _opened_zip(data: bytes, where: str) -> Iterator[KerasFile]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        config, weights = _member(archive, "config.json", where), _member(archive, "model.weights.h5", where)
        metadata = _member(archive, "metadata.json", where) if "metadata.json" in archive.namelist() else b"{}"
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{where} is a damaged .keras: {error}.") from error
    version = str(_json(metadata, f"{where}: metadata.json").get("keras_version", "3"))
    with tempfile.TemporaryDirectory(prefix="firesteel-keras-") as folder:
        path = os.path.join(folder, "model.weights.h5")
        Path(path).write_bytes(weights)
        with _unpacked(path, f"{where}: model.weights.h5") as (index, values):
            yield KerasFile(_json(config, f"{where}: config.json"), version, WeightStore(index, values, where))


def _member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    if name not in archive.namelist():
        raise FormatError(f"{where} is no .keras: there is no {name} in it.")
    info = archive.getinfo(name)
    if info.file_size > MAX_EXPANSION * info.compress_size + _FREE_BYTES:
        raise FormatError(f"{where}: {name} announces {info.file_size:,} bytes out of {info.compress_size:,}.")
    if info.flag_bits & 1:
        raise FormatError(f"{where}: {name} is encrypted.")
    with archive.open(name) as file:
        return file.read(info.file_size)


@contextmanager
def _local(place: Place) -> Iterator[str]:
    """The path of a file; of one elsewhere that of a copy."""
    if place.is_local:
        yield place.uri
        return
    with tempfile.TemporaryDirectory(prefix="firesteel-keras-") as folder:
        path = os.path.join(folder, "weights.h5")
        Path(path).write_bytes(place.read_bytes())
        yield path


@contextmanager
def _unpacked(path: str, where: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """What is in an HDF5 file, and all its values; they are gone afterwards.

    Raises:
        FormatError: if it is damaged, or reading it takes too long or too much memory.
        ResourceError: if h5py is missing.
    """
    if importlib.util.find_spec("h5py") is None:
        raise ResourceError("files of Keras need the package h5py: pip install 'firesteel[keras]'")
    with open(path, "rb") as file:
        if file.read(4) != b"\x89HDF":
            raise FormatError(f"{where} is no HDF5 file.")
    with tempfile.TemporaryDirectory(prefix="firesteel-keras-") as folder:
        _unpack(path, folder, where)
        index = json.loads(Path(folder, "index.json").read_text())
        values_path = os.path.join(folder, "arrays.f32")
        empty = os.path.getsize(values_path) == 0
        values: np.ndarray = np.zeros(0, np.float32) if empty else np.memmap(values_path, np.float32, "c")
        yield index, values


def _unpack(path: str, folder: str, where: str) -> None:
    size = os.path.getsize(path)
    seconds = _SECONDS + size // _BYTES_A_SECOND
    command = [sys.executable, "-c", _PROGRAM.read_text(), path, folder, str(1024 + 4 * (size >> 20))]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"{where} is a damaged HDF5 file: reading it did not end within {seconds} s.") from error
    if done.returncode == 3:
        raise FormatError(f"{where} is a damaged HDF5 file, or no model: {done.stderr.strip()[:300]}.")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise FormatError(f"{where} is a damaged HDF5 file: its reader ended with {last[0][:200]}.")


def _json(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_CONFIG_BYTES:
        raise FormatError(
            f"{where}: a configuration of {len(data):,} bytes; more than {MAX_CONFIG_BYTES:,} are not read."
        )
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no sound JSON: {' '.join(str(error).split())[:200]}.") from error
    if not isinstance(found, dict):
        raise FormatError(f"{where} is no configuration of a model: a mapping is needed.")
    return found


__all__ = ["KerasFile", "WeightStore", "open_keras"]
