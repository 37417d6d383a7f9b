"""``firesteel.transform``: a process of steps on a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from firesteel.api.paths import Path
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime
from firesteel.storage import Place

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
    header: bool = True,
    format: Literal["csv", "parquet", "json"] = "csv",
    write_header: bool = True,
    files: int | None = None,
    overwrite: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
    debug: bool = False,
) -> Transformed:
    """Read a table, apply a transform process with Spark, and write what comes out. DataFrames: see ``firesteel.spark.transformed``.

    Args:
        source: a file or folder of CSV, TSV, JSON lines or Parquet.
        out: folder for the result. Beside the table stand the process with its statistics and the schema.
        process: or its ``.yaml`` or ``.json`` file.
        schema: of the source, where the file has none; Parquet brings its own.
        header: whether text files begin with the names of the columns.
        format: of the result.
        write_header: whether CSV files begin with the names of the columns.
        files: how many files; None leaves it to Spark.
        overwrite: replace an earlier result in that folder.
        master, spark, debug: see :class:`Runtime`; without a master Spark runs on this machine.

    Returns:
        where it is, and how many rows were read and written.

    Raises:
        ConfigError: for a wrong option, or a step that does not fit the schema.
        DataError: if the source cannot be read, or something else lies in the folder.
    """
    from firesteel.tables.output import check_apart, check_output

    place, target = Place.of(source), Place.of(out)
    given, read = _process(process, schema)
    if files is not None and files < 1:
        raise ConfigError(f"files must be at least 1, got {files}.")
    check_apart(place, target)
    if given is not None:
        check_output(target, given.final_schema, format, overwrite=overwrite)
    runtime = Runtime("spark", master, spark, debug=debug)
    runtime.check(1)
    from firesteel.spark.transform_files import source_format, transform_files

    if source_format(place) != "parquet" and given is None:
        read(None)  # says that there is no schema
    with runtime.session() as session:
        return transform_files(
            session, place, target, read, schema=given.initial_schema if given else None, header=header, format=format,
            write_header=write_header, files=files, overwrite=overwrite,
        )  # fmt: skip


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
