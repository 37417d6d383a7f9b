"""Weights out of files that torch has written: state dicts old and new, checkpoints, whole modules, TorchScript, safetensors.

Formats: https://docs.pytorch.org/docs/stable/notes/serialization.html and https://github.com/huggingface/safetensors. Tensors are
views of the file, so that it is in memory once.
"""

from __future__ import annotations

import io
import json
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firesteel.errors import FiresteelError, FormatError, ModelError
from firesteel.models.importers.torch_pickle import Inert, Storage, TensorPlace, read_pickle
from firesteel.storage import Place

NESTS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params")
"""Keys under which training scripts keep the state dict in a checkpoint."""
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MOST_PICKLE = 64 << 20
_DEPTH = 64


_SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        tensors: name -> value; views of the file.
        notes: where they were found, a line each.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def read_weights(place: Place) -> Weights:
    """The tensors of a file by name, whichever of torch's formats it has.

    Raises:
        FormatError: if it is of none, cut, or announces more than it holds.
        ModelError: if it holds no tensors under names.
    """
    buffer = _buffer(place)
    head = bytes(buffer[:20])
    try:
        if head.startswith(b"PK\x03\x04"):
            weights = _read_archive(buffer)
        elif head.startswith(_LEGACY):
            weights = _read_legacy(buffer)
        elif head[8:9] == b"{" and len(head) > 9:
            weights = _read_safetensors(buffer)
        else:
            raise FormatError(
                "it is no file of torch.save, TorchScript or safetensors (torch's oldest, before 2017, are not read)"
            )
    except (
        FiresteelError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        ValueError,
        RuntimeError,
        EOFError,
        KeyError,
    ) as error:
        kind = ModelError if isinstance(error, ModelError) else FormatError
        raise kind(f"{place} cannot be read: {error}") from error
    if not weights.tensors:
        raise ModelError(f"{place} holds no tensors under names.")
    return weights


def num_outputs(tensors: Mapping[str, Tensor]) -> int | None:
    """The outputs of the last layer with weights: the classes, in most networks."""
    return next((int(tensor.shape[0]) for tensor in reversed(list(tensors.values())) if tensor.dim() >= 2), None)


def _buffer(place: Place) -> memoryview:
    """The bytes of a file: of a local one not read yet, and private to this process."""
    if not place.is_local:
        return memoryview(bytearray(place.read_bytes()))
    with place.open() as stream:
        if not place.size():
            raise FormatError(f"{place} is empty.")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))


def _read_safetensors(buffer: memoryview) -> Weights:
    (length,) = struct.unpack("<Q", buffer[:8])
    if length > min(len(buffer) - 8, _MOST_PICKLE):
        raise FormatError("its header is longer than the file")
    try:
        header = json.loads(bytes(buffer[8 : 8 + length]))
        entries = {name: value for name, value in header.items() if name != "__metadata__"}
        data = buffer[8 + length :]
        tensors = {}
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= len(data):
                raise FormatError(f"tensor {name[:80]!r} lies beyond its end")
            dtype = _SAFETENSORS[entry["dtype"]]
            shape = tuple(entry["shape"])
            numbers = _numbers(data[begin:end], dtype, (end - begin) // dtype.itemsize)
            if any(size < 0 for size in shape) or torch.Size(shape).numel() * dtype.itemsize != end - begin:
                raise FormatError(f"tensor {name[:80]!r} of shape {shape} does not fill its {end - begin} bytes")
            tensors[name] = numbers.reshape(shape)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, FiresteelError):
            raise
        raise FormatError(f"its header is damaged ({str(error)[:80]})") from error
    return Weights(tensors)


# -- zip archives: torch since 1.6, and TorchScript --------------------------------------------------------------------------


def _read_archive(buffer: memoryview) -> Weights:
    with zipfile.ZipFile(_Stream(buffer)) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.count("/") <= 1 and name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise FormatError(f"it is a zip archive, and none of torch's: it has {len(pickles)} data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if sum(info.file_size for name, info in entries.items() if "/code/" not in name) > len(buffer):
            raise FormatError("its parts are larger than the file")
        if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder").strip() == b"big":
            raise FormatError("it was written by a big-endian machine")
        if entries[pickles[0]].file_size > _MOST_PICKLE:
            raise FormatError("its list of objects is too long")
        found, storages = read_pickle(io.BytesIO(archive.read(pickles[0])))
        is_script = any(name.startswith(f"{folder}code/") for name in entries)
        data = {key: _part(buffer, entries.get(f"{folder}data/{key}")) for key in storages}
    weights = _weights(found, data)
    note = ("a TorchScript archive: its tensors were taken, its code was not run",) if is_script else ()
    return Weights(weights.tensors, (*note, *weights.notes))


def _part(buffer: memoryview, info: zipfile.ZipInfo | None) -> memoryview:
    """The bytes of a stored entry, where they lie in the file."""
    if info is None:
        raise FormatError("a storage that it names is missing")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise FormatError("its tensors are compressed, which torch does not do")
    header = bytes(buffer[info.header_offset : info.header_offset + 30])
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise FormatError("an entry of the archive does not begin where it should")
    name, extra = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > len(buffer):
        raise FormatError("an entry of the archive lies beyond its end")
    return buffer[start : start + info.file_size]


class _Stream(io.RawIOBase):
    """A buffer as a file, without a copy."""

    def __init__(self, buffer: memoryview):
        self._buffer, self._at = buffer, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._buffer))[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: Any) -> int:
        part = self._buffer[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)


