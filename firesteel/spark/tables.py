"""Tables that Spark reads: CSV, JSON lines and Parquet files, SQL queries, tables of the catalogue, DataFrames.

Spark lists, cuts, decompresses and fetches the files, wherever its connectors reach. Lines of CSV and JSON are taken apart in
Python tasks by :mod:`firesteel.tables.records`, not by Spark's own readers: these take a line whose quote is never closed
and JSON with something behind it for sound, end the whole job at a line of very many fields, and do not say which column
of a record is wrong. So prediction, which needs no Spark, reads files in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from firesteel.errors import ConfigError
from firesteel.spark.barrier import map_partitions
from firesteel.spark.expressions import quoted
from firesteel.spark.places import explained, spark_path
from firesteel.spark.text_tables import csv_layout, json_layout, lines_of
from firesteel.spark.transform import column_of_field
from firesteel.specs import did_you_mean
from firesteel.tables.dialect import Dialect
from firesteel.tables.inference import TypeVotes, schema_from_votes, votes_of
from firesteel.tables.options import TableOptions
from firesteel.tables.parsing import ARROW_TYPES, check_holds, parse_column
from firesteel.tables.records import (
    PLACE,
    PROBLEM,
    RECORD,
    ColumnsReader,
    LinesReader,
    RecordReader,
)  # fmt: skip
from firesteel.tables.schema import Column, Schema
from firesteel.tables.source import SQL, TABLE, table_format

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SQL_TYPES = {
    "string": "string", "integer": "int", "long": "bigint", "double": "double", "categorical": "string",
    "time": "timestamp", "boolean": "boolean", "bytes": "binary",
}  # fmt: skip
"""Type of a schema's column -> type of the DataFrame's column that holds it."""


@dataclass(frozen=True)
class TableFrame:
    """A table that Spark reads.

    Attributes:
        raw: what Spark reads: lines, or columns as they come.
        reader: makes records of its batches.
        schema: of the columns.
        layout: names of all columns of the source in their order; empty if they have no order of their own.
        dialect: of the text.
        notes: what a person should know: types that were inferred, columns that are not used.
        source: the table that this one was made of by a transform process; None if there was none.
    """

    raw: DataFrame
    reader: RecordReader
    schema: Schema
    layout: tuple[str, ...] = ()
    dialect: Dialect = field(default_factory=lambda: Dialect(format="rows"))
    notes: tuple[str, ...] = ()
    source: TableFrame | None = None

    @property
    def frame(self) -> DataFrame:
        """The rows with columns of the schema's types, and beside them ``__problem``, ``__record`` and ``__place``.

        A record that cannot be used, because it is broken or a value is not what the schema says, is a row all the same: its
        problem says why (column, value, what was expected), its record is its text, and the values that are wrong are null.
        The three are null in all other rows, but for the place.
        """
        columns = [f"{quoted(column.name)} {_SQL_TYPES[column.type]}" for column in self.schema.each()]
        marks = [f"{name} string" for name in (PROBLEM, RECORD, PLACE)]
        task = partial(typed_batches, self.reader, self.schema, self.dialect.null_values)
        return self.raw.mapInArrow(task, ", ".join(columns + marks))

    def transformed(self, process: Callable[[DataFrame], DataFrame], schema: Schema) -> TableFrame:
        """The table that a process makes of the rows without a problem; those with one stay as they are.

        Args:
            process: from a DataFrame with the schema's columns to another; rows that it leaves out are counted as dropped.
            schema: of what it gives.
        """
        from pyspark.sql import functions as F

        typed = self.frame
        sound = process(typed.where(F.col(PROBLEM).isNull()).select(*map(quoted, self.schema.names)))
        broken = typed.where(F.col(PROBLEM).isNotNull()).select(PROBLEM, RECORD, PLACE)
        both = sound.select(*map(quoted, schema.names)).unionByName(broken, allowMissingColumns=True)
        return TableFrame(both, ColumnsReader(), schema, (), self.dialect, self.notes, self)


def typed_batches(
    reader: RecordReader, schema: Schema, null_values: tuple[str, ...], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The task of :attr:`TableFrame.frame`."""
    text = pa.string()
    fields = [(column.name, ARROW_TYPES[column.type]) for column in schema.each()]
    arrow_schema = pa.schema([*fields, (PROBLEM, text), (RECORD, text), (PLACE, text)])
    for records in reader.read(batches):
        problems: dict[int, str] = {}
        arrays = []
        for column in schema.each():
            parsed = parse_column(records.columns[column.name], column, null_values)
            arrays.append(parsed.values)
            problems = parsed.invalid | problems
        problems |= records.problems
        rows = range(records.count)
        arrays.append(pa.array([problems.get(row) for row in rows], text))
        arrays.append(pa.array([records.text(row) if row in problems else None for row in rows], text))
        arrays.append(pa.array([records.place(row) or None for row in rows], text))
        yield pa.RecordBatch.from_arrays(arrays, schema=arrow_schema)


