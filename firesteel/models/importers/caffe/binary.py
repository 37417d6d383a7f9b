"""``.caffemodel``: a NetParameter in the wire format, whose blobs stay in the file until they are copied to their place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from firesteel.errors import FormatError, ModelError
from firesteel.models.importers.caffe.schema import BY_NUMBER, ENUMS, MESSAGES, Field, Message
from firesteel.models.importers.wire_format import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Cursor,
    Span,
    float_of,
    forget_pages,
    map_file,
    packed_integers,
    text_at,
)  # fmt: skip
from firesteel.models.shapes import show_shape
from firesteel.storage import Place

MAX_DIMENSIONS = 32  # as in Caffe
_CHUNK_BYTES = 16 << 20
_TYPES = {4: "<f4", 8: "<f8"}


@dataclass(frozen=True)
class Blob:
    """Values of a layer, where they lie in the file.

    Attributes:
        shape: as the file says; old files fill it up to four dimensions with ones in front.
        pieces: bytes of values one after the other: place, bytes of a value, and bytes from one value to the next (not
            the same where each value has a tag).
        data: of the file.
    """

    shape: tuple[int, ...]
    pieces: tuple[tuple[Span, int, int], ...]
    data: memoryview

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def read_into(self, target: np.ndarray) -> None:
        """Copy the values to a contiguous float32 array of as many elements, in their order."""
        flat = target.reshape(-1)
        assert len(flat) == self.size, (target.shape, self.shape)
        assert target.flags.c_contiguous, "a copy would be filled"
        at = 0
        for span, width, stride in self.pieces:
            count = span.size // stride
            step = _CHUNK_BYTES // stride
            # In parts, each of them forgotten at once: so that a file of 500 MB is never in memory beside its copy.
            for first in range(0, count, step):
                part = min(step, count - first)
                start = span.start + first * stride
                values: np.ndarray = np.ndarray((part,), _TYPES[width], self.data, start, (stride,))
                flat[at : at + part] = values
                forget_pages(self.data, start, start + part * stride)
                at += part

    def numbers(self) -> np.ndarray:
        """A copy of the values, float32 of ``shape``."""
        found = np.empty(self.shape, np.float32)
        self.read_into(found)
        return found


def read_caffemodel(place: Place) -> Message:
    """The NetParameter of a file; the ``blobs`` of its layers are :class:`Blob`, still in the file.

    Raises:
        FormatError: if the bytes are no such file, or are cut.
        ModelError: if it is a text, or of the first version of the format.
    """
    data = map_file(place)
    try:
        message = _read(Cursor(data), "NetParameter")
    except FormatError as error:
        if _looks_like_text(data):
            raise ModelError(
                f"{place} is a text, a .caffemodel is needed (the weights). Pass the text with --prototxt."
            ) from error
        raise FormatError(f"{place} is no .caffemodel, or a damaged one: {error}.") from error
    if any(layer.get("layer") is not None for layer in message.all("layers")):
        raise ModelError(
            f"{place} is of the first version of Caffe's format (V0). Caffe's upgrade_net_proto_binary makes one that is read."
        )
    if not message.all("layer") and not message.all("layers"):
        raise FormatError(f"{place} is no .caffemodel: it has no layer.")
    return message


def _looks_like_text(data: memoryview) -> bool:
    head = bytes(data[:512])
    return not any(byte < 9 or 13 < byte < 32 or byte == 127 for byte in head)


def _read(cursor: Cursor, kind: str) -> Message:
    message = Message(kind)
    fields = BY_NUMBER[kind]
    while cursor:
        number, wire_type = cursor.tag()
        field = fields.get(number)
        if field is None:
            cursor.skip(wire_type)
        else:
            for value in _values(cursor, field, wire_type):
                message.add(field.name, value)
    return message


def _values(cursor: Cursor, field: Field, wire_type: int) -> list[Any]:
    """What one field gives: one value, or those of a packed list; none if the wire type is another than the schema's."""
    kind = field.kind
    if wire_type == BYTES:
        span = cursor.span()
        if kind == "BlobProto":
            return [_blob(cursor.inside(span), cursor.data)]
        if kind in MESSAGES:
            return [_read(cursor.inside(span), kind)]
        if kind == "string":
            return [text_at(cursor.data, span)]
        if kind == "any":
            return [span]
        if kind == "float":
            return _packed_floats(cursor.data, span)
        return [_number(value, kind) for value in packed_integers(cursor, span)]
    if wire_type == VARINT and kind not in ("string", "float", "BlobProto") and kind not in MESSAGES:
        return [_number(cursor.integer(), kind)]
    if wire_type == FIXED32 and kind == "float":
        return [float_of(cursor.fixed(wire_type))]
    cursor.skip(wire_type)
    return []


