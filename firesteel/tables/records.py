"""Records of a table as they come, a batch at a time: the fields of lines of CSV and JSON, or columns that have types.

A line that is no record of the table (too few fields, an open quote, no JSON) is a record with a problem: it is counted, and
kept with its text. Blank lines are no records. What reads the storage (Spark in its tasks, or Python) only gives the lines.

CSV is split by Python's csv module in its strict mode, a line at a time: quotes are doubled (RFC 4180) or escaped, and a
quote that is opened and not closed spoils its own line only.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from firesteel.errors import DataError
from firesteel.tables.dialect import Dialect

PROBLEM, RECORD, PLACE = "__problem", "__record", "__place"
"""Columns that stand beside those of the table: what is wrong with a record, its text, and the file that it is of."""

_MOST_RECORDS = 4096
"""Of one batch, where a whole file comes at once."""


@dataclass
class Records:
    """Some records.

    Attributes:
        columns: texts, or values of other types; each of shape (N,). Null throughout for a record with a problem.
        problems: record -> what is wrong with it.
        texts: of the records, where they are lines.
        places: what each is of: a file with the number of the line if it is known, or empty.
    """

    columns: dict[str, pa.Array]
    problems: dict[int, str] = field(default_factory=dict)
    texts: Sequence[str | None] | None = None
    places: Sequence[str] | None = None
    count: int = 0

    def text(self, record: int) -> str:
        """A record's own text, else its values as JSON."""
        if self.texts is not None and self.texts[record] is not None:
            return str(self.texts[record])
        values = {name: array[record].as_py() for name, array in self.columns.items()}
        return json.dumps(values, ensure_ascii=False, default=str)

    def place(self, record: int) -> str:
        """Where a record lies; empty if nobody knows."""
        return self.places[record] if self.places is not None else ""


class RecordReader(ABC):
    """Turns batches of what was read from storage into records. Immutable and picklable."""

    @abstractmethod
    def read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Records]:
        """The records of batches that follow each other."""


@dataclass(frozen=True)
class ColumnsReader(RecordReader):
    """Batches whose columns are the table's; those of :data:`PROBLEM` and its like may stand beside them."""

    def read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Records]:
        for batch in batches:
            given = dict(zip(batch.schema.names, batch.columns))
            problems = given.pop(PROBLEM).to_pylist() if PROBLEM in given else []
            texts = given.pop(RECORD).to_pylist() if RECORD in given else None
            places = [place or "" for place in given.pop(PLACE).to_pylist()] if PLACE in given else None
            found = {row: problem for row, problem in enumerate(problems) if problem is not None}
            yield Records(given, found, texts, places, batch.num_rows)


@dataclass(frozen=True)
class LinesReader(RecordReader):
    """Batches of lines: ``value`` (bytes of a line, or of a whole file), ``path`` of its file, ``start`` of its piece of it.

    Attributes:
        dialect: of the text.
        layout: names of the fields, in their order.
        wanted: columns that are wanted of them.
    """

    dialect: Dialect
    layout: tuple[str, ...]
    wanted: tuple[str, ...]

    def read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Records]:
        begun: set[str] = set()
        for batch in batches:
            values, paths, starts = (batch.column(name).to_pylist() for name in ("value", "path", "start"))
            for lines, places in self._pieces(values, paths, starts, begun):
                for first in range(0, len(lines), _MOST_RECORDS):
                    part = slice(first, first + _MOST_RECORDS)
                    yield split_records(lines[part], places[part], self.dialect, self.layout, self.wanted)

    def _pieces(
        self, values: list[bytes], paths: list[str], starts: list[int], begun: set[str]
    ) -> Iterator[tuple[list[str], list[str]]]:
        """Lines without those that are blank or headers, and the file of each."""
        if self.dialect.reads_whole_files:
            for value, path in zip(values, paths):
                records = list(whole_records(decoded(value, self.dialect), self.dialect))
                self._check_header(records, path)
                yield records[self._headers :], [path] * len(records[self._headers :])
            return
        lines: list[str] = []
        places: list[str] = []
        for value, path, start in zip(values, paths, starts):
            line = decoded(value, self.dialect)
            if not line.strip():
                continue
            if start == 0 and path not in begun:
                begun.add(path)
                if self._headers:
                    self._check_header([line], path)
                    continue
            lines.append(line)
            places.append(path)
        yield lines, places

    @property
    def _headers(self) -> int:
        return int(self.dialect.format == "csv" and self.dialect.header)

    def _check_header(self, records: Sequence[str], path: str) -> None:
        if self._headers and records:
            found = header_names(records[0], self.dialect, path)
            if found != self.layout:
                raise DataError(
                    f"{path} has the header {', '.join(found)}; other files of the table have {', '.join(self.layout)}."
                    " All must have the same columns in the same order."
                )


