"""What prediction reads of a file without Spark is what prepare reads of its lines in Spark's tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firesteel.errors import DataError
from firesteel.storage import Place
from firesteel.tables.dialect import Dialect
from firesteel.tables.encoding import TableEncoding
from firesteel.tables.files import read_file
from firesteel.tables.options import TableOptions
from firesteel.tables.records import LinesReader
from firesteel.tables.schema import Schema

PIECES = [
    b"1", b"2.5", b"TOR", b",", b",", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"\t", b"\\", b"\0", b"\xff", b"\xc3",
    b"\xef\xbb\xbf", "é\u2028\x0b\x1c".encode(), b"{", b'{"a": 1, "b": "x"}', b"}", b":", b"NaN", b"1e999", b"1,2\n3,4\n", b'5,"TOR"\n',
]  # fmt: skip


@pytest.mark.parametrize(
    "dialect",
    [{}, {"escape": "\\"}, {"quote": ""}, {"format": "json"}, {"multiline": True}, {"charset": "latin-1"}],
    ids=str,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_bytes_give_the_same_records(pieces: list[bytes], dialect: dict[str, Any], tmp_path: Path) -> None:
    data = b"".join(pieces)
    chosen = Dialect(header=False, **dialect)
    columns = TableOptions(label="y").encodings(Schema.parse("a double, b categorical(TOR), y string"))
    encoding = TableEncoding(columns=columns, dialect=chosen)  # a line holds the two features
    name = tmp_path / ("x.json" if chosen.format == "json" else "x.csv")
    name.write_bytes(data)
    pieces_of = [data] if chosen.reads_whole_files else re.split(rb"\r\n|\n|\r", data)  # as Spark's text source cuts
    lines = pa.RecordBatch.from_pydict(
        {"value": pa.array(pieces_of, pa.binary()), "path": ["x"] * len(pieces_of), "start": [0] * len(pieces_of)}
    )
    in_tasks = list(LinesReader(chosen, ("a", "b"), ("a", "b")).read([lines]))
    try:
        alone = list(read_file(Place.of(name), encoding, header=False))
    except DataError:  # none of the first lines has two fields: nothing of the file is read
        assert not any(len(records.problems) < records.count for records in in_tasks[:1] if records.count <= 20)
        return
    for column in ("a", "b"):
        assert [value for records in alone for value in records.columns[column].to_pylist()] == [
            value for records in in_tasks for value in records.columns[column].to_pylist()
        ]
    assert _problems(alone) == _problems(in_tasks)
    for records in alone:
        encoded = encoding.vectors(records.columns)
        assert encoded.values.shape == (records.count, 2)


def _problems(parts: list[Any]) -> list[str | None]:
    return [records.problems.get(row) for records in parts for row in range(records.count)]