def _number(value: int, kind: str) -> Any:
    if kind == "bool":
        return bool(value)
    if kind in ENUMS:
        if not 0 <= value < len(ENUMS[kind]):
            raise FormatError(f"{kind} has no value {value}")
        return ENUMS[kind][value]
    return value


def _packed_floats(data: memoryview, span: Span, limit: int = 4096) -> list[float]:
    if span.size % 4 or span.size > 4 * limit:
        raise FormatError(f"a list of floats of {span.size:,} bytes at byte {span.start:,}")
    return [float(value) for value in np.frombuffer(data, "<f4", span.size // 4, span.start)]


def _blob(cursor: Cursor, data: memoryview) -> Blob:
    """BlobProto: data = 5, diff = 6, shape = 7, double_data = 8; num, channels, height, width = 1 to 4 in old files."""
    old: dict[int, int] = {}
    shape: list[int] | None = None
    pieces: list[tuple[Span, int, int]] = []
    while cursor:
        start = cursor.position
        number, wire_type = cursor.tag()
        width = {5: 4, 8: 8}.get(number)
        if width and wire_type == BYTES:
            pieces.append((cursor.span(), width, width))
        elif width and wire_type == (FIXED32 if width == 4 else FIXED64):
            pieces.append(_tagged_values(cursor, start, width))
        elif number <= 4 and wire_type == VARINT:
            old[number] = cursor.integer()
        elif number == 7 and wire_type == BYTES:
            shape = [int(value) for value in _read(cursor.inside(cursor.span()), "BlobShape").all("dim")]
        else:
            cursor.skip(wire_type)
    if shape is None:
        shape = [old.get(number, 1) for number in range(1, 5)] if old else []
    return _checked(shape, pieces, data)


def _tagged_values(cursor: Cursor, start: int, width: int) -> tuple[Span, int, int]:
    """A run of values that have a tag each; found by comparing tags all at once."""
    tag_size = cursor.position - start
    stride = tag_size + width
    tag = np.frombuffer(cursor.data, np.uint8, tag_size, start)
    room = (cursor.end - start) // stride
    count = 0
    while count < room:
        part = min(1 << 20, room - count)
        rows = np.frombuffer(cursor.data, np.uint8, part * stride, start + count * stride).reshape(part, stride)
        same = (rows[:, :tag_size] == tag).all(axis=1)
        run = part if same.all() else int(same.argmin())
        count += run
        if run < part:
            break
    if not count:
        raise FormatError(f"a value is cut at byte {start:,}")
    cursor.position = start + count * stride
    # From the first value to behind the last one and the tag that would follow it.
    return Span(start + tag_size, start + tag_size + count * stride), width, stride


def _checked(shape: list[int], pieces: list[tuple[Span, int, int]], data: memoryview) -> Blob:
    if any(span.size % stride for span, _, stride in pieces):
        raise FormatError("a blob is cut within a value")
    count = sum(span.size // stride for span, _, stride in pieces)
    if not shape and count != 1:
        shape = [count]
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape) or math.prod(shape) != count:
        shown = show_shape(shape[:8])
        raise FormatError(
            f"a blob of {shown} that has {count:,} values" + " (half precision is not read)" * (not count)
        )
    return Blob(tuple(shape), tuple(pieces), data)


__all__ = ["Blob", "read_caffemodel"]
