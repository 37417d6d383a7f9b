"""A transform process on files: a table is read, transformed and written, and the rows are counted on the way."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pyspark.errors import PySparkException
from pyspark.sql import Observation
from pyspark.sql import functions as F

from firesteel.errors import DataError
from firesteel.spark.actions import interruptible
from firesteel.spark.expressions import column_of, quoted
from firesteel.spark.places import spark_path
from firesteel.spark.tables import open_texts, without_null_values
from firesteel.spark.transform import filled, schema_of, transformed
from firesteel.storage import Place
from firesteel.tables.expressions import SPARK_TYPES, Ref
from firesteel.tables.options import TableOptions
from firesteel.tables.output import PROCESS_NAME, SCHEMA_NAME, check_output
from firesteel.tables.process import TransformProcess
from firesteel.tables.records import PROBLEM, RECORD
from firesteel.tables.schema import Column, Schema
from firesteel.tables.source import SQL, TABLE
from firesteel.tables.values import parsed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

Format = Literal["csv", "parquet", "json"]

_SPARK_ERRORS: tuple[type[Exception], ...] = (PySparkException,)
with contextlib.suppress(ImportError):  # Spark Connect needs no py4j
    from py4j.protocol import Py4JJavaError

    _SPARK_ERRORS += (Py4JJavaError,)
"""pyspark translates most Java exceptions, not all."""


@dataclass(frozen=True)
class Transformed:
    """The result of a transformation.

    Attributes:
        place: folder with the files.
        process: that was applied, with all statistics filled in.
        rows_read, rows_written: how many.
        broken: records that are none (too few fields, an open quote, no JSON), which were left out; and one of them.
        nulls: by column, how many of the written values are missing.
        seconds: that it took.
    """

    place: Place
    process: TransformProcess
    rows_read: int
    rows_written: int
    nulls: dict[str, int]
    seconds: float
    broken: int = 0
    example: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "out": self.place.uri, "rows_read": self.rows_read, "rows_written": self.rows_written, "broken": self.broken,
            "missing": self.nulls,
            "schema": self.process.final_schema.to_mapping(), "seconds": round(self.seconds, 3),
        }  # fmt: skip


def transform_files(
    spark: SparkSession,
    source: str,
    kind: str,
    out: Place,
    process: Callable[[Schema | None], TransformProcess],
    *,
    options: TableOptions,
    format: Format,
    write_header: bool,
    files: int | None,
    overwrite: bool,
) -> Transformed:
    """Transform the table of some files into files of a new folder.

    Args:
        spark: does the work.
        source: a file or folder, ``spark-sql:SELECT ...`` or ``table:NAME``.
        kind: csv, tsv, json (one object a line), parquet, sql or table.
        out: folder that is written.
        process: gives the process for the schema of the source, where the file has none itself.
        options: how it is read; its schema, where the process has none: None takes that of what has types.
        format: of what is written.
        write_header: whether CSV files begin with the names of the columns.
        files: how many; None leaves it to Spark.
        overwrite: replace what an earlier transformation has written there.
    """
    began = time.monotonic()
    frame, chosen, broken = _opened(spark, source, kind, process, options)
    check_output(out, chosen.final_schema, format, overwrite=overwrite)
    read, written = Observation(f"read-{secrets.token_hex(4)}"), Observation(f"written-{secrets.token_hex(4)}")
    try:
        chosen = filled(frame, chosen)
        result = transformed(frame.observe(read, F.count(F.lit(1)).alias("rows")), chosen)
        nulls = [F.count_if(F.col(quoted(name)).isNull()).alias(f"n{i}") for i, name in enumerate(result.columns)]
        result = result.observe(written, F.count(F.lit(1)).alias("rows"), *nulls)
        writer = _writer(result if files is None else result.coalesce(files), format, write_header)
        with _replacing(out) as target:
            # First, so that what a killed driver leaves is known to be ours.
            (target / PROCESS_NAME).write_text(chosen.to_yaml())
            (target / SCHEMA_NAME).write_text(_written_schema(chosen.final_schema, format).to_yaml())
            interruptible(spark, lambda: getattr(writer, format)(spark_path(target.uri, written=True)))
    except _SPARK_ERRORS as error:
        raise _failed(source, error) from error
    counts = written.get
    missing = {name: counts[f"n{i}"] for i, name in enumerate(result.columns) if counts[f"n{i}"]}
    lost: dict[str, Any] = {"count": 0, "example": None} if broken is None else broken.get
    return Transformed(
        out, chosen, read.get["rows"] + lost["count"], counts["rows"], missing, time.monotonic() - began,
        lost["count"], lost["example"],
    )  # fmt: skip


def _opened(
    spark: SparkSession,
    source: str,
    kind: str,
    process: Callable[[Schema | None], TransformProcess],
    options: TableOptions,
) -> tuple[DataFrame, TransformProcess, Observation | None]:
    try:
        if kind in ("csv", "tsv", "json"):
            chosen = process(options.columns)
            frame, broken = _read_text(spark, source, kind, options, chosen.initial_schema)
            return frame, chosen, broken
        if kind == "parquet":
            frame = spark.read.parquet(spark_path(source))
        else:
            frame = spark.sql(source.removeprefix(SQL)) if kind == "sql" else spark.table(source.removeprefix(TABLE))
        frame = without_null_values(frame, options.null_values)
        return frame, process(options.columns or schema_of(frame)), None
    except _SPARK_ERRORS as error:
        raise _failed(source, error) from error


def _read_text(
    spark: SparkSession, where: str, kind: str, options: TableOptions, schema: Schema
) -> tuple[DataFrame, Observation]:
    """Values of the schema's types: a text that is none becomes null. Records that are none are left out, and counted."""
    if kind == "json" and any(column.sequence for column in schema.columns):
        frame = _read_sequences(spark, where, options, schema)
    else:
        frame = open_texts(spark, where, kind, options.model_copy(update={"columns": schema})).frame
    broken = F.col(PROBLEM)
    observed = Observation(f"broken-{secrets.token_hex(4)}")
    sound = frame.observe(observed, F.count(broken).alias("count"), F.min(broken).alias("example")).where(
        broken.isNull()
    )
    return sound.select(*(column_of(_typed(column)).alias(column.name) for column in schema.columns)), observed


