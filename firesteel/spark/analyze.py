"""Analysis by Spark tasks: of a DataFrame, and of the sources that tasks read themselves."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from firesteel.analysis.driver import Tasks
from firesteel.analysis.tables import TableColumn, TableSummary, summarise
from firesteel.data.progress import TaskProgress
from firesteel.spark import tasks
from firesteel.spark.actions import collected
from firesteel.spark.analyzed_columns import analyzed_columns
from firesteel.spark.barrier import explain, map_tasks
from firesteel.storage import Place
from firesteel.tables.schema import Schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_MERGING_TASKS = 8
"""The tasks' summaries are merged in so many tasks before they come to the driver: its memory does not grow with them."""


def spark_tasks(spark: SparkSession, *, shares_host: bool) -> Tasks:
    """Spark's tasks.

    Args:
        spark: the session.
        shares_host: whether all its tasks run on this machine.
    """
    return Tasks(partial(map_tasks, spark), progress=shares_host)


def analyze_frame(frame: DataFrame, schema: Schema | None = None, progress: str | None = None) -> TableSummary:
    """Go once over a DataFrame.

    Args:
        frame: of any types.
        schema: says of some or all columns what they should hold; others are taken as they are.
        progress: folder that all tasks see, to say in how many rows are done; None says nothing.

    Raises:
        ConfigError: if the schema does not fit.
    """
    selected, columns = analyzed_columns(frame, schema)
    parts = selected.mapInArrow(
        partial(tasks.run_stream, _summarise_partition, (columns, progress)), tasks.RESULT_SCHEMA
    )
    merged = parts.repartition(_MERGING_TASKS).mapInArrow(partial(merge_summaries, columns), tasks.RESULT_SCHEMA)
    whole = TableSummary(columns)
    try:
        rows = collected(merged)
    except Exception as error:
        raise explain(error, None) from error
    for row in rows:
        whole.merge(pickle.loads(bytes(row.result)))  # from our own workers, through Spark
    return whole


def _summarise_partition(
    columns: list[TableColumn], progress: str | None, number: int, batches: Iterable[pa.RecordBatch]
) -> TableSummary:
    return summarise(columns, batches if progress is None else _saying(batches, Place(progress), number))


def _saying(batches: Iterable[pa.RecordBatch], folder: Place, number: int) -> Iterator[pa.RecordBatch]:
    saying, rows = TaskProgress(folder, number), 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        saying.say(rows)
    saying.say(rows, at_once=True)


def merge_summaries(columns: list[TableColumn], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge the summaries of some tasks, in the second stage."""
    whole = TableSummary(columns)
    for batch in batches:
        for result in batch.column("result"):
            whole.merge(pickle.loads(result.as_buffer()))  # from our own workers, through Spark
    if whole.rows:
        yield tasks.result_batch(0, pickle.dumps(whole))


def read_frame(
    spark: SparkSession,
    place: Place,
    format: str,
    *,
    schema: Schema | None = None,
    header: bool = True,
    delimiter: str | None = None,
) -> DataFrame:
    """A table on storage as a DataFrame.

    Args:
        spark: the session.
        place: a file or a folder.
        format: csv, tsv, parquet or json (one object a line).
        schema: of a file without a header it names the columns, in order. Where there is one, everything is read as
            texts, so that what is not of its type can be shown; without one Spark infers types, in another pass.
        header: of csv and tsv: the first line names the columns.
        delimiter: of csv; None is a comma, of tsv a tab.
    """
    path = f"file://{place.uri}" if place.is_local else place.uri
    if format == "parquet":
        return spark.read.parquet(path)
    if format == "json":
        return spark.read.json(path)
    read = spark.read.options(
        header=header,
        sep=delimiter or ("\t" if format == "tsv" else ","),
        quote='"',
        escape='"',
        inferSchema=schema is None,
    )
    frame = read.csv(path)
    if schema is None or header:
        return frame
    from firesteel.errors import ConfigError

    if len(frame.columns) != len(schema):
        raise ConfigError(
            f"{place} has {len(frame.columns)} columns, the schema {len(schema)}: {', '.join(schema.names)}.\n"
            "Without a header the schema names all columns, in their order."
        )
    return frame.toDF(*schema.names)
