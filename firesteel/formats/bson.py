"""BSON dumps: records one behind the other, each with its length in front.

A dump is what ``mongodump`` writes and what the Cdiscount challenge shipped: BSON documents without anything between
them. Documents begin with their own length, so that one pass over the lengths finds places to split a file for many
readers. Where a length is garbage, the reader looks for the next record by the key of its first field; the bytes
between are one :class:`Broken` region. A length that happens to end with a zero byte is found out too: what follows is
then no record, and what it encloses no document. Every byte of a file is in exactly one record or one broken region.

Source: https://bsonspec.org/spec.html (document ::= int32 e_list x00). Documents are decoded by pymongo's ``bson``.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any, NamedTuple

import bson
from bson.errors import BSONError

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""MongoDB's limit for one document; a longer length is taken for garbage."""

_MIN_DOCUMENT_BYTES = 5
_RESYNC_WINDOW_BYTES = 1 << 20
_READ_AHEAD_BYTES = 1 << 20
_INT32 = struct.Struct("<i")
_FIRST_FIELD = b"_id\0"
_BEFORE_FIRST_FIELD = 5  # bytes: 4 of the document's length, 1 of the field's type

# OverflowError and ValueError: dates and decimals out of range, which the C decoder passes through.
_DECODE_ERRORS = (BSONError, OverflowError, ValueError, RecursionError)


@dataclass(frozen=True)
class Chunk:
    """A run of whole records: those that begin at ``start <= position < stop`` of the file (bytes)."""

    start: int
    stop: int


class Record(NamedTuple):
    """One decoded document and where it begins (bytes)."""

    offset: int
    document: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """A region that holds no readable document.

    Attributes:
        offset: where it begins (bytes).
        size: how long it is (bytes).
        reason: what is wrong.
        head: its first bytes, at most 64.
    """

    offset: int
    size: int
    reason: str
    head: bytes


def split(file: IO[bytes], size: int, *, chunk_bytes: int) -> Iterator[Chunk]:
    """Cut a dump into chunks of about ``chunk_bytes``. Of large records only the lengths are read.

    Args:
        file: seekable, positioned anywhere.
        size: bytes of the file.
        chunk_bytes: a chunk ends at the first record boundary at or after this many bytes.
    """
    start = 0
    for begins, _, _ in _frames(file, 0, size, size, _Block(file, _READ_AHEAD_BYTES)):
        for position in begins:
            if position - start >= chunk_bytes:
                yield Chunk(start, position)
                start = position
    if start < size:
        yield Chunk(start, size)


def read(file: IO[bytes], size: int, chunk: Chunk) -> Iterator[Record | Broken]:
    """Decode the records of one chunk; what cannot be read comes as :class:`Broken`, in its place.

    Memory: records of 1 MB, or one that is larger.
    """
    block = _Block(file, _READ_AHEAD_BYTES)
    for begins, end, reason in _frames(file, chunk.start, chunk.stop, size, block):
        first = begins[0]
        if reason is not None:
            yield Broken(first, end - first, reason, bytes(block.read(first, min(end - first, 64))))
            continue
        run = block.read(first, end - first)
        try:
            documents = bson.decode_all(run)
        except _DECODE_ERRORS:  # one of them is none
            for position, stop in pairwise([*begins, end]):
                data = run[position - first : stop - first]
                item = _decoded(position, data)
                if isinstance(item, Record):
                    yield item
                else:
                    yield from _rescued(item, bytes(data))
            continue
        yield from map(Record._make, zip(begins, documents))