# -- opening ----------------------------------------------------------------------------------------------------------


def read_table(
    spark: SparkSession,
    where: str | DataFrame,
    format: str = "auto",
    *,
    schema: Schema | str | None = None,
    columns: Iterable[str] | None = None,
    **options: Any,
) -> TableFrame:
    """Open a table.

    Args:
        spark: reads it.
        where: a file or folder of CSV, TSV, JSON lines or Parquet, on any storage that the session has a connector for;
            ``spark-sql:SELECT ...``; ``table:NAME``; or a DataFrame.
        format: csv, tsv, json, parquet, or auto: by the names of the files.
        schema: names, types and valid values of the columns; None infers the types of all rows' texts, and takes those that
            Parquet, tables and queries have.
        columns: that are wanted, and checked; None is all of the schema.
        options: header, delimiter, quote, escape, multiline, charset, null_values, as far as such a table has them: see
            :class:`TableOptions`.

    Raises:
        ConfigError: for a wrong option, or a column that is not there.
        DataError: if there is nothing to read, or the header is not sound.
        ResourceError: if the session has no connector for that storage.
    """
    kind = table_format(where, format) if isinstance(where, str) else "rows"
    chosen = TableOptions.reading(options, kind, Schema.parse(schema) if schema else None)
    table = open_table(spark, where, format, chosen)
    return table if columns is None else only(table, columns)


def open_table(spark: SparkSession, where: str | DataFrame, format: str, options: TableOptions) -> TableFrame:
    """The same, with options that have been checked."""
    with explained(where):
        if not isinstance(where, str):
            return _typed_table(where, options)
        if where.startswith(SQL):
            return _typed_table(spark.sql(where.removeprefix(SQL)), options)
        if where.startswith(TABLE):
            return _typed_table(spark.table(where.removeprefix(TABLE)), options)
        return _open_files(spark, where, table_format(where, format), options)


def open_texts(spark: SparkSession, where: str, kind: str, options: TableOptions) -> TableFrame:
    """A table of CSV or JSON lines with the texts of its fields, whatever types the options say: nothing is inferred, and only a
    record that is no record has a problem.
    """
    with explained(where):
        lines, reader, dialect = _open_lines(spark, where, kind, options)
    schema = Schema(columns=tuple(Column(name=name, type="string") for name in reader.layout))
    return TableFrame(lines, reader, schema, reader.layout, dialect)


def without_null_values(frame: DataFrame, null_values: Sequence[str]) -> DataFrame:
    """A DataFrame whose texts are missing where they are one of these; of the others none is changed."""
    from pyspark.sql import functions as F

    texts = {each.name for each in frame.schema.fields if each.dataType.typeName() == "string"}
    if not null_values or not texts:
        return frame
    columns = {name: F.col(quoted(name)) for name in frame.columns}
    return frame.select(*(
        F.when(~F.trim(column).isin(*null_values), column).alias(name) if name in texts else column
        for name, column in columns.items()
    ))  # fmt: skip


def only(table: TableFrame, names: Iterable[str]) -> TableFrame:
    """The same table with some of its columns; others are not looked at, so that what is wrong there does not matter."""
    kept = Schema(columns=tuple(table.schema[name] for name in dict.fromkeys(names)))
    reader, raw = table.reader, table.raw
    if isinstance(reader, LinesReader):
        reader = replace(reader, wanted=kept.names)
    elif table.source is None:
        raw = raw.select(*map(quoted, kept.names))
    return replace(table, raw=raw, reader=reader, schema=kept)


def _open_files(spark: SparkSession, where: str, kind: str, options: TableOptions) -> TableFrame:
    if kind == "parquet":
        frame = spark.read.parquet(spark_path(where))
        return _typed_table(frame, options, Dialect(format="parquet", null_values=options.null_values))
    lines, reader, dialect = _open_lines(spark, where, kind, options)
    notes: tuple[str, ...] = ()
    if options.columns is None:
        schema, notes = _inferred(TableFrame(lines, reader, Schema(), reader.layout, dialect))
    else:
        schema, notes = options.columns, _unused(reader.layout, options.columns.names) if kind != "json" else ()
    return TableFrame(lines, replace(reader, wanted=schema.names), schema, reader.layout, dialect, notes)


