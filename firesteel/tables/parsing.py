"""Columns as they come (texts, or types of Arrow) to columns of a schema's types, with a reason for every value that is wrong.

One implementation, over whole Arrow columns, for ``prepare`` (in Spark's tasks) and for prediction (without Spark). Texts
are read so, after blanks around them are taken off:

=============  ==================================================================================
integer, long  digits with or without a sign; in range
double         also with a decimal point and an exponent; nan, inf and infinity in any case
boolean        true/false, t/f, yes/no, y/n, 1/0 in any case
time           ISO 8601, or the column's format; without a zone in the column's time zone
categorical    one of its values, as they are written
string, bytes  anything (blanks stay)
=============  ==================================================================================

A text that is empty, or is one of the null values, is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.errors import ConfigError
from firesteel.tables.schema import Column
from firesteel.tables.times import TIME, parse_times

ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(), "integer": pa.int32(), "long": pa.int64(), "double": pa.float64(), "categorical": pa.string(),
    "time": TIME, "boolean": pa.bool_(), "bytes": pa.binary(),
}  # fmt: skip
"""Type of a schema's column -> type of a parsed one."""

_A = {"integer": "an integer", "long": "a long integer", "double": "a double", "boolean": "a boolean", "time": "a time"}
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_INTEGER = r"^[+-]?[0-9]+$"
_DOUBLE = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"
_SPECIAL = r"(?i)^[+-]?(nan|inf|infinity)$"
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Parsed:
    """A column of its schema's type.

    Attributes:
        values: of type ``ARROW_TYPES[column.type]``, shape (N,); null where the value is missing or invalid.
        invalid: row -> what is wrong with its value.
    """

    values: pa.Array
    invalid: dict[int, str] = field(default_factory=dict)


def parse_column(array: pa.Array, column: Column, null_values: Sequence[str] = ()) -> Parsed:
    """Bring a column to its type, and find out which values are wrong.

    Args:
        array: texts, or values of another type that the column's type can hold; shape (N,).
        column: what they should be.
        null_values: texts that mean a missing value, besides the empty one.

    Raises:
        ConfigError: if values of the array's type can never be the column's.
    """
    array = plain_array(array)
    if pa.types.is_null(array.type):
        return Parsed(pa.nulls(len(array), ARROW_TYPES[column.type]))
    if pa.types.is_string(array.type):
        array = blank_to_null(array, null_values)
    check_holds(array.type, column)
    values, wrong = _READERS[column.type](array, column)
    reasons = _reasons(array, wrong, f"column {column.name} is not {_A.get(column.type, column.type)}")
    values, forbidden = _allowed(values, array, column)
    return Parsed(values, forbidden | reasons)


def count_wrong(texts: pa.Array, type: str) -> int:
    """How many texts, of which none is missing, are not of a type. (To say of each what is wrong takes ten times as long.)"""
    return int(_READERS[type](texts, Column.model_validate({"name": "any", "type": type}))[1].sum())


