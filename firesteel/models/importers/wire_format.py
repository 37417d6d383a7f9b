"""Protocol Buffers' wire format, read in place: no class is generated, and nothing is copied before it is asked for.

Numbers of gigabytes lie in such files as one field each; a cursor over a memory map leaves them where they are. (Google's
library parses a message into objects: for a Caffe model that is a second copy of all weights in memory.)

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from firesteel.errors import FormatError, StorageError
from firesteel.storage import Place

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)

MAX_DEPTH = 64
"""Messages within messages; the formats we read need less than ten."""
MAX_FIELDS = 20_000_000
"""Of a file. Each costs a microsecond, so that no file keeps us for hours."""


class Span(NamedTuple):
    """Where the bytes of a field lie in the file: ``[start, end)``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Budget:
    """Fields that may still be read from a file."""

    def __init__(self, fields: int = MAX_FIELDS):
        self.fields = fields

    def take(self) -> None:
        self.fields -= 1
        if self.fields < 0:
            raise FormatError(f"more than {MAX_FIELDS:,} fields: this is no model, or a damaged one")


class Cursor:
    """Reads one message, field by field.

    Args:
        data: of the whole file.
        span: of the message.
        depth: messages around it.
        budget: shared by all cursors of a file.

    Raises:
        FormatError: from each method, if the bytes are no message: cut, too long, nested too deeply.
    """

    def __init__(self, data: memoryview, span: Span | None = None, *, depth: int = 0, budget: Budget | None = None):
        self.data = data
        self.position, self.end = span or Span(0, len(data))
        self.depth = depth
        self.budget = budget or Budget()
        if depth > MAX_DEPTH:
            raise FormatError(f"messages within messages, more than {MAX_DEPTH} deep")

    def __bool__(self) -> bool:
        return self.position < self.end

    def inside(self, span: Span) -> Cursor:
        """A cursor over a message that is a field of this one."""
        return Cursor(self.data, span, depth=self.depth + 1, budget=self.budget)

    def tag(self) -> tuple[int, int]:
        """Number and wire type of the next field."""
        self.budget.take()
        value = self.varint()
        number, wire_type = value >> 3, value & 7
        if not number or wire_type > FIXED32 or number >= 1 << 29:
            raise FormatError(f"no field begins at byte {self.position}")
        return number, wire_type

    def varint(self) -> int:
        """The next number, as unsigned 64 bits."""
        value = shift = 0
        while True:
            if self.position >= self.end or shift > 63:
                raise FormatError(f"a number is cut or too long at byte {self.position}")
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF
            shift += 7

    def integer(self) -> int:
        """The next number, as signed 64 bits."""
        return signed(self.varint())

    def span(self) -> Span:
        """Where the next string, message or packed list lies."""
        size = self.varint()
        return self._take(size)

    def fixed(self, wire_type: int) -> bytes:
        """The 4 or 8 bytes of the next value."""
        start, end = self._take(8 if wire_type == FIXED64 else 4)
        return bytes(self.data[start:end])

    def skip(self, wire_type: int) -> None:
        """Go over the value of a field."""
        if wire_type == VARINT:
            self.varint()
        elif wire_type in (FIXED32, FIXED64):
            self.fixed(wire_type)
        elif wire_type == BYTES:
            self.span()
        elif wire_type == GROUP:
            self._skip_group()
        else:
            raise FormatError(f"a group ends at byte {self.position} that has not begun")

    def _take(self, size: int) -> Span:
        start = self.position
        if size > self.end - start:
            raise FormatError(f"{size:,} bytes are announced at byte {start:,}, {self.end - start:,} are left")
        self.position = start + size
        return Span(start, self.position)

    def _skip_group(self) -> None:
        """Groups, which are obsolete, end with a tag of their own; they may lie in each other."""
        depth = 1
        while depth:
            _, wire_type = self.tag()
            if wire_type == GROUP:
                depth += 1
                if depth > MAX_DEPTH:
                    raise FormatError(f"groups within groups, more than {MAX_DEPTH} deep")
            elif wire_type == END_GROUP:
                depth -= 1
            else:
                self.skip(wire_type)


def signed(value: int) -> int:
    """Unsigned 64 bits as two's complement."""
    return value - (1 << 64) if value >> 63 else value


def text_at(data: memoryview, span: Span, *, limit: int = 1 << 16) -> str:
    """A string; bytes that are not UTF-8 are escaped, because old writers did not check.

    Raises:
        FormatError: if it is longer than ``limit``.
    """
    if span.size > limit:
        raise FormatError(f"a name of {span.size:,} bytes at byte {span.start:,}")
    return bytes(data[span.start : span.end]).decode("utf-8", "backslashreplace")


def packed_integers(cursor: Cursor, span: Span, *, limit: int = 1 << 20) -> list[int]:
    """The signed numbers of a packed list, at most ``limit``."""
    inside = cursor.inside(span)
    values: list[int] = []
    while inside:
        values.append(inside.integer())
        inside.budget.take()
        if len(values) > limit:
            raise FormatError(f"a list of more than {limit:,} numbers at byte {span.start:,}")
    return values


def float_of(raw: bytes) -> float:
    """A little-endian float of 4 or 8 bytes."""
    return float(struct.unpack("<f" if len(raw) == 4 else "<d", raw)[0])


def map_file(place: Place) -> memoryview:
    """The bytes of a file: mapped where it is local, read where it is not.

    Raises:
        FormatError: if it is empty.
        StorageError: if it cannot be read.
    """
    if not place.is_local:
        return memoryview(place.read_bytes())
    if place.is_dir():
        raise StorageError(f"{place} is a folder, a file is needed.")
    with place.open() as file:
        if not place.size():
            raise FormatError("empty: 0 bytes")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def forget_pages(data: memoryview, start: int, end: int) -> None:
    """Tell the system that a range of a mapped file is no longer needed in memory; nothing happens to other bytes."""
    if isinstance(data.obj, mmap.mmap):
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            data.obj.madvise(mmap.MADV_DONTNEED, first, last - first)


__all__ = [
    "BYTES", "FIXED32", "FIXED64", "VARINT", "Budget", "Cursor", "Span", "float_of", "forget_pages", "map_file",
    "packed_integers", "signed", "text_at",
]  # fmt: skip
