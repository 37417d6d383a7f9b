"""What is to be analysed, and who does it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from firesteel.analysis.driver import COMPARED, Tasks, analyze_rows, expected_rows
from firesteel.analysis.results import Analysis, TableAnalysis
from firesteel.analysis.sources import PreparedRows
from firesteel.data.manifest import MANIFEST_NAME, Dataset
from firesteel.data.sources import FORMATS, Source, open_source
from firesteel.errors import ConfigError, DataError
from firesteel.local_tasks import map_local
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.specs import check_options, did_you_mean
from firesteel.storage import Place
from firesteel.tables.options import READING, TableOptions
from firesteel.tables.schema import Schema
from firesteel.tables.source import SQL, TABLE, TABLE_FORMATS, is_table, table_format

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_FEW_ROWS = 4000
"""Fewer are sooner done in this process than other processes are started."""


def analyze_anything(
    source: Any,
    runtime: Runtime,
    *,
    format: str,
    schema: Schema | None,
    reading: Mapping[str, Any],
    compare: int | None,
    workers: int | None,
    watch: Watch | None,
    format_options: Mapping[str, str],
) -> Analysis:
    """Analyse a source, a prepared dataset, a table or a DataFrame; the arguments are those of :func:`firesteel.analyze`."""
    formats = (*FORMATS, *TABLE_FORMATS)
    if format not in formats:
        raise ConfigError(f"format must be one of {', '.join(formats)}, got {format!r}.{did_you_mean(format, formats)}")
    if compare is not None and compare < 1:
        raise ConfigError(f"compare must be at least 1 picture, got {compare}.")
    check_options("reading a table", reading, READING)
    if not isinstance(source, str | os.PathLike | Place | Dataset):
        return _analyze_given(source, TableOptions.reading(reading, "rows", schema), watch)
    if isinstance(source, str) and source.startswith((SQL, TABLE)):
        kind = table_format(source, format)
        return _analyze_table(source, kind, runtime, TableOptions.reading(reading, kind, schema), watch)
    prepared = _prepared(source, format)
    place = prepared.place if prepared is not None else Place.of(source)  # type: ignore[arg-type]
    if prepared is None and is_table(place.uri, format):
        if runtime.engine != "local" and not place.exists():
            raise DataError(f"there is no table at {place}. Check the path; on a cluster every worker must see it.")
        kind = table_format(place.uri, format)
        return _analyze_table(place.uri, kind, runtime, TableOptions.reading(reading, kind, schema), watch)
    if schema is not None or reading:
        raise ConfigError(
            f"{'schema' if schema is not None else next(iter(reading))} is for tables; {place} is none. Leave it out, or say the"
            " format (csv, tsv, json, parquet)."
        )
    rows = PreparedRows(prepared) if prepared is not None else _source(place, format, format_options)
    runtime.check(1)
    with _tasks(runtime, workers, rows) as tasks:
        return analyze_rows(
            rows, place.uri, tasks, announced=_announced(rows), notes=rows.notes() if isinstance(rows, Source) else (),
            compare=compare or COMPARED, watch=watch,
        )  # fmt: skip


def _prepared(source: Any, format: str) -> Dataset | None:
    """The dataset, if it is one."""
    if isinstance(source, Dataset):
        return source
    place = Place.of(source)
    return Dataset.open(place) if format == "auto" and (place / MANIFEST_NAME).exists() else None


def _source(place: Place, format: str, format_options: Mapping[str, str]) -> Source:
    try:
        return open_source(place, format, **format_options)
    except ConfigError as error:
        if "cannot tell the format" not in str(error):
            raise
        formats = ", ".join((*FORMATS[1:], *TABLE_FORMATS))
        raise ConfigError(f"{str(error).splitlines()[0]}\nSay it with --format: {formats}.") from None


def _announced(rows: Source | PreparedRows) -> list[str]:
    return rows.class_names() if isinstance(rows, Source) else rows.dataset.manifest.labels


@contextlib.contextmanager
def _tasks(runtime: Runtime, workers: int | None, rows: Source | PreparedRows) -> Iterator[Tasks]:
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}.")
    if not runtime.uses_spark:
        few = expected_rows(rows) < _FEW_ROWS
        count = workers or (1 if few else len(os.sched_getaffinity(0)))
        yield Tasks(partial(map_local, local_launcher(count), count), progress=True)
        return
    from firesteel.spark.analyze import spark_tasks

    with runtime.session() as spark:
        yield spark_tasks(spark, shares_host=shares_host(spark))


# -- tables -----------------------------------------------------------------------------------------------------------


def _analyze_table(where: str, kind: str, runtime: Runtime, options: TableOptions, watch: Watch | None) -> Analysis:
    if runtime.engine == "local":
        raise ConfigError("tables are read by Spark. Leave the engine out, or say --engine spark.")
    runtime = Runtime("spark", runtime.master, runtime.spark, runtime.conf, runtime.debug)
    runtime.check(1)
    from firesteel.spark.analyze import open_frame

    with runtime.session() as spark:
        frame, notes = open_frame(spark, where, kind, options)
        return _analyze_frame(frame, options.columns, watch, where, notes)


def _analyze_given(frame: Any, options: TableOptions, watch: Watch | None) -> Analysis:
    if not hasattr(frame, "mapInArrow"):
        raise ConfigError(f"source must be a path, a Dataset or a Spark DataFrame, got {type(frame).__name__}.")
    from firesteel.spark.tables import without_null_values

    return _analyze_frame(
        without_null_values(frame, options.null_values), options.columns, watch, "DataFrame", notes=list
    )


def _analyze_frame(
    frame: DataFrame, schema: Schema | None, watch: Watch | None, named: str, notes: Callable[[], list[str]]
) -> Analysis:
    from firesteel.spark.analyze import analyze_frame

    began = time.monotonic()
    with _watched(frame.sparkSession, watch) as progress:
        summary = analyze_frame(frame, schema, progress)
    said = [*([] if summary.rows else ["the table has no rows"]), *notes()]
    return TableAnalysis.of(summary, named, said, time.monotonic() - began)


@contextlib.contextmanager
def _watched(spark: SparkSession, watch: Watch | None) -> Iterator[str | None]:
    """A folder that all tasks see, to say their progress in; None where there is none or nobody looks."""
    if watch is None or not shares_host(spark):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="firesteel-") as folder, watch(Place(folder)):
        yield folder


def shares_host(spark: SparkSession) -> bool:
    """Whether all tasks of a session run on this machine."""
    try:
        master = str(spark.conf.get("spark.master", ""))
    except Exception:  # Connect may not tell
        return False
    return master.startswith("local")