def plain_array(array: pa.Array) -> pa.Array:
    """One contiguous array without dictionaries, of texts or bytes with 32 bit offsets."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    if pa.types.is_large_binary(array.type) or pa.types.is_binary_view(array.type):
        return array.cast(pa.binary())
    return array


def blank_to_null(text: pa.Array, null_values: Sequence[str] = ()) -> pa.Array:
    """Texts, null where they are blank or one of the null values."""
    stripped = pc.utf8_trim_whitespace(text)
    missing = pc.is_in(stripped, value_set=pa.array(["", *null_values], pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), text)


def as_text(array: pa.Array) -> pa.Array:
    """Values of any scalar type as texts: 1.0 is ``1``, truth values are ``true`` and ``false``, times are ISO 8601."""
    array = plain_array(array)
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_timestamp(array.type):
        whole = pc.strftime(array, format="%Y-%m-%dT%H:%M:%S")
        return pc.binary_join_element_wise(whole, "Z" if array.type.tz else "", "")
    if pa.types.is_binary(array.type):
        texts = [None if value is None else value.decode("utf-8", "backslashreplace") for value in array.to_pylist()]
        return pa.array(texts, pa.string())
    return array.cast(pa.string())


def check_holds(given: pa.DataType, column: Column) -> None:
    """Find out before a job runs whether values of a type can be a column's.

    Raises:
        ConfigError: if they never can.
    """
    types = pa.types
    scalar = not (
        types.is_nested(given) or types.is_duration(given) or types.is_interval(given) or types.is_time(given)
    )
    number = types.is_integer(given) or types.is_floating(given) or types.is_decimal(given) or types.is_boolean(given)
    time = types.is_timestamp(given) or types.is_date(given)
    allowed = {
        "integer": number, "long": number, "double": number, "boolean": types.is_boolean(given) or types.is_integer(given),
        "time": time, "bytes": types.is_binary(given), "string": scalar, "categorical": scalar and not types.is_binary(given),
    }[column.type]  # fmt: skip
    if not (allowed or types.is_string(given) or types.is_null(given)):
        raise ConfigError(
            f"column {column.name} holds values of type {given}, which cannot be {_A.get(column.type, column.type)}.\n"
            "Declare it as what it is, or convert it: SELECT ... AS in spark-sql:, or a transform process."
        )


# -- one type each: (array, column) -> (values, mask of the rows whose value is not of the type) -------------------------


def _read_integer(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    bits = 32 if column.type == "integer" else 64
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if pa.types.is_boolean(array.type):
        return array.cast(ARROW_TYPES[column.type]), _none_of(array)
    if pa.types.is_integer(array.type) and not pa.types.is_uint64(array.type):
        wide = array.cast(pa.int64())
    else:
        texts = _stripped(array) if pa.types.is_string(array.type) else array.cast(pa.string())
        wide = _whole_numbers(texts, whole_floats=not pa.types.is_string(array.type))
    fits = pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high))
    wide = pc.if_else(pc.fill_null(fits, False), wide, pa.scalar(None, pa.int64()))
    return wide.cast(ARROW_TYPES[column.type]), _lost(array, wide)


def _whole_numbers(texts: pa.Array, *, whole_floats: bool) -> pa.Array:
    """int64 of texts; null where there is none or it does not fit into 64 bits."""
    if whole_floats:  # 5.00 of a decimal, 1e+20 of a double
        texts = pc.replace_substring_regex(texts, r"[.]0*$", "")
    short = pc.fill_null(pc.match_substring_regex(texts, r"^[+-]?[0-9]{1,18}$"), False)
    digits = pc.replace_substring_regex(texts, r"^[+]", "")
    values = pc.if_else(short, digits, pa.scalar(None, pa.string())).cast(pa.int64())
    longer = pc.and_(pc.invert(short), pc.fill_null(pc.match_substring_regex(texts, _INTEGER), False))
    if not pc.any(longer).as_py():
        return values
    found = values.to_pylist()
    for row in np.flatnonzero(longer.to_numpy(zero_copy_only=False)):
        text = texts[int(row)].as_py().lstrip("+-0") or "0"
        number = int(text) if len(text) <= 19 else 1 << 63
        number = -number if texts[int(row)].as_py().startswith("-") else number
        found[row] = number if -(1 << 63) <= number < 1 << 63 else None
    return pa.array(found, pa.int64())


def _read_double(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    if not pa.types.is_string(array.type):
        return array.cast(pa.float64(), safe=False), _none_of(array)
    text = _stripped(array)
    special = pc.fill_null(pc.match_substring_regex(text, _SPECIAL), False)
    plain = pc.fill_null(pc.match_substring_regex(text, _DOUBLE), False)
    values = pc.if_else(pc.or_(plain, special), text, pa.scalar(None, pa.string())).cast(pa.float64())
    # 1e400 is a number that 64 bits do not hold: not infinity.
    values = pc.if_else(pc.and_(plain, pc.is_inf(values)), pa.scalar(None, pa.float64()), values)
    return values, _lost(array, values)


def _read_boolean(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    if pa.types.is_boolean(array.type):
        return array, _none_of(array)
    text = pc.utf8_lower(_stripped(array) if pa.types.is_string(array.type) else array.cast(pa.string()))
    known = pc.is_in(text, value_set=pa.array([*_TRUE, *_FALSE]))
    values = pc.if_else(known, pc.is_in(text, value_set=pa.array(_TRUE)), pa.scalar(None, pa.bool_()))
    return values, _lost(array, values)


def _read_time(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    if pa.types.is_string(array.type):
        values = parse_times(_stripped(array), column.format, column.timezone)
    elif pa.types.is_timestamp(array.type) and array.type.tz is not None:
        values = array.cast(TIME, safe=False)
    else:
        naive = array.cast(pa.timestamp("us"), safe=False)
        values = pc.assume_timezone(naive, column.timezone, ambiguous="earliest", nonexistent="latest").cast(TIME)
    return values, _lost(array, values)


def _read_text(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    return as_text(array), _none_of(array)


def _read_category(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    # Spelled as in the list, blanks around it aside; what is not in it is found with the other forbidden values.
    return pc.utf8_trim_whitespace(as_text(array)), _none_of(array)


def _read_bytes(array: pa.Array, column: Column) -> tuple[pa.Array, np.ndarray]:
    return array.cast(pa.binary()), _none_of(array)


_READERS: dict[str, Callable[[pa.Array, Column], tuple[pa.Array, np.ndarray]]] = {
    "string": _read_text, "categorical": _read_category, "integer": _read_integer, "long": _read_integer,
    "double": _read_double, "boolean": _read_boolean, "time": _read_time, "bytes": _read_bytes,
}  # fmt: skip


def _stripped(text: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(text)


def _none_of(array: pa.Array) -> np.ndarray:
    return np.zeros(len(array), bool)


def _lost(before: pa.Array, after: pa.Array) -> np.ndarray:
    """Where there was a value and there is none."""
    return pc.and_(pc.is_valid(before), pc.is_null(after)).to_numpy(zero_copy_only=False)


# -- values of the right type that the schema forbids ----------------------------------------------------------------


def _allowed(values: pa.Array, array: pa.Array, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """The values without those that the column's bounds forbid, and what is wrong with these."""
    invalid: dict[int, str] = {}
    kept = values
    for mask, what in _forbidden(values, column):
        rows = pc.fill_null(mask, False)
        if pc.any(rows).as_py():
            invalid = _reasons(array, rows.to_numpy(zero_copy_only=False), f"column {column.name} {what}") | invalid
            kept = pc.if_else(rows, pa.scalar(None, kept.type), kept)
    return kept, invalid


