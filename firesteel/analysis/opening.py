"""What is to be analysed, and who does it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from firesteel.analysis.driver import COMPARED, Tasks, analyze_rows, expected_rows, local_tasks
from firesteel.analysis.results import Analysis, TableAnalysis
from firesteel.analysis.sources import PreparedRows
from firesteel.data.manifest import MANIFEST_NAME, Dataset
from firesteel.data.sources import FORMATS, Source, open_source
from firesteel.data.sources.base import is_hidden
from firesteel.errors import ConfigError, DataError
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.specs import did_you_mean
from firesteel.storage import Place
from firesteel.tables.schema import Schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TABLE_FORMATS = ("csv", "tsv", "parquet", "json")

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".json": "json", ".jsonl": "json",
             ".ndjson": "json"}  # fmt: skip
_FEW_ROWS = 4000
"""Fewer are sooner done in this process than other processes are started."""

_COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4", ".snappy")


def analyze_anything(
    source: Any,
    runtime: Runtime,
    *,
    format: str,
    schema: Schema | None,
    header: bool,
    delimiter: str | None,
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
    if not isinstance(source, str | os.PathLike | Place | Dataset):
        return _analyze_frame(source, schema, watch)
    prepared = _prepared(source, format)
    place = prepared.place if prepared is not None else Place.of(source)  # type: ignore[arg-type]
    kind = None if prepared is not None else table_format(place, format)
    if kind is not None:
        return _analyze_table(place, kind, runtime, schema, header, delimiter, watch)
    if schema is not None or delimiter is not None or not header:
        raise ConfigError(f"schema, header and delimiter are for tables; {place} is none. Leave them out.")
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
        yield local_tasks(local_launcher(count), count)
        return
    from firesteel.spark.analyze import spark_tasks

    with runtime.session() as spark:
        yield spark_tasks(spark, shares_host=shares_host(spark))


# -- tables -----------------------------------------------------------------------------------------------------------


def table_format(place: Place, format: str) -> str | None:
    """csv, tsv, parquet or json if a place holds a table, as its name or the names in it say; else None."""
    if format != "auto":
        return format if format in TABLE_FORMATS else None
    own = _format_of(place.name)
    if own is not None or not place.is_dir():
        return own
    if any(not is_hidden(name) and "=" not in name for name in place.folders()):
        return None  # class folders; a table may be partitioned: year=2016/
    names = (entry.path.rpartition("/")[2] for entry in place.files())
    found = Counter(_format_of(name) for name in names if not is_hidden(name) and not name.startswith("_"))
    (common, _), *_ = found.most_common() or [(None, 0)]
    return common


def _format_of(name: str) -> str | None:
    stem, suffix = os.path.splitext(name.lower())
    return _SUFFIXES.get(os.path.splitext(stem)[1] if suffix in _COMPRESSIONS else suffix)


def _analyze_table(
    place: Place,
    kind: str,
    runtime: Runtime,
    schema: Schema | None,
    header: bool,
    delimiter: str | None,
    watch: Watch | None,
) -> Analysis:
    if runtime.engine == "local":
        raise ConfigError("tables are read by Spark. Leave the engine out, or say --engine spark.")
    if not place.exists():
        raise DataError(f"there is no table at {place}. Check the path; on a cluster every worker must see it.")
    if delimiter is not None and kind != "csv":
        raise ConfigError(f"delimiter is for csv; {place} is {kind}.")
    runtime = Runtime("spark", runtime.master, runtime.spark, runtime.conf, runtime.debug)
    runtime.check(1)
    from firesteel.spark.analyze import read_frame

    with runtime.session() as spark:
        frame = read_frame(spark, place, kind, schema=schema, header=header, delimiter=delimiter)
        return _analyze_frame(frame, schema, watch, named=place.uri)


def _analyze_frame(
    frame: DataFrame | Any, schema: Schema | None, watch: Watch | None, named: str = "DataFrame"
) -> Analysis:
    if not hasattr(frame, "mapInArrow"):
        raise ConfigError(f"source must be a path, a Dataset or a Spark DataFrame, got {type(frame).__name__}.")
    from firesteel.spark.analyze import analyze_frame

    began = time.monotonic()
    with _watched(frame.sparkSession, watch) as progress:
        summary = analyze_frame(frame, schema, progress)
    notes = [] if summary.rows else ["the table has no rows"]
    return TableAnalysis.of(summary, named, notes, time.monotonic() - began)


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
