"""Preparation of a table by Spark tasks: many columns become one vector a row."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from firesteel.data.balance import Targets
from firesteel.data.index import ClassIndex, class_index
from firesteel.data.manifest import Feature
from firesteel.data.partition import write_partition
from firesteel.data.preparation import Engine, PreparePlan, Report, SourceFacts
from firesteel.data.sources import Row
from firesteel.data.split import SplitRule
from firesteel.data.table_rows import TableRows
from firesteel.errors import ConfigError, DataError
from firesteel.spark.actions import collected
from firesteel.spark.barrier import map_partitions
from firesteel.spark.dealing import dealt
from firesteel.spark.index import INDEX_SCHEMA, index_by_sql
from firesteel.spark.tables import TableFrame, only, quoted
from firesteel.spark.transform import filled, transformed
from firesteel.tables.dialect import Dialect
from firesteel.tables.encoding import ColumnEncoding, TableEncoding
from firesteel.tables.fitting import learnt_encoding, total_sums
from firesteel.tables.options import TableOptions
from firesteel.tables.process import TransformProcess
from firesteel.tables.records import PROBLEM

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PARTITION_BYTES = 64 << 20
_MIN_PARTITIONS = 8
_SQL_INDEX_BYTES = 8 << 30
"""Of larger tables, and of those of unknown size, Spark sorts the index; below, that costs more than it saves."""

_MOST_SPLITS = 20
_MOST_NUMBERS = 1000
"""A label of more different fractional numbers is a quantity, no class."""


class TableEngine(Engine):
    """Reads a table in Spark tasks.

    The table is read two times (classes and split, then the rows), and once more between if its encoding has something to
    learn, or once before if its own split is kept.

    Args:
        table: see :func:`firesteel.spark.tables.read_table`.
        options: what its columns are.
        size_bytes: of its files; None if it has none.
    """

    def __init__(self, table: TableFrame, options: TableOptions, size_bytes: int | None = None):
        schema = table.schema
        if options.label is None:
            raise ConfigError(
                f"a table needs the name of the column that holds the class: --label NAME (in Python label=...).\n"
                f"It has {', '.join(schema.names)}."
            )
        columns = _encodings(table, options)
        role = {role: schema[name] for role, name in options.roles.items()}
        # What is wrong in a column that nobody asked for does not matter, but where a process may need it.
        self._table = only(table, [*(each.column.name for each in columns), *options.roles.values()])
        encoding = TableEncoding(columns=columns, dialect=table.dialect, layout=table.layout, process=options.process)
        self._rows = TableRows(
            self._table.reader, encoding, role["label"], role.get("id"), role.get("group"), role.get("split")
        )
        self._options, self._size_bytes = options, size_bytes
        self._index_counts: Mapping[str, int] = {}

    def facts(self, known: SourceFacts) -> SourceFacts:
        label = self._rows.label
        return replace(
            known,
            class_names=list(label.values),
            in_order=label.type == "categorical",
            own_splits=self._own_splits(),
            notes=[*known.notes, *self._table.notes],
        )

    def _own_splits(self) -> list[str]:
        if self._rows.split is None:
            return []
        found: Counter[str] = Counter()
        for part in self._map(_split_names, self._rows):
            found += part
        if len(found) > _MOST_SPLITS:
            raise ConfigError(
                f"column {self._rows.split.name!r} names {len(found)} different splits ({', '.join(sorted(found)[:5])}, ...);"
                f" at most {_MOST_SPLITS} are allowed. Is it the right column?"
            )
        return sorted(found)

    def sample(self, count: int) -> Iterator[Row]:
        return iter(())

    def index(self, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
        grouped = self._rows.group is not None
        if self._size_bytes is not None and self._size_bytes < _SQL_INDEX_BYTES:
            parts = self._map(_index, self._rows, seed)
            batches = [batch for part, _ in parts for batch in part]
            if not any(map(len, batches)):
                raise _nothing_usable(sum((reasons for _, reasons in parts), Counter()), self._table.dialect)
            found = class_index(batches, fractions, targets, grouped=grouped)
        else:
            frame = self._table.raw.mapInArrow(_IndexTask(self._rows, seed), INDEX_SCHEMA)
            found = index_by_sql(frame, fractions, targets, grouped=grouped)
        self._check_classes(found.counts)
        return found

    def _check_classes(self, counts: Mapping[str, int]) -> None:
        label = self._rows.label
        fractional = sum(not name.lstrip("-").isdigit() for name in counts) if label.type == "double" else 0
        if fractional > _MOST_NUMBERS:
            raise DataError(
                f"column {label.name!r} holds {len(counts):,} different numbers: it is a quantity, and Firesteel trains"
                " classifiers.\nGive a label with classes; a transform process or spark-sql: can make ranges of it."
            )

    def table_feature(self, rule: SplitRule | None) -> Feature:
        encoding = self._rows.encoding
        if not encoding.is_learnt:
            parts = self._map(_sums, self._rows, rule)
            sums = total_sums(parts, encoding.columns)
            encoding = learnt_encoding(encoding, sums, self._options.learn_categories)
            self._rows = replace(self._rows, encoding=encoding)
        return Feature(dtype="float32", shape=(len(encoding.names),), kind="table", table=encoding)

    def write(self, plan: PreparePlan) -> list[Report]:
        reports = self._map(_write, plan, self._rows)
        if self._table.source is None:
            return reports
        before = sum(row["count"] for row in collected(self._table.source.frame.groupBy().count()))
        left_out = max(0, before - sum(report.read for report in reports))
        return [*reports, Report(read=left_out, dropped=left_out)]

    def bring(self, seed: int, lanes: int) -> Callable[[int], DataFrame]:
        """What brings each worker the records of its lanes, see :func:`firesteel.spark.prepare.dealt`."""
        from pyspark.sql import functions as F

        raw = self._table.raw
        content = F.to_json(F.struct(*[F.col(f"`{name}`") for name in raw.columns]))
        return partial(dealt, raw, F.pmod(F.hash(F.lit(seed), content), F.lit(lanes)), F.md5(content), lanes)

    @property
    def rows_of(self) -> Callable[[Iterable[pa.RecordBatch]], Iterator[Row]]:
        """Makes rows of what was brought."""
        return self._rows.rows

    def _map(self, function: Any, *arguments: Any) -> list[Any]:
        with _cut_by_size(self._table.raw.sparkSession, self._size_bytes):
            return map_partitions(self._table.raw, function, arguments)


def _encodings(table: TableFrame, options: TableOptions) -> tuple[ColumnEncoding, ...]:
    try:
        return options.encodings(table.schema)
    except ConfigError as error:
        # A column of numbers, one of which is none, has been inferred to hold strings: the note says so.
        about = [f"column {name} was taken for strings" for name in table.schema.names if repr(name) in str(error)]
        why = [note for note in table.notes if any(note.startswith(start) for start in about)]
        raise ConfigError("\n".join([str(error), *why[:1]])) from None


def processed(table: TableFrame, options: TableOptions) -> tuple[TableFrame, TableOptions]:
    """A table after its transform process, whose statistics are filled in; and the options that say so.

    Statistics are those of the training split, where a column of the source names it; a random split is made of the rows that
    come out of the process, so that before it no row belongs to one.
    """
    if options.process is None:
        return table, options
    from pyspark.sql import functions as F

    process, notes = TransformProcess.of(options.process), table.notes
    sound = table.frame.where(F.col(PROBLEM).isNull()).select(*map(quoted, table.schema.names))
    if options.split_column in table.schema.names:
        sound = sound.where(F.trim(F.col(quoted(str(options.split_column)))) == "train")
    elif wanted := process.unfilled():
        names = dict.fromkeys(name for columns in wanted.values() for name in columns)
        notes += (
            f"the statistics of {', '.join(names)} in the transform process are those of all rows, also of other splits than"
            " train; a split column of the source, or statistics in the process, changes that",
        )
    process = filled(sound, process)
    after = replace(table.transformed(partial(transformed, process=process), process.final_schema), notes=notes)
    return after, options.model_copy(update={"columns": process.final_schema, "process": process.to_mapping()})


@contextlib.contextmanager
def _cut_by_size(spark: SparkSession, size_bytes: int | None) -> Iterator[None]:
    """Let Spark cut files by their size alone, so that the dataset is the same on any cluster."""
    if size_bytes is None:
        yield
        return
    name = "spark.sql.files.minPartitionNum"
    before = spark.conf.get(name, None)
    spark.conf.set(name, str(max(_MIN_PARTITIONS, -(-size_bytes // _PARTITION_BYTES))))
    try:
        yield
    finally:
        spark.conf.unset(name) if before is None else spark.conf.set(name, before)


def _nothing_usable(reasons: Counter[str], dialect: Dialect) -> DataError:
    if not reasons:
        return DataError("the table has no row.")
    most = "".join(f"\n  {reason}" for reason, _ in reasons.most_common(2))
    hint = ""
    if dialect.format == "json" and not dialect.multiline:
        hint = "\nIf a file is one list of objects, and not an object a line, pass --multiline."
    return DataError(f"no row of the table can be used. Most often:{most}{hint}")


# -- tasks ----------------------------------------------------------------------------------------------------------


def _split_names(rows: TableRows, number: int, batches: Iterable[pa.RecordBatch]) -> Counter[str]:
    return rows.split_names(batches)


def _index(
    rows: TableRows, seed: int, number: int, batches: Iterable[pa.RecordBatch]
) -> tuple[list[pa.RecordBatch], Counter[str]]:
    reasons: Counter[str] = Counter()
    return list(rows.index(batches, seed, reasons)), reasons


def _sums(rows: TableRows, rule: SplitRule | None, number: int, batches: Iterable[pa.RecordBatch]) -> Any:
    return rows.sums(batches, rule)


def _write(plan: PreparePlan, rows: TableRows, number: int, batches: Iterable[pa.RecordBatch]) -> Report:
    return write_partition(plan, number, rows.rows(batches))


class _IndexTask:
    """The index as rows of a DataFrame."""

    def __init__(self, rows: TableRows, seed: int):
        self._rows, self._seed = rows, seed

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from self._rows.index(batches, self._seed)


__all__ = ["TableEngine", "processed"]