def _forbidden(values: pa.Array, column: Column) -> list[tuple[pa.Array, str]]:
    found: list[tuple[pa.Array, str]] = []
    if column.type == "double":
        found += [] if column.nan else [(pc.is_nan(values), "is NaN")]
        found += [] if column.infinite else [(pc.is_inf(values), "is infinite")]
    numbers = values.cast(pa.float64(), safe=False) if column.is_numeric else values
    if column.min is not None:
        found.append((pc.less(numbers, column.min), f"is below its minimum {column.min:g}"))
    if column.max is not None:
        found.append((pc.greater(numbers, column.max), f"is above its maximum {column.max:g}"))
    if column.type == "categorical":
        known = pc.is_in(values, value_set=pa.array(column.values, pa.string()))
        found.append((pc.and_(pc.is_valid(values), pc.invert(known)), f"is not one of {_some(column.values)}"))
    if column.pattern is not None:
        found.append((_not_matching(values, column.pattern), f"does not match {column.pattern!r}"))
    return found


def _not_matching(values: pa.Array, pattern: str) -> pa.Array:
    expression = re.compile(pattern)
    encoded = values.dictionary_encode()
    misses = [expression.fullmatch(text) is None for text in encoded.dictionary.to_pylist()]
    return pc.take(pa.array(misses, pa.bool_()), encoded.indices)


def _reasons(array: pa.Array, wrong: np.ndarray, what: str) -> dict[int, str]:
    return {int(row): f"{what}: {shown(array[int(row)].as_py())}" for row in np.flatnonzero(wrong)}


def shown(value: object) -> str:
    """A value for a message."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _some(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= 6 else f"{', '.join(values[:6])}, ... ({len(values)})"


__all__ = [
    "ARROW_TYPES",
    "Parsed",
    "as_text",
    "blank_to_null",
    "check_holds",
    "count_wrong",
    "parse_column",
    "plain_array",
    "shown",
]