class _Block:
    """Bytes read ahead, so that neighbouring records cost no call of the system each, nor many of Python."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._size = file, size
        self._start, self._data, self._view = 0, b"", memoryview(b"")

    def read(self, position: int, length: int) -> memoryview:
        """``length`` bytes, fewer at the end of the file."""
        offset = position - self._start
        if not 0 <= offset <= offset + length <= len(self._data):
            self._load(position, max(length, self._size))
            offset = 0
        return self._view[offset : offset + length]

    def sound_records(self, position: int, stop: int) -> list[int]:
        """Where the records from ``position`` on begin, and last where they end, as long as they are sound.

        Each of them and the one behind it lie in the block. An empty list says nothing: a slower look is needed.
        """
        found = self._look(position, stop)
        if not found and position != self._start:
            self._load(position, self._size)
            found = self._look(position, stop)
        return found

    def _look(self, position: int, stop: int) -> list[int]:
        data, start = self._data, self._start
        offset, stop = position - start, stop - start
        found: list[int] = []
        if not 0 <= offset < len(data):
            return found
        try:
            (length,) = _INT32.unpack_from(data, offset)
            if not _MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
                return found
            while offset < stop:
                end = offset + length
                (following,) = _INT32.unpack_from(data, end)
                if not (
                    _MIN_DOCUMENT_BYTES <= following <= MAX_DOCUMENT_BYTES
                    and data[end - 1] == data[end + following - 1] == 0
                    and data.startswith(_FIRST_FIELD, end + _BEFORE_FIRST_FIELD)
                ):
                    break
                found.append(start + offset)
                offset, length = end, following
        except (struct.error, IndexError):  # beyond the block
            pass
        if found:
            found.append(start + offset)
        return found

    def _load(self, position: int, length: int) -> None:
        self._file.seek(position)
        self._start, self._data = position, self._file.read(length)
        self._view = memoryview(self._data)


def _decoded(position: int, data: bytes | memoryview) -> Record | Broken:
    try:
        return Record(position, bson.decode(data))
    except _DECODE_ERRORS as error:
        return Broken(position, len(data), f"not a BSON document: {error}", bytes(data[:64]))


def _rescued(frame: Broken, data: bytes) -> Iterator[Record | Broken]:
    """A frame that is no document, but may end with whole ones which its length has swallowed."""
    start = _whole_frames_at_the_end(data)
    yield Broken(frame.offset, start, frame.reason, frame.head[:start])
    while start < len(data):
        (length,) = _INT32.unpack_from(data, start)
        yield _decoded(frame.offset + start, data[start : start + length])
        start += length


def _whole_frames_at_the_end(data: bytes) -> int:
    """Where the first of those frames begins that lie one behind the other up to the end; else the length of the data."""
    size, file = len(data), io.BytesIO(data)
    hopeless: set[int] = set()  # positions from which frames do not lead to the end
    found = data.find(_FIRST_FIELD, 1 + _BEFORE_FIRST_FIELD)
    while found != -1:
        position = found - _BEFORE_FIRST_FIELD
        passed = []
        while position < size and position not in hopeless:
            passed.append(position)
            length, reason = _check_frame(file, position, size)
            if reason is not None:
                break
            position += length
        if position == size:
            return passed[0]
        hopeless.update(passed)
        found = data.find(_FIRST_FIELD, found + 1)
    return size


def _frames(
    file: IO[bytes], start: int, stop: int, size: int, block: _Block
) -> Iterator[tuple[list[int], int, str | None]]:
    """Yield runs of good frames that begin in [start, stop), and single ones that are not.

    Yields:
        begins: where each frame of the run begins; the next begins where one ends.
        end: of the last.
        reason: why the one frame is not good; None for a run of good ones.
    """
    position, large = start, False
    while position < stop:
        # Nothing is read ahead to a record that will not lie in the block.
        found = [] if large else block.sound_records(position, stop)
        if found:
            position = found.pop()
            yield found, position, None
            continue
        length, reason = _check_record(file, position, size)
        large = reason is None and length >= _READ_AHEAD_BYTES
        if reason is None:
            yield [position], position + length, None
            position += length
            continue
        after = _resync(file, position + 1, size)
        if after is None:
            after = size
        elif after < size and "cut" in reason:
            reason = f"garbage length: {length} reaches beyond the end of the file"
        yield [position], after, reason
        position = after


def _check_record(file: IO[bytes], position: int, size: int) -> tuple[int, str | None]:
    """(length, reason); reason is None for a frame that the file's end or another record follows, or that decodes."""
    length, reason = _check_frame(file, position, size)
    end = position + length
    if reason is None and end < size and not _looks_like_record(file, end, size):
        file.seek(position)
        if isinstance(_decoded(position, file.read(length)), Broken):
            return length, f"garbage length: {length} encloses no document, and no record follows"
    return length, reason


def _looks_like_record(file: IO[bytes], position: int, size: int) -> bool:
    if _check_frame(file, position, size)[1] is not None:
        return False
    file.seek(position + _BEFORE_FIRST_FIELD)
    return file.read(len(_FIRST_FIELD)) == _FIRST_FIELD


def _check_frame(file: IO[bytes], position: int, size: int) -> tuple[int, str | None]:
    file.seek(position)
    head = file.read(4)
    if len(head) < 4:
        return len(head), f"cut at the end of the file: {len(head)} bytes where a length of 4 bytes should be"
    (length,) = _INT32.unpack(head)
    if not _MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
        return length, f"garbage length: {length} (allowed: {_MIN_DOCUMENT_BYTES} to {MAX_DOCUMENT_BYTES})"
    if position + length > size:
        return length, f"cut at the end of the file: {length} bytes announced, {size - position} there"
    file.seek(position + length - 1)
    if file.read(1) != b"\0":
        return length, f"garbage length: {length}, with no end mark where the record should end"
    return length, None


def _resync(file: IO[bytes], position: int, size: int) -> int | None:
    """The next position that looks like a record: a sound frame whose first field is ``_id``."""
    while position < size:
        file.seek(position)
        window = file.read(_RESYNC_WINDOW_BYTES)
        found = window.find(_FIRST_FIELD)
        while found != -1:
            candidate = position + found - _BEFORE_FIRST_FIELD
            if candidate >= position and _check_record(file, candidate, size)[1] is None:
                return candidate
            found = window.find(_FIRST_FIELD, found + 1)
        if len(window) < _RESYNC_WINDOW_BYTES:
            return None
        position += len(window) - len(_FIRST_FIELD) - _BEFORE_FIRST_FIELD  # a header may lie across two windows
    return None
