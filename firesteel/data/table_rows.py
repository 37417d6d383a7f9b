"""From records of a table to rows of a dataset: parsed, named, labelled, and as the vectors that a network sees.

What is done with a row is the same in every pass over the table: it is indexed (label and split key), learnt from (if it is
of the training split) and written, or it has a problem in all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.data.index import INDEX_COLUMNS
from firesteel.data.sources import Row
from firesteel.data.split import SplitRule, split_key
from firesteel.tables.encoding import TableEncoding, unusable_rows
from firesteel.tables.fitting import ColumnSums, sums_of, total_sums
from firesteel.tables.parsing import as_text, parse_column
from firesteel.tables.records import RecordReader, Records
from firesteel.tables.schema import Column

_MOST_REASONS = 100


@dataclass
class TableBatch:
    """Some records, parsed; lists of length N.

    Attributes:
        records: as they came.
        values: parsed features.
        problems: row -> why it cannot be used.
        ids, groups: names of the row and of its group.
        labels: class names; None where there is none, and then the row has a problem.
        splits: that the source names; None where it names none.
    """

    records: Records
    values: dict[str, pa.Array]
    problems: dict[int, str]
    ids: list[str]
    groups: list[str]
    labels: list[str | None]
    splits: list[str | None]


@dataclass(frozen=True)
class TableRows:
    """Reads the rows of a table. Immutable and picklable: it travels to the tasks.

    Attributes:
        reader: makes records of batches.
        encoding: of the features.
        label, id, group, split: columns with these roles; None where there is none.
    """

    reader: RecordReader
    encoding: TableEncoding
    label: Column
    id: Column | None = None
    group: Column | None = None
    split: Column | None = None

    def batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[TableBatch]:
        """All records."""
        for records in self.reader.read(batches):
            if records.count:
                yield self._parsed(records)

    def _parsed(self, records: Records) -> TableBatch:
        values, wrong = self.encoding.parse(records.columns)
        problems = unusable_rows(values, self.encoding.columns) | wrong
        labels, wrong = self._texts(records, self.label)
        problems = {row: "no label" for row, label in enumerate(labels or ()) if label is None} | problems | wrong
        names, groups, splits = (self._texts(records, each)[0] for each in (self.id, self.group, self.split))
        problems |= records.problems
        ids = _hashes(records, [*values]) if names is None or None in names else [""] * records.count
        ids = ids if names is None else [name if name is not None else other for name, other in zip(names, ids)]
        nothing: list[str | None] = [None] * records.count
        kept_groups = [name if name is not None else own for name, own in zip(groups or nothing, ids)]
        return TableBatch(records, values, problems, ids, kept_groups, labels or nothing, splits or nothing)

    def _texts(self, records: Records, column: Column | None) -> tuple[list[str | None] | None, dict[int, str]]:
        if column is None:
            return None, {}
        parsed = parse_column(records.columns[column.name], column, self.encoding.dialect.null_values)
        values = parsed.values
        if column.type == "double":
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        return as_text(values).to_pylist(), parsed.invalid

    def rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
        """Rows for a dataset; those with a problem hold the text of their record."""
        for batch in self.batches(batches):
            encoded = self.encoding.encode(batch.values)
            problems = encoded.problems | batch.problems
            for row, vector in enumerate(encoded.values):
                problem = problems.get(row)
                if problem is None:
                    yield Row(batch.ids[row], vector.tobytes(), batch.labels[row], batch.splits[row], batch.groups[row])
                else:
                    place = batch.records.place(row) or batch.ids[row]
                    text = batch.records.text(row).encode("utf-8", "surrogateescape")
                    yield Row(place, text, batch.labels[row], batch.splits[row], batch.groups[row], problem)

    def index(
        self, batches: Iterable[pa.RecordBatch], seed: int, reasons: Counter[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See :func:`firesteel.data.preparation.index_partition`; why rows cannot be used is counted in ``reasons``."""
        for batch in self.batches(batches):
            usable = [row for row in range(batch.records.count) if row not in batch.problems]
            if reasons is not None:
                reasons.update(batch.problems.values() if len(reasons) < _MOST_REASONS else ())
            keys = [split_key(seed, batch.groups[row]) for row in usable]
            row_keys = [
                key if batch.groups[row] == batch.ids[row] else split_key(seed, batch.ids[row])
                for key, row in zip(keys, usable)
            ]
            columns = [
                pa.array([batch.labels[row] for row in usable], pa.string()), pa.array(keys, pa.int64()),
                pa.array(row_keys, pa.int64()), pa.array([batch.splits[row] == "train" for row in usable], pa.bool_()),
            ]  # fmt: skip
            yield pa.RecordBatch.from_arrays(columns, names=INDEX_COLUMNS)

    def sums(self, batches: Iterable[pa.RecordBatch], rule: SplitRule | None) -> list[ColumnSums]:
        """What the encoding learns of the rows of the training split."""

        def parts() -> Iterator[list[ColumnSums]]:
            for batch in self.batches(batches):
                training = np.array([self._is_training(batch, row, rule) for row in range(batch.records.count)], bool)
                yield sums_of(batch.values, training, self.encoding.columns)

        return total_sums(parts(), self.encoding.columns)

    def _is_training(self, batch: TableBatch, row: int, rule: SplitRule | None) -> bool:
        if row in batch.problems:
            return False
        label = batch.labels[row]
        if rule is None:
            return batch.splits[row] == "train"
        return label in rule.boundaries and rule.split_of(str(label), batch.groups[row]) == "train"

    def split_names(self, batches: Iterable[pa.RecordBatch]) -> Counter[str]:
        """Rows of each split that the source names."""
        return Counter(name for batch in self.batches(batches) for name in batch.splits if name is not None)


def _hashes(records: Records, columns: Sequence[str]) -> list[str]:
    """Names for rows that have none: rows with equal features have equal names, and never lie in two splits."""
    texts = [pc.fill_null(as_text(records.columns[name]), "") for name in columns]
    joined = pc.binary_join_element_wise(*texts, "\x1f") if texts else pa.array([""] * records.count)
    return [
        hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
        for text in joined.to_pylist()
    ]


__all__ = ["TableBatch", "TableRows"]