def _open_lines(
    spark: SparkSession, where: str, kind: str, options: TableOptions
) -> tuple[DataFrame, LinesReader, Dialect]:
    """Lines of CSV or JSON, and what makes records of them with all their fields."""
    path = spark_path(where)
    dialect = options.dialect("json" if kind == "json" else "csv", "\t" if kind == "tsv" else ",")
    lines = lines_of(spark, path, dialect)
    if kind == "json":
        layout = json_layout(spark, path, dialect, options)
    else:
        layout = csv_layout(lines, dialect, options, where)
    return lines, LinesReader(dialect, layout, layout), dialect


def _inferred(table: TableFrame) -> tuple[Schema, tuple[str, ...]]:
    """The schema that the texts of all rows have."""
    parts = map_partitions(table.raw, votes_task, (table.reader, table.dialect.null_values))
    schema, votes = schema_from_votes(parts, table.layout)
    said = [f"the types of the columns were inferred: {schema}; --schema says them (and saves a pass over the data)"]
    for name, of in votes.items():
        wrong = of.wrong["double"]
        if schema[name].type == "string" and of.values and 0 < wrong <= of.values // 10:
            said.append(
                f"column {name} was taken for strings: {wrong:,} of its {of.values:,} values are no numbers; --schema decides"
            )
    return schema, tuple(said)


def votes_task(
    reader: RecordReader, null_values: tuple[str, ...], number: int, batches: Iterable[pa.RecordBatch]
) -> dict[str, TypeVotes]:
    """What one partition says of the types of its columns."""
    total: dict[str, TypeVotes] = {}
    for records in reader.read(batches):
        sound = pa.array([row not in records.problems for row in range(records.count)], pa.bool_())
        found = votes_of({name: array.filter(sound) for name, array in records.columns.items()}, null_values)
        total = {name: total[name] + votes if name in total else votes for name, votes in found.items()}
    return total


def _unused(layout: Iterable[str], declared: Iterable[str]) -> tuple[str, ...]:
    unused = [name for name in layout if name not in set(declared)]
    if not unused:
        return ()
    shown = ", ".join(unused[:6]) + (", ..." if len(unused) > 6 else "")
    return (
        f"{len(unused)} column{'s' * (len(unused) > 1)} of the source ({shown}) are not in the schema, and not used",
    )


# -- rows that have types already -----------------------------------------------------------------------------------


def _typed_table(frame: DataFrame, options: TableOptions, dialect: Dialect | None = None) -> TableFrame:
    from pyspark.sql.pandas.types import to_arrow_type

    dialect = dialect or Dialect(format="rows", null_values=options.null_values)
    own, other = _single_columns(frame)
    notes: tuple[str, ...] = ()
    if options.columns is None:
        schema = own
        if other:
            notes = (f"columns that hold no single values are not used: {', '.join(other)}",)
    else:
        schema = options.columns
        absent = [name for name in schema.names if name not in frame.columns]
        if absent:
            raise ConfigError(
                f"the table has the columns {', '.join(frame.columns)}; the schema has {', '.join(schema.names)}.\n"
                f"Not in the table: {', '.join(absent)}.{did_you_mean(absent[0], frame.columns)}"
            )
        for column in schema.each():
            if column.name in other:
                raise ConfigError(f"column {column.name!r} holds {other[column.name]}, no single values.")
            check_holds(to_arrow_type(frame.schema[column.name].dataType), column)
    if not len(schema):
        raise ConfigError(f"the table has no column that holds single values: {', '.join(frame.columns)}.")
    chosen = frame.select(*map(quoted, schema.names))
    return TableFrame(chosen, ColumnsReader(), schema, tuple(frame.columns), dialect, notes)


def _single_columns(frame: DataFrame) -> tuple[Schema, dict[str, str]]:
    """The schema of a DataFrame's columns of single values, and the types of its other columns.

    NaN and infinity are valid, as they are to Spark.
    """
    columns, other = [], {}
    for each in frame.schema.fields:
        column = column_of_field(each) if each.name.strip() else None
        if column is None or column.sequence:
            other[each.name] = each.dataType.simpleString()[:60]
        else:
            free = {"nan": True, "infinite": True} if column.type == "double" else {}
            columns.append(column.model_copy(update=free))
    return Schema(columns=tuple(columns)), other


__all__ = ["TableFrame", "only", "open_table", "open_texts", "read_table", "spark_path", "without_null_values"]