def decoded(value: bytes, dialect: Dialect) -> str:
    """The text of bytes, without a byte order mark; bytes that are no text of the charset become U+FFFD."""
    return value.decode(dialect.charset, "replace").removeprefix("\ufeff")


def header_names(line: str, dialect: Dialect, where: str) -> tuple[str, ...]:
    """Names of the columns that a header says.

    Raises:
        DataError: if it is not sound, or names a column twice or not at all.
    """
    fields, problem = next(iter(csv_fields([line], dialect)))
    names = tuple((name or "").strip() for name in fields or ())
    twice = [name for name in names if names.count(name) > 1]
    if problem or twice or not all(names):
        what = problem or (f"column {twice[0]!r} is there twice" if twice and twice[0] else "a column has no name")
        raise DataError(
            f"the header of {where} is not sound: {what} ({_start(line)}).\n"
            "Mend it, or if the file has no header, pass --no-header (in Python header=False)."
        )
    return names


def whole_records(text: str, dialect: Dialect) -> Iterator[str]:
    """Records of a whole file, each as text; blank ones left out."""
    if dialect.format == "json" and dialect.multiline:
        return _json_items(text)
    return (record for _, record in numbered_records(io.StringIO(text, newline=""), dialect))


def numbered_records(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, str]]:
    """Records and the number of the line, from 1, in which each begins; blank ones left out.

    Args:
        lines: with their ends.
        dialect: of the text; ``multiline`` joins lines as long as a quote is open.
    """
    held: list[str] = []
    open_quote, first = False, 1
    for number, line in enumerate(lines, start=1):
        if not held:
            first = number
        held.append(line)
        open_quote ^= dialect.multiline and _turns_quote(line, dialect)
        if not open_quote:
            if record := _record(held):
                yield first, record
            held = []
    if record := _record(held):
        yield first, record


def _record(lines: list[str]) -> str:
    """The text of a record, without its last end of line; empty if it is blank."""
    text = "".join(lines).removeprefix("\ufeff").rstrip("\r\n")
    return text if text.strip() else ""


def _turns_quote(line: str, dialect: Dialect) -> bool:
    """Whether a quote that is open before a line is closed behind it, or the other way round: its quotes are odd in number."""
    escaped = 0 if dialect.escape == dialect.quote else line.count(dialect.escape + dialect.quote)
    return bool(dialect.quote) and (line.count(dialect.quote) - escaped) % 2 == 1


def _json_items(text: str) -> Iterator[str]:
    try:
        found = json.loads(text, **_KEEP_NUMBERS) if text.strip() else []
    except (ValueError, RecursionError):
        yield text
        return
    for item in found if isinstance(found, list) else [found]:
        yield json.dumps(item, ensure_ascii=False)


# -- one line, one record --------------------------------------------------------------------------------------------


