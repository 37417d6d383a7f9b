"""From typed columns to the vector that a network sees."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError, DataError
from firesteel.tables.encoding import TableEncoding
from firesteel.tables.fitting import learnt_encoding, sums_of, total_sums
from firesteel.tables.options import TableOptions
from firesteel.tables.schema import Schema

SCHEMA = Schema.parse("d double, b boolean, t time, c categorical(TOR|WIND), s string, y string")


def encoding(schema: Schema = SCHEMA, **options: Any) -> TableEncoding:
    """Of all columns but the label y."""
    return TableEncoding(columns=TableOptions(label="y", **options).encodings(schema))


def learnt(open_encoding: TableEncoding, columns: dict[str, pa.Array], most: int = 2, parts: int = 1) -> TableEncoding:
    """With what rows teach, which lie in so many tasks."""
    values, _ = open_encoding.parse(columns)
    rows = len(next(iter(values.values())))
    sums = []
    for part in range(parts):
        chosen = np.arange(rows) % parts == part
        sums.append(sums_of(values, chosen, open_encoding.columns))
    return learnt_encoding(open_encoding, total_sums(sums, open_encoding.columns), most)


ROWS = {
    "d": pa.array(["1", "2", "6", ""]),
    "b": pa.array(["true", "no", "", "1"]),
    "t": pa.array(["2024-02-29T10:20:30.5", "2024-03-01", "", "2024-02-29T10:20:31"]),
    "c": pa.array(["TOR", "WIND", "", "TOR"]),
    "s": pa.array(["x", "y", "z", "x"]),
}


def test_every_place_of_the_vector_has_a_name_and_its_value() -> None:
    open_encoding = encoding(learn_categories=2, missing="mean", encode={"t": "parts"})
    done = learnt(open_encoding, ROWS)
    assert done.names == (
        "d", "b", "t.year", "t.month", "t.day", "t.weekday", "t.hour", "t.minute", "t.second", "c=TOR", "c=WIND", "c=(missing)",
        "s=x", "s=y", "s=(other)", "s=(missing)",
    )  # fmt: skip
    found = done.vectors(ROWS)
    assert found.problems == {}
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values[0], [1, 1, 2024, 2, 29, 3, 10, 20, 30.5, 1, 0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(found.values[1], [2, 0, 2024, 3, 1, 4, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(
        found.values[2],
        [6, 2 / 3, 2024, 7 / 3, 59 / 3, 10 / 3, 20 / 3, 40 / 3, 61.5 / 3, 0, 0, 1, 0, 0, 1, 0],
        rtol=1e-6,
    )
    assert found.values[3][0] == 3  # the mean of 1, 2 and 6


def test_times_in_seconds_begin_with_the_training_split() -> None:
    """Seconds since 1970 would be rounded to two minutes by 32 bits."""
    done = learnt(encoding(Schema.parse("t time, y string")), ROWS)
    assert done.vectors({"t": pa.array(["2024-02-29T10:20:30.5", "2024-03-01"])}).values.tolist() == [[0.5], [49170.0]]


def test_cycles_meet_where_they_end() -> None:
    done = encoding(Schema.parse("t time, y string"), encode={"t": "cyclic"})
    assert done.is_learnt
    texts = ["2024-01-01T00:00", "2024-01-01T06:00", "2024-01-07T23:59:59.999", "2024-01-08T00:00"]  # Monday to Monday
    values = done.vectors({"t": pa.array(texts)}).values
    np.testing.assert_allclose(values[0, :4], [0, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(values[1, :2], [1, 0], atol=1e-6)
    np.testing.assert_allclose(values[2, :4], values[3, :4], atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_what_is_learnt_does_not_depend_on_the_number_of_tasks(parts: int) -> None:
    open_encoding = encoding(learn_categories=2, missing="mean")
    assert learnt(open_encoding, ROWS, parts=parts) == learnt(open_encoding, ROWS)


def test_index_numbers_categories_others_and_missing_ones() -> None:
    done = learnt(
        encoding(learn_categories=2, features=("c", "s"), encode={"c": "index", "s": "index"}, missing="category"), ROWS
    )
    columns = {"c": pa.array(["WIND", None, "TOR"]), "s": pa.array(["never seen", None, "y"])}
    assert done.vectors(columns).values.tolist() == [[1, 2], [2, 3], [0, 1]]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("d", None, "column d is missing"),
        ("d", "x", "column d is not a double: 'x'"),
        ("d", "1e39", "column d does not fit into a 32 bit float: 1e+39"),
        ("c", "HAIL", "column c is not one of TOR, WIND: 'HAIL'"),
        ("b", "", "column b is missing"),
    ],
)
def test_a_row_that_has_no_vector_says_why(column: str, value: Any, reason: str) -> None:
    done = encoding(features=("d", "b", "c"))
    row = {"d": "1", "b": "yes", "c": "TOR"} | {column: value}
    columns = {
        name: pa.array(["2" if name == "d" else "no" if name == "b" else "WIND", each]) for name, each in row.items()
    }
    assert done.vectors(columns).problems == {1: reason}


VALUES = st.fixed_dictionaries(
    {
        "d": st.none() | st.floats(width=32) | st.floats(),
        "b": st.none() | st.booleans(),
        "t": st.none()
        | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.timezone.utc)),
        "c": st.none() | st.sampled_from(["TOR", "WIND", "HAIL"]),
        "s": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    }
)


@given(
    st.lists(VALUES, min_size=1, max_size=8), st.sampled_from(["quarantine", "mean", "category", "-1.5"]), st.randoms()
)
def test_a_row_has_the_same_vector_alone_and_among_others_as_text_and_typed(
    rows: list[dict], missing: str, random: Any
) -> None:
    """What prepare makes of a row in a batch of texts, prediction makes of it as a dict, bit by bit."""
    schema = (
        Schema()
        .double("d", nan=True, infinite=True)
        .boolean("b")
        .time("t")
        .categorical("c", ["TOR", "WIND"])
        .string("s", "y")
    )
    times = {"t": "mean"} if missing == "-1.5" else {}
    options = TableOptions(label="y", learn_categories=3, missing={"": missing} | times)
    open_encoding = TableEncoding(columns=options.encodings(schema))
    anchor = {"d": 1.0, "b": True, "t": dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc), "c": "TOR", "s": "a"}
    texts = {name: pa.array([_text(row[name]) for row in [anchor, *rows]], pa.string()) for name in anchor}
    done = learnt(open_encoding, texts, most=3)
    done = TableEncoding.model_validate_json(done.model_dump_json())  # as it is saved
    together = done.vectors(texts)
    number = random.randrange(len(rows))
    alone = done.vectors({name: pa.array([value], _TYPES[name]) for name, value in rows[number].items()})
    assert (number + 1 in together.problems) == bool(alone.problems)
    if not alone.problems:
        np.testing.assert_array_equal(together.values[number + 1], alone.values[0])
        assert np.isfinite(alone.values).all()
    assert together.values.shape == (len(rows) + 1, len(done.names))


_TYPES = {"d": pa.float64(), "b": pa.bool_(), "t": pa.timestamp("us", "UTC"), "c": pa.string(), "s": pa.string()}


def _text(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, dt.datetime) else None if value is None else str(value)


@pytest.mark.parametrize(
    ("schema", "options", "message"),
    [
        (
            "s string, y string",
            {},
            r"column 's' holds strings, which a network cannot see.\n.*'s categorical\(A\|B\|C\)'",
        ),
        ("s bytes, y string", {}, "holds bytes"),
        ("d double, y string", {"encode": {"d": "onehot"}}, "is double: it can be encoded as number, got 'onehot'"),
        ("d double, y string", {"features": ("dd",)}, "no column 'dd' .*Did you mean 'd'"),
        ("d double, y string", {"features": ("y",)}, "it cannot be a feature as well"),
        ("d double, y string", {"missing": {"e": "mean"}}, "no column 'e'"),
        ("d double, y string", {"missing": {"d": "category"}}, "a missing value has no category"),
        ("c categorical(A), y string", {"missing": {"c": "mean"}}, "a missing value can be a category, got 'mean'"),
        ("t time, y string", {"missing": {"t": 5.0}}, "a missing value can be the mean, got 5"),
        ("y string", {}, "no column is left"),
        ("d double, y string", {"group": "nobody"}, "wanted as group"),
    ],
)
def test_what_cannot_be_encoded_is_refused(schema: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoding(Schema.parse(schema), **options)


def test_options_are_read_as_the_command_line_gives_them() -> None:
    options = TableOptions(missing=["mean", "c=category", "a=b=0.5"], encode=["c=index"], null_values=["NA"])
    assert options.missing == {"": "mean", "c": "category", "a=b": 0.5}
    assert options.encode == {"c": "index"}
    for wrong in (
        {"missing": "nan"},
        {"missing": "meen"},
        {"encode": "index"},
        {"delimiter": "ab"},
        {"missing": ["1", "2"]},
    ):
        with pytest.raises(ValueError, match=r"must be|twice"):
            TableOptions(**wrong).dialect("csv")


def test_a_column_without_a_value_teaches_nothing() -> None:
    with pytest.raises(DataError, match="column 'd' has no value in the training split"):
        learnt(encoding(Schema.parse("d double, y string"), missing="mean"), {"d": pa.array(["", None])})
    assert math.isfinite(
        learnt(encoding(Schema.parse("d double, y string"), missing="mean"), {"d": pa.array(["1", None])})
        .columns[0]
        .fill[0]
    )
