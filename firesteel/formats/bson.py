"""BSON dumps: records one behind the other, each with its length in front.

A dump is what ``mongodump`` writes and what the Cdiscount challenge shipped: BSON documents without anything between
them. Documents begin with their own length, so that one pass over the lengths finds places to split a file for many
readers. Where a length is garbage, the reader looks for the next record by the key of its first field; the bytes
between are one :class:`Broken` region. Every byte of a file is in exactly one record or one broken region.

Source: https://bsonspec.org/spec.html (document ::= int32 e_list x00). Documents are decoded by pymongo's ``bson``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import bson
from bson.errors import BSONError

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""MongoDB's limit for one document; a longer length is taken for garbage."""

_MIN_DOCUMENT_BYTES = 5
_RESYNC_WINDOW_BYTES = 1 << 20
_INT32 = struct.Struct("<i")


@dataclass(frozen=True)
class Chunk:
    """A run of whole records: those that begin at ``start <= position < stop`` of the file (bytes)."""

    start: int
    stop: int


@dataclass(frozen=True)
class Record:
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
    """Cut a dump into chunks of about ``chunk_bytes``, reading only the lengths.

    Args:
        file: seekable, positioned anywhere.
        size: bytes of the file.
        chunk_bytes: a chunk ends at the first record boundary at or after this many bytes.
    """
    start = position = 0
    for position, _, _ in _frames(file, 0, size, size):
        if position - start >= chunk_bytes:
            yield Chunk(start, position)
            start = position
    if start < size:
        yield Chunk(start, size)


def read(file: IO[bytes], size: int, chunk: Chunk) -> Iterator[Record | Broken]:
    """Decode the records of one chunk; what cannot be read comes as :class:`Broken`, in its place.

    Memory: one document at a time.
    """
    for position, length, reason in _frames(file, chunk.start, chunk.stop, size):
        file.seek(position)
        if reason is not None:
            yield Broken(position, length, reason, file.read(min(length, 64)))
            continue
        data = file.read(length)
        try:
            yield Record(position, bson.decode(data))
        # OverflowError and ValueError: dates and decimals out of range, which the C decoder passes through.
        except (BSONError, OverflowError, ValueError, RecursionError) as error:
            yield Broken(position, length, f"not a BSON document: {error}", data[:64])


def _frames(file: IO[bytes], start: int, stop: int, size: int) -> Iterator[tuple[int, int, str | None]]:
    """Yield (position, length, reason) of each frame that begins in [start, stop); reason is None for a good frame."""
    position = start
    while position < stop:
        length, reason = _check_frame(file, position, size)
        if reason is None:
            yield position, length, None
            position += length
            continue
        after = _resync(file, position + 1, size)
        if after is None:
            after = size
        elif after < size and "cut" in reason:
            reason = f"garbage length {length}: it reaches beyond the end of the file"
        yield position, after - position, reason
        position = after


def _check_frame(file: IO[bytes], position: int, size: int) -> tuple[int, str | None]:
    file.seek(position)
    head = file.read(4)
    if len(head) < 4:
        return len(head), f"cut at the end of the file: {len(head)} bytes where a length of 4 bytes should be"
    (length,) = _INT32.unpack(head)
    if not _MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
        return length, f"garbage length {length} (allowed: {_MIN_DOCUMENT_BYTES} to {MAX_DOCUMENT_BYTES})"
    if position + length > size:
        return length, f"cut at the end of the file: {length} bytes announced, {size - position} there"
    file.seek(position + length - 1)
    if file.read(1) != b"\0":
        return length, f"garbage length {length}: no end mark where the record should end"
    return length, None


def _resync(file: IO[bytes], position: int, size: int) -> int | None:
    """The next position that looks like a record: a sound frame whose first field is ``_id``."""
    pattern = b"_id\0"
    while position < size:
        file.seek(position)
        window = file.read(_RESYNC_WINDOW_BYTES)
        found = window.find(pattern)
        while found != -1:
            candidate = position + found - 5  # 4 bytes of length, 1 byte of the field's type
            if candidate >= position and _check_frame(file, candidate, size)[1] is None:
                return candidate
            found = window.find(pattern, found + 1)
        if len(window) < _RESYNC_WINDOW_BYTES:
            return None
        position += len(window) - len(pattern) - 5  # a header may lie across two windows
    return None