def split_records(
    lines: Sequence[str], places: Sequence[str], dialect: Dialect, layout: Sequence[str], wanted: Sequence[str]
) -> Records:
    """Records of lines, none of which is blank or a header.

    Args:
        lines: one record each.
        places: of the lines.
        dialect: of the text.
        layout: names of the fields of CSV, in order.
        wanted: columns of the result; null where a JSON object has no such key.
    """
    split = _json_fields(lines, wanted) if dialect.format == "json" else _wanted_fields(lines, dialect, layout, wanted)
    rows: list[Sequence[str | None]] = []
    problems: dict[int, str] = {}
    nothing: tuple[None, ...] = (None,) * len(wanted)
    for number, (fields, problem) in enumerate(split):
        rows.append(nothing if problem is not None else fields or nothing)
        if problem is not None:
            problems[number] = problem
    columns = zip(*rows) if rows else ([] for _ in wanted)
    arrays = {name: pa.array(values, pa.string()) for name, values in zip(wanted, columns)}
    return Records(arrays, problems, lines, places, len(rows))


_Split = Iterator[tuple[Sequence[str | None] | None, str | None]]
"""Fields, or what is wrong, one a line."""


def _wanted_fields(lines: Sequence[str], dialect: Dialect, layout: Sequence[str], wanted: Sequence[str]) -> _Split:
    positions = [list(layout).index(name) for name in wanted]
    for fields, problem in csv_fields(lines, dialect):
        if problem is None and fields is not None and len(fields) != len(layout):
            problem = f"wrong number of fields: {len(fields)}, expected {len(layout)}"
        yield (None, problem) if problem is not None else ([fields[each] for each in positions], None)  # type: ignore[index]


def csv_fields(lines: Sequence[str], dialect: Dialect) -> _Split:
    """All fields of each line, in order. One reader goes on from line to line as long as each record is one line."""
    first = 0
    while first < len(lines):
        reader = csv.reader(islice(lines, first, None), **_csv_options(dialect))
        for number in range(first, len(lines)):
            first = number + 1
            consumed = reader.line_num
            try:
                fields = next(reader)
            except csv.Error as error:
                yield None, f"not sound CSV: {_OPEN if reader.line_num - consumed > 1 else _csv_problem(error)}"
                break
            if (
                reader.line_num - consumed > 1
            ):  # an open quote has swallowed the next lines: begin again behind this one
                yield None, f"not sound CSV: {_OPEN}"
                break
            yield fields, None


_OPEN = "a quote is opened and not closed"


def _csv_options(dialect: Dialect) -> dict[str, Any]:
    options: dict[str, Any] = {"delimiter": dialect.delimiter, "strict": True}
    if not dialect.quote:
        return options | {"quoting": csv.QUOTE_NONE, "quotechar": None}
    doubled = dialect.escape == dialect.quote
    return options | {
        "quotechar": dialect.quote,
        "doublequote": doubled,
        "escapechar": None if doubled else dialect.escape,
    }


def _csv_problem(error: csv.Error) -> str:
    message = str(error)
    if "unexpected end" in message:
        return _OPEN
    if "expected after" in message:
        return "something stands behind a closing quote"
    return message


_KEEP_NUMBERS: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": str}
"""Numbers stay as they are written; their columns' types say what they are."""


def _json_fields(lines: Sequence[str], wanted: Sequence[str]) -> _Split:
    for line in lines:
        try:
            found = json.loads(line, **_KEEP_NUMBERS)
        except (ValueError, RecursionError) as error:
            yield None, f"not sound JSON: {getattr(error, 'msg', type(error).__name__)}"
            continue
        if not isinstance(found, dict):
            yield None, f"not a JSON object: {_start(line)}"
            continue
        yield [_json_text(found.get(name)) for name in wanted], None


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _start(line: str, most: int = 60) -> str:
    return line if len(line) <= most else line[: most - 3] + "..."


__all__ = [
    "PLACE", "PROBLEM", "RECORD", "ColumnsReader", "LinesReader", "RecordReader", "Records", "csv_fields", "decoded", "header_names", "numbered_records",
    "split_records", "whole_records",
]  # fmt: skip
