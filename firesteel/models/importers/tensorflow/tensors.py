"""Shapes and values of tensors in TensorFlow's messages, and how fields are handed on.

Source: tensorflow/core/framework/{tensor,tensor_shape,types}.proto
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from firesteel.errors import FormatError
from firesteel.models.importers.wire_format import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Cursor,
    Span,
    float_of,
    packed_integers,
    signed,
    text_at,
)  # fmt: skip

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|b1", 19: "<f2"}
"""Types of tensors that are read."""
STRING = 7

MAX_REPEATED = 1 << 24
"""Values of a tensor of which only the first are written, the last of them standing for the rest."""

Handler = Callable[[Any], None]


def fields(cursor: Cursor, handlers: dict[int, Handler], raw: tuple[int, ...] = ()) -> None:
    """Hand each field of a message to its handler: a message as a cursor, those in ``raw`` as a span, numbers as they are."""
    while cursor:
        number, wire_type = cursor.tag()
        handler = handlers.get(number)
        if handler is None:
            cursor.skip(wire_type)
        elif wire_type == BYTES:
            span = cursor.span()
            handler(span if number in raw else cursor.inside(span))
        elif wire_type == VARINT:
            handler(signed(cursor.varint()))
        elif wire_type in (FIXED32, FIXED64):
            handler(float_of(cursor.fixed(wire_type)))
        else:
            cursor.skip(wire_type)


def as_span(value: Any) -> Span:
    """A field that holds bytes, or a FormatError."""
    if not isinstance(value, Span):
        raise FormatError("a text is needed where a number stands")
    return value


def as_integer(value: Any) -> int:
    """A field that holds a whole number, or a FormatError."""
    if not isinstance(value, int):
        raise FormatError("a number is needed where something else stands")
    return value


def as_cursor(value: Any) -> Cursor:
    """A field that holds a message, or a FormatError."""
    if not isinstance(value, Cursor):
        raise FormatError("a message is needed where a number stands")
    return value


def read_shape(cursor: Cursor) -> tuple[int | None, ...] | None:
    """Sizes, None for one that is open; None if not even their number is known."""
    sizes: list[int | None] = []
    unknown = [False]

    def dimension(inner: Any) -> None:
        size = [0]
        fields(as_cursor(inner), {1: lambda value: size.__setitem__(0, as_integer(value))})
        sizes.append(None if size[0] < 0 else size[0])

    fields(cursor, {2: dimension, 3: lambda value: unknown.__setitem__(0, bool(value))})
    if len(sizes) > 32:
        raise FormatError(f"a tensor of {len(sizes)} dimensions")
    return None if unknown[0] else tuple(sizes)


_VALUE_FIELDS = {5: "<f4", 6: "<f8", 7: "<i8", 10: "<i8", 11: "<i8", 13: "<i8"}


def read_tensor(cursor: Cursor) -> np.ndarray | list[str] | None:
    """The values of a TensorProto, as a view of the file where they lie there; None for a type that is not read."""
    state: dict[str, Any] = {"dtype": 0, "shape": (), "content": None, "strings": []}
    values: list[np.ndarray] = []
    data = cursor.data

    def add(number: int) -> Handler:
        def handler(value: Any) -> None:
            if not isinstance(value, Span):
                values.append(np.array([value]))
            elif number in (5, 6):
                width = 4 if number == 5 else 8
                values.append(np.frombuffer(data, _VALUE_FIELDS[number], value.size // width, value.start))
            else:
                values.append(np.array(packed_integers(cursor, value), "<i8"))

        return handler

    fields(cursor, {
        1: lambda value: state.update(dtype=as_integer(value)),
        2: lambda inner: state.update(shape=read_shape(as_cursor(inner))),
        4: lambda span: state.update(content=as_span(span)),
        8: lambda span: state["strings"].append(text_at(data, as_span(span), limit=1 << 24)),
        **{number: add(number) for number in _VALUE_FIELDS},
    }, raw=(4, 5, 6, 7, 8, 10, 11, 13))  # fmt: skip
    if state["dtype"] == STRING:
        return list(state["strings"])
    return _array(state, values, data)


def _array(state: dict[str, Any], values: list[np.ndarray], data: memoryview) -> np.ndarray | None:
    dtype, shape = DTYPES.get(state["dtype"]), state["shape"]
    if dtype is None or shape is None or None in shape:
        return None
    count = math.prod(shape)
    width = np.dtype(dtype).itemsize
    span: Span | None = state["content"]
    if span is not None:
        if span.size != count * width:
            raise FormatError(f"a tensor of {count:,} values in {span.size:,} bytes")
        return np.ndarray(shape, dtype, data, span.start)
    given = np.concatenate(values) if values else np.zeros(1)
    if dtype == "<f2":
        given = given.astype("<u2").view("<f2")
    if len(given) > max(count, 1):
        raise FormatError(f"a tensor of {count:,} values that has {len(given):,}")
    if count > MAX_REPEATED and len(given) < count:
        raise FormatError(f"a tensor of {count:,} values that has {len(given):,}")
    full = np.concatenate([given, np.repeat(given[-1:], count - len(given))]) if len(given) < count else given[:count]
    with np.errstate(all="ignore"):  # numbers that the type cannot hold become what they become
        return full.astype(dtype).reshape(shape)
