"""Variables of a SavedModel: ``variables.index``, a sorted table of names and places, and the files that hold the values.

Source: tensorflow/core/util/tensor_bundle and tensorflow/core/lib/io/table_format.txt (the table of LevelDB)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firesteel.errors import FormatError
from firesteel.models.importers.tensorflow.tensors import DTYPES, Handler, fields, read_shape
from firesteel.models.importers.wire_format import Cursor, Span, map_file
from firesteel.storage import Place

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
MAX_ENTRIES = 1_000_000


@dataclass(frozen=True)
class _Entry:
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


class VariableStore:
    """Values by their names in the checkpoint; mapped, and read when they are asked for.

    Args:
        folder: ``variables`` of a SavedModel; one that is not there has no values.

    Raises:
        FormatError: if the table is damaged.
    """

    def __init__(self, folder: Place):
        self._folder = folder
        self._files: dict[int, memoryview] = {}
        self._shards = 1
        self._entries: dict[str, _Entry] = {}
        index = folder / "variables.index"
        if index.exists():
            for key, value in _table(map_file(index)):
                self._add(key, value)

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def array(self, name: str) -> np.ndarray | None:
        """The values of a variable, a view of the file; None if there is none of a type that is read.

        Raises:
            FormatError: if its values are not where the table says.
        """
        entry = self._entries.get(name)
        dtype = None if entry is None else DTYPES.get(entry.dtype)
        if entry is None or dtype is None:
            return None
        data = self._shard(entry.shard)
        if entry.size != math.prod(entry.shape) * np.dtype(dtype).itemsize or entry.offset + entry.size > len(data):
            raise FormatError(
                f"variable {name!r} of {entry.size:,} bytes at {entry.offset:,} is not in its file of {len(data):,}"
            )
        return np.ndarray(entry.shape, dtype, data, entry.offset)

    def _shard(self, number: int) -> memoryview:
        if number not in self._files:
            place = self._folder / f"variables.data-{number:05d}-of-{self._shards:05d}"
            self._files[number] = map_file(place)
        return self._files[number]

    def _add(self, key: bytes, value: memoryview) -> None:
        found: dict[int, Any] = {}

        def keep(number: int) -> Handler:
            return lambda given: found.__setitem__(number, given)

        fields(Cursor(value), {1: keep(1), **({2: keep(2), 3: keep(3), 4: keep(4), 5: keep(5)} if key else {})})
        if not key:
            self._shards = _number(found.get(1, 1))  # of the header
            return
        shape = read_shape(found[2]) if isinstance(found.get(2), Cursor) else ()
        entry = _Entry(
            _number(found.get(1, 0)),
            tuple(size or 0 for size in shape or ()),
            *(_number(found.get(n, 0)) for n in (3, 4, 5)),
        )
        if not 0 <= entry.shard < max(self._shards, 1) or len(self._entries) >= MAX_ENTRIES:
            raise FormatError(f"the table of variables says that {key[:60]!r} lies in file {entry.shard}")
        self._entries[key.decode("utf-8", "backslashreplace")] = entry


def _number(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise FormatError("variables.index: a size or a place is none")
    return value


def _table(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a table, in their order."""
    if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise FormatError("variables.index is no table of variables")
    footer = Cursor(data, Span(len(data) - _FOOTER_BYTES, len(data) - 8))
    footer.varint(), footer.varint()  # where its table of other tables is
    for _, handle in _block(data, footer.varint(), footer.varint()):
        cursor = Cursor(handle)
        yield from _block(data, cursor.varint(), cursor.varint())


def _block(data: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Entries of a block: each key has a part in common with the one before it."""
    if offset + size + 5 > len(data) or size < 4:
        raise FormatError("variables.index: a block lies outside of the file")
    if data[offset + size] != 0:
        raise FormatError("variables.index is compressed, which TensorFlow does not do")
    restarts = struct.unpack("<I", data[offset + size - 4 : offset + size])[0]
    if 4 * restarts + 4 > size:
        raise FormatError("variables.index: a block is damaged")
    cursor = Cursor(data, Span(offset, offset + size - 4 - 4 * restarts))
    key = b""
    while cursor:
        cursor.budget.take()
        common, own, length = cursor.varint(), cursor.varint(), cursor.varint()
        start = cursor.position
        if common > len(key) or own + length > cursor.end - start:
            raise FormatError("variables.index: an entry is damaged")
        key = key[:common] + bytes(data[start : start + own])
        yield key, data[start + own : start + own + length]
        cursor.position = start + own + length


__all__ = ["VariableStore"]
