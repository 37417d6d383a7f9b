"""``firesteel.transform``: a process of steps on a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.errors import ConfigError, DataError
from firesteel.runtime import Runtime
from firesteel.storage import Place
from firesteel.tables.source import SQL, TABLE, is_table, table_format

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.spark.transform_files import Transformed
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema


def transform(
    source: Path,
    out: Path,
    process: Path | TransformProcess,
    *,
    schema: str | Schema | None = None,
    source_format: str = "auto",
    format: Literal["csv", "parquet", "json"] = "csv",
    write_header: bool = True,
    files: int | None = None,
    overwrite: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
    debug: bool = False,
    **reading: Any,
) -> Transformed:
    """Read a table, apply a transform process with Spark, and write what comes out. DataFrames: see ``firesteel.spark.transformed``.

    Args:
        source: a file or folder of CSV, TSV, JSON lines or Parquet; ``spark-sql:SELECT ...`` or ``table:NAME``.
        out: folder for the result. Beside the table stand the process with its statistics and the schema.
        process: or its ``.yaml`` or ``.json`` file.
        schema: of the source, where the file has none; Parquet brings its own.
        source_format: csv, tsv, json or parquet; auto goes by the names of the files.
        format: of the result.
        write_header: whether CSV files begin with the names of the columns.
        files: how many files; None leaves it to Spark.
        overwrite: replace an earlier result in that folder.
        master, spark, debug: see :class:`Runtime`; without a master Spark runs on this machine.
        reading: header, delimiter, quote, escape, multiline, charset, null_values of the source, see
            :class:`firesteel.tables.options.TableOptions`.

    Returns:
        where it is, and how many rows were read and written.

    Raises:
        ConfigError: for a wrong option, or a step that does not fit the schema.
        DataError: if the source cannot be read, or something else lies in the folder.
    """
    from firesteel.specs import check_options
    from firesteel.tables.options import READING, TableOptions
    from firesteel.tables.output import check_apart, check_output

    target = Place.of(out)
    given, read = _process(process, schema)
    check_options("reading a table", reading, READING)
    if files is not None and files < 1:
        raise ConfigError(f"files must be at least 1, got {files}.")
    where, kind = _source(source, source_format)
    options = TableOptions.reading(reading, kind, given.initial_schema if given else None)
    if kind not in ("sql", "table"):
        check_apart(Place.of(where), target)
    if given is not None:
        check_output(target, given.final_schema, format, overwrite=overwrite)
    runtime = Runtime("spark", master, spark, debug=debug)
    runtime.check(1)
    from firesteel.spark.transform_files import transform_files

    if kind in ("csv", "tsv", "json") and given is None:
        read(None)  # says that there is no schema
    with runtime.session() as session:
        return transform_files(
            session, where, kind, target, read, options=options, format=format, write_header=write_header, files=files,
            overwrite=overwrite,
        )  # fmt: skip


def _source(source: Path, format: str) -> tuple[str, str]:
    """Where a table is, and its format: ``csv``, ``tsv``, ``json``, ``parquet``, ``sql`` or ``table``.

    Raises:
        ConfigError: if the names do not tell the format.
        DataError: if there is nothing.
    """
    if isinstance(source, str) and source.startswith((SQL, TABLE)):
        return source, table_format(source, format)
    place = Place.of(source)
    if not place.exists():
        raise DataError(f"there is nothing at {place}. Check the path; on a cluster every worker must see it.")
    if place.is_dir() and not any(place.files()):
        raise DataError(f"{place} holds no files.")
    if format == "auto" and place.name.lower().endswith(".txt"):
        format = "csv"  # what else: a transform process is for tables
    if not is_table(place.uri, format):
        raise ConfigError(
            f"{place}: cannot tell the format from the names of the files. They must all end alike, with .csv, .tsv, .json, .jsonl or"
            " .parquet; what says that they are compressed (.gz, .bz2, ...) may follow.\nOr say it: --source-format csv, tsv, json or"
            " parquet (in Python source_format=...)."
        )
    return place.uri, table_format(place.uri, format)


def _process(
    process: Path | TransformProcess, schema: str | Schema | None
) -> tuple[TransformProcess | None, Callable[[Schema | None], TransformProcess]]:
    """The process if its schema is known, and what gives it for the schema of the source."""
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema

    if isinstance(process, TransformProcess):
        found = process
        return found, lambda _: found
    place, stated = Place.of(process), Schema.parse(schema) if schema is not None else None

    def read(known: Schema | None) -> TransformProcess:
        return TransformProcess.read(place, schema=stated or known)

    return (read(None) if stated is not None or TransformProcess.has_schema(place) else None), read
