"""A transform process on files: a table is read, transformed and written, and the rows are counted on the way."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pyspark.errors import PySparkException
from pyspark.sql import Observation
from pyspark.sql import functions as F

from firesteel.errors import ConfigError, DataError
from firesteel.spark.actions import interruptible
from firesteel.spark.expressions import column_of, quoted
from firesteel.spark.transform import filled, schema_of, transformed
from firesteel.specs import did_you_mean
from firesteel.storage import Place
from firesteel.tables.expressions import SPARK_TYPES, Ref
from firesteel.tables.output import PROCESS_NAME, SCHEMA_NAME, check_output
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Column, Schema
from firesteel.tables.source import is_table, table_format
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
        nulls: by column, how many of the written values are missing.
        seconds: that it took.
    """

    place: Place
    process: TransformProcess
    rows_read: int
    rows_written: int
    nulls: dict[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "out": self.place.uri, "rows_read": self.rows_read, "rows_written": self.rows_written, "missing": self.nulls,
            "schema": self.process.final_schema.to_mapping(), "seconds": round(self.seconds, 3),
        }  # fmt: skip


def transform_files(
    spark: SparkSession,
    source: Place,
    out: Place,
    process: Callable[[Schema | None], TransformProcess],
    *,
    schema: Schema | None,
    header: bool,
    format: Format,
    write_header: bool,
    files: int | None,
    overwrite: bool,
) -> Transformed:
    """Transform the table of some files into files of a new folder.

    Args:
        spark: does the work.
        source: a file or folder of ``.csv``, ``.tsv``, ``.json``, ``.jsonl`` (one object a line) or ``.parquet``.
        out: folder that is written.
        process: gives the process for the schema of the source, where the file has none itself.
        schema: of the source; None takes that of the process, or of Parquet.
        header: whether text files begin with the names of the columns.
        format: of what is written.
        write_header: whether CSV files begin with the names of the columns.
        files: how many; None leaves it to Spark.
        overwrite: replace what an earlier transformation has written there.
    """
    began = time.monotonic()
    frame, chosen = _opened(spark, source, process, schema, header)
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
            interruptible(spark, lambda: getattr(writer, format)(_uri(target)))
    except _SPARK_ERRORS as error:
        raise _failed(source, error) from error
    counts = written.get
    missing = {name: counts[f"n{i}"] for i, name in enumerate(result.columns) if counts[f"n{i}"]}
    return Transformed(out, chosen, read.get["rows"], counts["rows"], missing, time.monotonic() - began)


def _opened(
    spark: SparkSession,
    source: Place,
    process: Callable[[Schema | None], TransformProcess],
    schema: Schema | None,
    header: bool,
) -> tuple[DataFrame, TransformProcess]:
    kind = source_format(source)
    try:
        if kind == "parquet":
            frame = spark.read.parquet(_uri(source))
            chosen = process(schema or schema_of(frame))
            return frame, chosen
        chosen = process(schema)
        return _read_text(spark, source, kind, chosen.initial_schema, header), chosen
    except _SPARK_ERRORS as error:
        raise _failed(source, error) from error


def source_format(source: Place) -> str:
    """csv, tsv, json or parquet, by the names of the files.

    Raises:
        ConfigError: if the names do not tell.
        DataError: if there is nothing.
    """
    if not source.exists():
        raise DataError(f"there is nothing at {source}. Check the path; on a cluster every worker must see it.")
    if source.is_dir() and not any(source.files()):
        raise DataError(f"{source} holds no files.")
    if source.name.lower().endswith(".txt"):
        return "csv"
    if not is_table(source.uri, "auto"):
        raise ConfigError(
            f"{source}: cannot tell the format from the names of the files. They must all end alike, with .csv, .tsv, .json, .jsonl or"
            " .parquet; what says that they are compressed (.gz, .bz2, ...) may follow."
        )
    return table_format(source.uri, "auto")


def _read_text(spark: SparkSession, source: Place, kind: str, schema: Schema, header: bool) -> DataFrame:
    """Texts first, then values of the schema's types: a text that is none becomes null."""
    texts = ", ".join(f"{quoted(column.name)} {_read_type(column)}" for column in schema.columns)
    reader = spark.read.option("mode", "PERMISSIVE")
    if kind == "json":
        frame = reader.schema(texts).json(_uri(source))
    else:
        reader = reader.options(header=header, sep="\t" if kind == "tsv" else ",", quote='"', escape='"')
        frame = (reader if header else reader.schema(texts)).csv(_uri(source))
    if not frame.columns:
        raise DataError(f"{source} is empty: there is not even a line with the names of the columns.")
    for name in schema.names:
        if name not in frame.columns:
            raise ConfigError(
                f"{source} has no column {name!r}; it has {', '.join(frame.columns)}.{did_you_mean(name, frame.columns)}\n"
                "Without a header, say so: --no-header. Then the schema's columns are those of the file, in order."
            )
    return frame.select(*(column_of(_typed(column)).alias(column.name) for column in schema.columns))


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


def _uri(place: Place) -> str:
    """As Spark names it: its connector for S3 is s3a."""
    if place.is_local:
        return f"file://{place.uri}"
    return re.sub(r"^s3://", "s3a://", place.uri)


def _failed(source: Place, error: Exception) -> DataError:
    """The innermost cause of a Java trace, or else the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line.partition(": ")[2] for line in lines if line.startswith("Caused by: ")]
    reason = (causes or lines or [type(error).__name__])[-1 if causes else 0]
    return DataError(f"Spark could not transform {source}: {reason[:300]}\n--debug shows all that it says.")


__all__ = ["Transformed", "source_format", "transform_files"]
