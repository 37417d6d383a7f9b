"""Columns as they come to columns of their types."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.tables.parsing import as_text, parse_column
from firesteel.tables.schema import Schema

SCHEMA = (
    Schema().integer("i").long("l").double("d").boolean("b").time("t").categorical("c", ["TOR", "WIND"]).string("s")
    .double("free", nan=True, infinite=True).integer("small", min=1, max=5).string("code", pattern="[A-Z]{2}").bytes("raw")
)  # fmt: skip


def parse(name: str, *values: Any, null_values: tuple[str, ...] = ()) -> tuple[list[Any], dict[int, str]]:
    """Values of a column, parsed, and what is wrong."""
    parsed = parse_column(pa.array(values), SCHEMA[name], null_values)
    return parsed.values.to_pylist(), parsed.invalid


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_what_python_writes_is_read_as_the_same(number: float, whole: int, truth: bool) -> None:
    assert parse("d", repr(number), f" {number!r}\t") == ([number, number], {})
    assert parse("l", str(whole), f"{whole:+d}") == ([whole, whole], {})
    assert parse("b", str(truth)) == ([truth], {})


@given(st.text(max_size=12))
def test_any_text_is_read_or_named(text: str) -> None:
    """Never an exception, never both a value and a reason, and a value is what Python reads."""
    for column in SCHEMA.each():
        parsed = parse_column(pa.array([text]), column)
        value = parsed.values[0].as_py()
        blank = not text.strip()
        assert (value is None) == (blank or bool(parsed.invalid))
        if parsed.invalid:
            assert parsed.invalid[0].startswith(f"column {column.name} ")
        if value is not None and column.type in ("integer", "long"):
            assert value == int(text)
        if value is not None and column.type == "double":
            assert value == float(text) or math.isnan(value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("i", "2147483648", "column i is not an integer: '2147483648'"),
        ("i", "1.0", "column i is not an integer: '1.0'"),
        ("l", "9" * 400, "column l is not a long integer: '9999"),
        ("d", "1e400", "column d is not a double: '1e400'"),
        ("d", "1,5", "column d is not a double: '1,5'"),
        ("d", "1d", "column d is not a double: '1d'"),
        ("d", "NaN", "column d is NaN: 'NaN'"),
        ("d", "-Infinity", "column d is infinite: '-Infinity'"),
        ("b", "ja", "column b is not a boolean: 'ja'"),
        ("t", "yesterday", "column t is not a time: 'yesterday'"),
        ("c", "tor", "column c is not one of TOR, WIND: 'tor'"),
        ("small", "6", "column small is above its maximum 5: '6'"),
        ("small", "0", "column small is below its minimum 1: '0'"),
        ("code", "DEU", "column code does not match '[A-Z]{2}': 'DEU'"),
    ],
)
def test_a_value_that_is_wrong_is_named_with_its_column_and_what_was_expected(
    name: str, text: str, reason: str
) -> None:
    values, invalid = parse(name, text, "")
    assert values == [None, None]
    assert list(invalid) == [0]
    assert invalid[0].startswith(reason)


def test_empty_texts_and_null_values_are_missing_not_invalid() -> None:
    assert parse("d", "", "  ", None, "NA", " ? ", "1", null_values=("NA", "?")) == ([None] * 5 + [1.0], {})
    assert parse("s", "", " a ", "NA", null_values=("NA",)) == ([None, " a ", None], {})
    assert parse("c", None, " TOR ") == ([None, "TOR"], {})


def test_huge_integers_and_leading_zeros() -> None:
    top = 2**63 - 1
    assert parse("l", str(top), str(-top - 1), "0" * 30 + "7", "-0")[0] == [top, -top - 1, 7, 0]
    assert parse("l", str(top + 1), str(-top - 2))[0] == [None, None]


def test_typed_values_are_converted_or_named() -> None:
    assert parse("i", 1.0, 2.5, None) == ([1, None, None], {1: "column i is not an integer: 2.5"})
    assert parse("i", decimal.Decimal("5.00"), decimal.Decimal("5.50"))[0] == [5, None]
    assert parse("d", 1, 2) == ([1.0, 2.0], {})
    assert parse("d", True, False) == ([1.0, 0.0], {})
    assert parse("b", 1, 0, 2)[0] == [True, False, None]
    assert parse("d", float("nan"), float("inf"))[0] == [None, None]
    assert math.isnan(parse("free", float("nan"))[0][0])
    assert parse("t", dt.date(2024, 2, 29))[0] == [dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)]
    assert parse("l", None, None) == ([None, None], {})


def test_numbers_as_texts_are_the_same_from_every_format() -> None:
    """A class is called 1 whether it comes from CSV, an integer or a double."""
    assert as_text(pa.array([1.0, 0.5])).to_pylist() == ["1", "0.5"]
    assert as_text(pa.array([1])).to_pylist() == ["1"]
    assert as_text(pa.array([True])).to_pylist() == ["true"]
    assert as_text(pa.array(["a", "b", "a"]).dictionary_encode()).to_pylist() == ["a", "b", "a"]
    assert as_text(pa.array([dt.datetime(2024, 1, 2, 3)])).to_pylist() == ["2024-01-02T03:00:00.000000"]


def test_types_that_can_never_be_a_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"column d holds values of type list<item: int64>, which cannot be a double"):
        parse("d", [1], [2])
    with pytest.raises(ConfigError, match=r"column t holds values of type int64, which cannot be a time"):
        parse("t", 5)
