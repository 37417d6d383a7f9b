"""Lines to records."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import DataError
from firesteel.tables.dialect import Dialect
from firesteel.tables.records import LinesReader, header_names, split_records, whole_records

FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=6)


def split(lines: list[str], **dialect: Any) -> tuple[list[Any], dict[int, str]]:
    """Rows of the columns a and b, and what is wrong."""
    found = split_records(lines, [""] * len(lines), Dialect(**dialect), ("a", "b"), ("a", "b"))
    return list(zip(*(found.columns[name].to_pylist() for name in ("a", "b")))), found.problems


@given(
    st.lists(st.tuples(FIELD, FIELD).filter(lambda row: any(row)), max_size=6), st.sampled_from([",", ";", "\t", "|"])
)
def test_what_the_csv_module_writes_is_read_as_the_same(rows: list[tuple[str, str]], delimiter: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    lines = out.getvalue().split("\n")[:-1]
    assert split(lines, delimiter=delimiter) == (rows, {})


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), FIELD), max_size=6))
def test_quoted_ends_of_lines_are_read_where_they_are_allowed(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    dialect = Dialect(multiline=True)
    records = list(whole_records(out.getvalue(), dialect))
    found = split_records(records, [""] * len(records), dialect, ("a", "b"), ("a", "b"))
    assert found.problems == {}
    assert list(zip(*(found.columns[name].to_pylist() for name in ("a", "b")))) == rows


def test_a_broken_line_spoils_itself_alone() -> None:
    lines = ["1,2", '3,"open', "4,5", '6,"a"b', "7", "8,9,10", '"q""q",x', '5" pipe,3', 'x"y,"z', "11,12"]
    rows, problems = split(lines)
    assert [row for number, row in enumerate(rows) if number not in problems] == [
        ("1", "2"), ("4", "5"), ('q"q', "x"), ('5" pipe', "3"), ("11", "12"),
    ]  # fmt: skip
    assert problems == {
        1: "not sound CSV: a quote is opened and not closed",
        3: "not sound CSV: something stands behind a closing quote",
        4: "wrong number of fields: 1, expected 2",
        5: "wrong number of fields: 3, expected 2",
        8: "not sound CSV: a quote is opened and not closed",
    }


@given(st.lists(st.text(st.sampled_from('ab,"\\;é '), min_size=1, max_size=12), max_size=12))
def test_any_lines_are_as_many_records(lines: list[str]) -> None:
    for dialect in ({}, {"escape": "\\"}, {"quote": ""}, {"format": "json"}):
        rows, problems = split(lines, **dialect)
        assert len(rows) == len(lines)
        assert all(rows[number] == (None, None) for number in problems)
        alone = [split([line], **dialect) for line in lines]
        assert [row for (row,), _ in alone] == rows  # what stands before and behind a line changes nothing


def test_json_lines_keep_numbers_as_they_are_written() -> None:
    lines = [
        '{"a": 1.50, "b": "x"}',
        '{"b": true, "c": 0}',
        '{"a": [1, "é"], "b": null}',
        '{"a": 1}{"a": 2}',
        "[1]",
        "{broken",
        '{"a": NaN, "b": 1e5}',
    ]
    rows, problems = split(lines, format="json")
    assert rows[:3] == [("1.50", "x"), (None, "true"), ('["1", "é"]', None)]
    assert rows[6] == ("NaN", "1e5")
    assert {number: text.partition(":")[0] for number, text in problems.items()} == {
        3: "not sound JSON", 4: "not a JSON object", 5: "not sound JSON",
    }  # fmt: skip


def test_deeply_nested_json_is_a_problem_not_a_crash() -> None:
    _, problems = split(["[" * 100_000, '{"a":' * 100_000])
    assert set(problems) == {0, 1}
    _, problems = split(["[" * 100_000, '{"a":' * 100_000], format="json")
    assert set(problems) == {0, 1}


def batch(*rows: tuple[bytes, str, int]) -> pa.RecordBatch:
    """As Spark's lines come."""
    values, paths, starts = zip(*rows)
    return pa.RecordBatch.from_pydict({"value": pa.array(values, pa.binary()), "path": paths, "start": starts})


def test_headers_are_taken_off_where_a_file_begins() -> None:
    """Also where pieces of files follow each other in any order, and blank lines stand before."""
    reader = LinesReader(Dialect(), ("a", "b"), ("b",))
    batches = [
        batch((b"5,6", "x", 64), (b" ", "x", 0), (b"\xef\xbb\xbfa,b", "x", 0), (b"1,2", "x", 0)),
        batch((b"3,4", "x", 0), (b"a, b", "y", 0), (b"", "y", 0), (b"7,8\xff", "y", 0)),
    ]
    found = list(reader.read(batches))
    assert [records.columns["b"].to_pylist() for records in found] == [["6", "2"], ["4", "8�"]]
    assert found[1].places == ["x", "y"]
    with pytest.raises(DataError, match="y has the header b, a; other files of the table have a, b"):
        list(reader.read([batch((b"b,a", "y", 0))]))


def test_whole_files_are_read_in_any_charset() -> None:
    text = 'a,b\r\n1,"ü\r\nö"\n\n2,"x'
    reader = LinesReader(Dialect(multiline=True, charset="utf-16"), ("a", "b"), ("a", "b"))
    (found,) = reader.read([batch((text.encode("utf-16"), "x", 0))])
    assert found.columns["b"].to_pylist() == ["ü\r\nö", None]
    assert found.problems == {1: "not sound CSV: a quote is opened and not closed"}
    reader = LinesReader(Dialect(format="json", multiline=True), (), ("a",))
    (found,) = reader.read([batch((json.dumps([{"a": 1}, {"a": "x"}, 5]).encode(), "x", 0))])
    assert found.columns["a"].to_pylist() == ["1", "x", None]
    assert list(found.problems) == [2]


@pytest.mark.parametrize(
    ("line", "message"),
    [("a,a", "column 'a' is there twice"), ("a,,b", "a column has no name"), ('a,"b', "a quote is opened")],
)
def test_headers_that_are_not_sound_are_refused(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        header_names(line, Dialect(), "x.csv")


def test_many_open_quotes_do_not_take_long() -> None:
    generator = random.Random(0)
    lines = ["".join(generator.choices('a",', k=20)) + "x" for _ in range(4096)]
    assert len(split(lines)[0]) == 4096
