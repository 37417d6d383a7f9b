"""What Keras writes: a configuration in JSON, and weights in HDF5; as one ``.h5``, as a zip ``.keras``, or as two files.

Read without Keras: version 3 refuses many files of version 2 (names with a slash, old options), and would run what a
Lambda layer holds. HDF5 can lead to other files of the machine; such links are refused, and sizes are checked first.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from firesteel.errors import FormatError, ModelError, ResourceError
from firesteel.storage import Place

MAX_CONFIG_BYTES = 64 << 20
MAX_EXPANSION = 100
"""Bytes out of a byte in: weights do not compress so well, bombs do."""
_FREE_BYTES = 1 << 20


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
        """How pictures lie: as the first layer that says so has them."""
        return '"data_format": "channels_first"' not in json.dumps(self.config)


class WeightStore:
    """Weights of an HDF5 file, by layer; read when they are asked for.

    Args:
        root: the group that holds them.
        where: name of the file, for messages.
    """

    def __init__(self, root: Any, where: str):
        self._root = root
        self.where = where
        self.by_path = "layers" in root and "layer_names" not in root.attrs  # as Keras 3 lays them
        self.taken: set[str] = set()
        self.names = self._dataset_names()

    def named(self, layer: str) -> dict[str, str]:
        """Weights of a layer at the top of the model, in old files: variable's name in the layer -> place in the file."""
        if self.by_path or layer not in self._root:
            return {}
        group = self._root[layer]
        names = [_text(name) for name in group.attrs.get("weight_names", ())]
        return {name.removesuffix(":0"): f"{layer}/{name}" for name in names}

    def at(self, path: str) -> list[str]:
        """Places of the weights of a layer, in new files, in their order."""
        group = f"{path}/vars"
        found = [name for name in self.names if name.startswith(f"{group}/")]
        return sorted(found, key=lambda name: (len(name), name))

    def array(self, place: str) -> np.ndarray:
        """The values of a weight, float32.

        Raises:
            FormatError: if it is none, lies in another file, or is far larger than what lies in this one.
        """
        self.taken.add(place)
        found = self._dataset(place)
        values = np.empty(found.shape, np.float32)
        if values.size:
            with _answering(f"weight {place} in {self.where}"):
                found.read_direct(values)
        return values

    def shape(self, place: str) -> tuple[int, ...]:
        """Of a weight; nothing is read."""
        return tuple(int(size) for size in self._dataset(place).shape)

    def unused(self) -> list[str]:
        """Places of weights that nobody has asked for."""
        return [name for name in self.names if name not in self.taken]

    def _dataset(self, place: str) -> Any:
        import h5py

        with _answering(f"weight {place} in {self.where}"):
            found = self._root[place]
            if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f":
                raise FormatError(f"{self.where}: {place} is no array of floating point numbers.")
            if found.external or found.is_virtual:
                raise FormatError(f"{self.where}: {place} lies in another file, which is not followed.")
            if found.nbytes > MAX_EXPANSION * found.id.get_storage_size() + _FREE_BYTES or found.nbytes > 1 << 40:
                raise FormatError(
                    f"{self.where}: {place} announces {found.nbytes:,} bytes and has {found.id.get_storage_size():,}."
                )
        return found

    def _dataset_names(self) -> list[str]:
        """All arrays of floating point numbers; links to other files are not followed, and are an error."""
        import h5py

        found: list[str] = []
        with _answering(f"the weights of {self.where}"):
            for name, group in _walk(self._root, ""):
                link = group.get(name.rpartition("/")[2], getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise FormatError(f"{self.where}: {name} leads to another file, which is not followed.")
                item = group.get(name.rpartition("/")[2])
                if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                    found.append(name)
        return found


def _walk(group: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Names of all items and the group that each is in; hard and soft links lead on, and in circles not for ever."""
    import h5py

    if depth > 32:
        raise FormatError("groups within groups, more than 32 deep")
    for name in group:
        yield f"{prefix}{name}", group
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group.get(name), h5py.Group):
            yield from _walk(group[name], f"{prefix}{name}/", depth + 1)


@contextmanager
def open_keras(model: Place, weights: Place | None) -> Iterator[KerasFile]:
    """Open a model.

    Args:
        model: ``.h5``, ``.keras`` or ``.json``.
        weights: ``.h5`` of weights that belongs to a ``.json``.

    Raises:
        FormatError: if it is damaged.
        ModelError: if it holds weights alone, or a ``.json`` comes alone.
        ResourceError: if h5py is missing.
    """
    data = model.read_bytes()
    if data.startswith(b"PK"):
        with _opened_zip(data, model.name) as found:
            yield found
    elif data.startswith(b"\x89HDF"):
        with _opened_h5(data, model.name) as root:
            yield _of_h5(root, model.name)
    elif data[:64].lstrip()[:1] == b"{":
        if weights is None:
            raise ModelError(
                f"{model.name} describes a network without weights. Give the file of its weights too (--weights FILE.h5)."
            )
        with _opened_h5(weights.read_bytes(), weights.name) as root:
            config = _json(data, model.name)
            yield KerasFile(config, str(config.get("keras_version", "")), WeightStore(_group_of(root), weights.name))
    else:
        raise FormatError(f"{model.name} is no model of Keras: neither HDF5, nor a zip, nor JSON.")


def _of_h5(root: Any, where: str) -> KerasFile:
    if "model_config" not in root.attrs:
        raise ModelError(
            f"{where} holds weights without the network. Give the network's JSON as the model and this file as its weights"
            " (--weights), or save the whole model (model.save)."
        )
    with _answering(f"the configuration in {where}"):
        text, version = _text(root.attrs["model_config"]), _text(root.attrs.get("keras_version", b""))
    notes = ("the optimizer's state is not read",) if "optimizer_weights" in root else ()
    return KerasFile(_json(text.encode(), where), version, WeightStore(_group_of(root), where), notes)


def _group_of(root: Any) -> Any:
    return root.get("model_weights", root)


@contextmanager
def _opened_zip(data: bytes, where: str) -> Iterator[KerasFile]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        config, weights = _member(archive, "config.json", where), _member(archive, "model.weights.h5", where)
        metadata = _member(archive, "metadata.json", where) if "metadata.json" in archive.namelist() else b"{}"
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{where} is a damaged .keras: {error}.") from error
    version = str(_json(metadata, f"{where}: metadata.json").get("keras_version", "3"))
    with _opened_h5(weights, f"{where}: model.weights.h5") as root:
        yield KerasFile(_json(config, f"{where}: config.json"), version, WeightStore(root, where))


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
def _opened_h5(data: bytes, where: str) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise ResourceError("files of Keras need the package h5py: pip install 'firesteel[keras]'") from error
    if not data.startswith(b"\x89HDF"):
        raise FormatError(f"{where} is no HDF5 file.")
    try:
        file = h5py.File(io.BytesIO(data), "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FormatError(f"{where} is a damaged HDF5 file: {_first_line(error)}.") from error
    with file:
        yield file


@contextmanager
def _answering(what: str) -> Iterator[None]:
    """h5py answers damaged files with many kinds of exceptions."""
    try:
        yield
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{what} cannot be read: {_first_line(error)}.") from error


def _json(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_CONFIG_BYTES:
        raise FormatError(
            f"{where}: a configuration of {len(data):,} bytes; more than {MAX_CONFIG_BYTES:,} are not read."
        )
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no sound JSON: {_first_line(error)}.") from error
    if not isinstance(found, dict):
        raise FormatError(f"{where} is no configuration of a model: a mapping is needed.")
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


__all__ = ["KerasFile", "WeightStore", "open_keras"]