# -- torch before 1.6 ------------------------------------------------------------------------------------------------------


def _read_legacy(buffer: memoryview) -> Weights:
    """Four pickles (magic number, version, machine, objects), the keys of the storages, and these one after the other."""
    stream = io.BytesIO(bytes(buffer[: min(len(buffer), _MOST_PICKLE)]))
    for _ in range(3):
        machine, _none = read_pickle(stream)
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise FormatError("it was written by a big-endian machine")
    found, storages = read_pickle(stream)
    keys, _none = read_pickle(stream)
    if not isinstance(keys, list):
        raise FormatError("it has no list of storages")
    at, data = stream.tell(), {}
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise FormatError("it has a storage that nothing names")
        if at + 8 > len(buffer):
            raise FormatError("it is cut")
        (count,) = struct.unpack("<q", buffer[at : at + 8])
        size = count * storages[key].dtype.itemsize
        if count < 0 or at + 8 + size > len(buffer):
            raise FormatError(f"it is cut, or announces more than it holds: {count} numbers")
        data[key] = buffer[at + 8 : at + 8 + size]
        at += 8 + size
    return _weights(found, data)


# -- from objects to names -------------------------------------------------------------------------------------------------


def _weights(found: Any, data: Mapping[str, memoryview]) -> Weights:
    """The tensors of the state dict that is somewhere in an object."""
    notes = []
    if isinstance(found, dict) and not any(isinstance(value, TensorPlace) for value in found.values()):
        inner = next((key for key in NESTS if key in found and any(_named(found[key]))), None)
        if inner is not None:
            found = found[inner]
            notes.append(f"the weights were found under {inner!r}")
    if isinstance(found, Inert):
        notes.append(f"a whole object of {found.name} was saved: its tensors were taken, its code was not run")
    storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def read(place: TensorPlace) -> Tensor:
        storage = place.storage
        if storage.key not in data:
            raise FormatError("a storage that it names is missing")
        key = (storage.key, storage.dtype)
        if key not in storages:
            storages[key] = _storage(storage, data[storage.key])
        return place.read(storages[key])

    return Weights({name: read(place) for name, place in _named(found)}, tuple(notes))


def _storage(storage: Storage, part: memoryview) -> Tensor:
    count = len(part) // storage.dtype.itemsize
    if storage.numel > count and storage.dtype != torch.uint8:
        raise FormatError(f"it is cut: a storage of {storage.numel} numbers has {count}")
    return _numbers(part, storage.dtype, count)


def _numbers(part: memoryview, dtype: torch.dtype, count: int) -> Tensor:
    return torch.frombuffer(part, dtype=dtype, count=count) if count else torch.zeros(0, dtype=dtype)


def _named(found: Any) -> Iterator[tuple[str, TensorPlace]]:
    """Names and tensors of a state dict, of nested dictionaries, and of modules as they are pickled."""
    return _walk(found, "", 0, set())


def _walk(found: Any, prefix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, TensorPlace]]:
    """Each object once: a few bytes can hold each other in more ways than can be counted."""
    if isinstance(found, TensorPlace):
        yield prefix.removesuffix("."), found
        return
    if depth > _DEPTH or id(found) in seen:
        return
    seen.add(id(found))
    for key, value in _entries(found):
        if isinstance(key, str | int) and isinstance(value, TensorPlace | Inert | dict):
            yield from _walk(value, f"{prefix}{key}.", depth + 1, seen)


def _entries(found: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(found, Inert):
        state = found.state if isinstance(found.state, dict) else {}
        parts = [state.get(part) for part in ("_parameters", "_buffers", "_modules")]
        if any(isinstance(part, dict) for part in parts):
            for part in parts:
                yield from part.items() if isinstance(part, dict) else ()
        else:
            yield from state.items()
            yield from (found.entries or {}).items()
    elif isinstance(found, dict):
        yield from found.items()


__all__ = ["Weights", "num_outputs", "read_weights"]