def _read_sequences(spark: SparkSession, where: str, options: TableOptions, schema: Schema) -> DataFrame:
    """JSON with lists in it, which only Spark reads."""
    texts = ", ".join(f"{quoted(column.name)} {_read_type(column)}" for column in schema.columns)
    reader = spark.read.options(
        columnNameOfCorruptRecord=RECORD, multiLine=options.multiline, encoding=options.charset
    ).schema(f"{texts}, {RECORD} string")
    problem = F.when(F.col(RECORD).isNotNull(), F.concat(F.lit("is no JSON object: "), F.substring(RECORD, 1, 60)))
    frame = reader.json(spark_path(where)).withColumn(PROBLEM, problem)
    return without_null_values(frame, options.null_values)


def _read_type(column: Column) -> str:
    return f"array<{SPARK_TYPES[column.type]}>" if column.sequence else "string"


def _typed(column: Column) -> Any:
    return Ref(column.name) if column.sequence else parsed(Ref(column.name), column)


def _writer(frame: DataFrame, format: Format, write_header: bool) -> DataFrameWriter:
    writer = frame.write.mode("append")
    if format == "parquet":
        return writer
    writer = writer.options(timestampFormat="yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", timeZone="UTC")
    return writer.options(header=write_header, escape='"') if format == "csv" else writer


@contextlib.contextmanager
def _replacing(out: Place) -> Iterator[Place]:
    """The folder to write to: beside it where an earlier result shall be replaced, and only by a whole one."""
    replaces = not out.is_empty_or_missing()
    target = Place(f"{out.uri}.tmp-{secrets.token_hex(4)}") if replaces else out
    try:
        yield target
    except BaseException:
        target.delete()
        raise
    if replaces:
        out.delete()
        target.move(out)


def _written_schema(schema: Schema, format: Format) -> Schema:
    """Texts hold times in ISO 8601 with a zone, whatever form they were read in."""
    if format == "parquet":
        return schema
    return Schema.from_columns(column.model_copy(update={"format": None}) for column in schema.columns)


def _failed(source: str, error: Exception) -> DataError:
    """The innermost cause of a Java trace, or else the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line.partition(": ")[2] for line in lines if line.startswith("Caused by: ")]
    reason = (causes or lines or [type(error).__name__])[-1 if causes else 0]
    return DataError(f"Spark could not transform {source}: {reason[:300]}\n--debug shows all that it says.")


__all__ = ["Transformed", "transform_files"]
