"""Figures of tables: a summary a column, from Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firesteel.analysis.content import Content
from firesteel.analysis.numbers import NumberSummary
from firesteel.analysis.others import BooleanSummary, BytesSummary, Counted, ListSummary
from firesteel.analysis.quality import invalid_values
from firesteel.analysis.texts import CategorySummary, TextSummary
from firesteel.analysis.times import TimeSummary
from firesteel.tables.schema import Column

_CHUNK_ROWS = 1 << 16
_CHUNK_BYTES = 64 << 20
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 80


@dataclass(frozen=True)
class TableColumn:
    """A column that is to be summarised.

    Attributes:
        name: of it.
        kind: integer, long, double, string, categorical, time, local time, date, boolean, bytes, array, map, struct or
            other.
        elements: kind of the elements of an array.
        allowed: what the schema says of it; None without a schema.
        field: its name in the batches; empty if that is its name.
        text: name in the batches of a column that holds, as texts, what is not of the column's type; None if there is
            none.
    """

    name: str
    kind: str
    elements: str | None = None
    allowed: Column | None = None
    field: str = ""
    text: str | None = None

    def content(self) -> Content:
        """A summary that has seen nothing."""
        if self.kind in ("array", "map"):
            elements = _CONTENTS[self.elements]() if self.elements in _CONTENTS else None
            return ListSummary(elements if isinstance(elements, NumberSummary | TextSummary) else None)
        if self.kind == "categorical":
            assert self.allowed is not None, "categories are those of a schema"
            return CategorySummary(self.allowed.values)
        return _CONTENTS.get(self.kind, Counted)()


_CONTENTS: dict[str | None, Any] = {
    "integer": lambda: NumberSummary(whole=True),
    "long": lambda: NumberSummary(whole=True),
    "double": NumberSummary,
    "string": TextSummary,
    "time": lambda: TimeSummary(zone="Z"),
    "local time": TimeSummary,
    "date": lambda: TimeSummary(dates=True),
    "boolean": BooleanSummary,
    "bytes": BytesSummary,
}


class ColumnSummary:
    """One column: what is missing or invalid, and the figures of the valid values."""

    def __init__(self, column: TableColumn):
        self.column, self.content = column, column.content()
        self.count = self.missing = self.invalid = 0
        self.examples: list[str] = []

    def add(self, values: pa.Array, texts: pa.Array | None) -> None:
        """Take in rows.

        Args:
            values: null where the value is missing or not of the column's type.
            texts: not null where it is not of the column's type; None if that is nowhere so.
        """
        rows, allowed = len(values), self.column.allowed
        self._set_aside(None if texts is None else texts.drop_null())
        unread = 0 if texts is None else rows - texts.null_count
        if self.column.kind == "struct" or values.null_count == rows:
            valid, held = rows - values.null_count, None
        else:
            held = values.drop_null() if values.null_count else values
            if allowed is not None:
                held = self._without_invalid(held, allowed)
            valid = len(held)
        self.missing += values.null_count - unread
        if allowed is not None and allowed.type in ("string", "categorical") and held is not None:
            empty = pc.equal(held.cast(pa.string()), "")
            held = held.filter(pc.invert(empty))
            self.missing += valid - len(held)
            valid = len(held)
        self.count += valid
        if held is not None and valid:
            self.content.add(held)

    def _without_invalid(self, values: pa.Array, allowed: Column) -> pa.Array:
        invalid = invalid_values(allowed, values)
        if allowed.type in ("string", "categorical"):  # empty texts are missing, whatever is allowed
            invalid &= ~pc.equal(values.cast(pa.string()), "").to_numpy(zero_copy_only=False)
        if not invalid.any():
            return values
        self._set_aside(values.filter(pa.array(invalid)))
        return values.filter(pa.array(~invalid))

    def _set_aside(self, invalid: pa.Array | None) -> None:
        if invalid is None or not len(invalid):
            return
        self.invalid += len(invalid)
        self._exemplify(str(each)[:_EXAMPLE_CHARACTERS] for each in invalid[: 20 * _EXAMPLES].to_pylist())

    def _exemplify(self, texts: Iterable[str]) -> None:
        # The first ones by the alphabet: the same, in whatever order parts are merged.
        self.examples = sorted({*self.examples, *texts})[:_EXAMPLES]

    def merge(self, other: ColumnSummary) -> None:
        """Take in what another summary holds; that one is not used any more afterwards."""
        for name in ("count", "missing", "invalid"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._exemplify(other.examples)
        self.content.merge(other.content)


class TableSummary:
    """A whole table, or a part of one. Picklable."""

    def __init__(self, columns: Sequence[TableColumn]):
        self.rows = 0
        self.columns = [ColumnSummary(column) for column in columns]

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in rows that have all columns."""
        self.rows += batch.num_rows
        for summary in self.columns:
            field, text = summary.column.field or summary.column.name, summary.column.text
            summary.add(batch.column(field), None if text is None else batch.column(text))

    def merge(self, other: TableSummary) -> None:
        """Take in what another summary of the same columns holds; that one is not used any more afterwards."""
        self.rows += other.rows
        for own, its in zip(self.columns, other.columns, strict=True):
            own.merge(its)


def summarise(columns: Sequence[TableColumn], batches: Iterable[pa.RecordBatch]) -> TableSummary:
    """The summary of batches of any size."""
    summary = TableSummary(columns)
    for chunk in regrouped(batches):
        summary.add(chunk)
    return summary


def regrouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of small batches in larger ones, which cost less a row."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.concat_batches(held)


def kind_of(arrow: pa.DataType) -> tuple[str, str | None]:
    """(kind, kind of the elements) of an Arrow type, as :class:`TableColumn` names them."""
    types = pa.types
    if types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow):
        return "array", kind_of(arrow.value_type)[0]
    for kind, tests in _KINDS.items():
        if any(test(arrow) for test in tests):
            return kind, None
    return "other", None


_KINDS: dict[str, tuple[Any, ...]] = {
    "boolean": (pa.types.is_boolean,),
    "long": (lambda arrow: pa.types.is_integer(arrow) and arrow.bit_width == 64 and arrow != pa.uint64(),),
    "integer": (lambda arrow: pa.types.is_integer(arrow) and arrow.bit_width < 64,),
    "double": (pa.types.is_floating, pa.types.is_decimal, pa.types.is_integer),
    "string": (pa.types.is_string, pa.types.is_large_string),
    "bytes": (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
    "date": (pa.types.is_date,),
    "time": (lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is not None,),
    "local time": (pa.types.is_timestamp,),
    "map": (pa.types.is_map,),
    "struct": (pa.types.is_struct,),
}


__all__ = ["ColumnSummary", "TableColumn", "TableSummary", "kind_of", "regrouped", "summarise"]
