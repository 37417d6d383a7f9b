"""Analysis by Spark tasks: of a DataFrame, and of the sources that tasks read themselves."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Observation
from pyspark.sql import functions as F

from firesteel.analysis.driver import Tasks
from firesteel.analysis.tables import TableColumn, TableSummary, summarise
from firesteel.data.progress import TaskProgress
from firesteel.spark import tasks
from firesteel.spark.actions import collected
from firesteel.spark.analyzed_columns import analyzed_columns
from firesteel.spark.barrier import explain, map_tasks
from firesteel.spark.expressions import quoted
from firesteel.spark.places import explained, spark_path
from firesteel.spark.tables import open_table, open_texts, without_null_values
from firesteel.storage import Place
from firesteel.tables.options import TableOptions
from firesteel.tables.records import PROBLEM
from firesteel.tables.schema import Schema
from firesteel.tables.source import SQL, TABLE

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


def open_frame(
    spark: SparkSession, where: str, kind: str, options: TableOptions
) -> tuple[DataFrame, Callable[[], list[str]]]:
    """A table as a DataFrame, and what tells, once that has been read, what a person should know.

    CSV is read as preparation reads it, :mod:`firesteel.spark.tables`: records that are none are left out and counted. With a
    schema its fields are texts, so that what is not of its type can be shown; without one their types are found out first.

    Args:
        spark: the session.
        where: a file or a folder, ``spark-sql:SELECT ...`` or ``table:NAME``.
        kind: csv, tsv, json (one object a line), parquet, sql or table.
        options: how it is read; the schema among them.
    """
    if kind not in ("csv", "tsv"):
        with explained(where):
            return without_null_values(_read_frame(spark, where, kind, options), options.null_values), list
    opened = open_table if options.columns is None else open_texts
    table = opened(spark, where, kind, options)
    observed = Observation(f"broken-{secrets.token_hex(4)}")
    broken = F.col(PROBLEM)
    frame = table.frame.observe(observed, F.count(broken).alias("count"), F.min(broken).alias("example"))

    def notes() -> list[str]:
        count, example = observed.get["count"], observed.get["example"]
        said = f"{count:,} record{'s are' * (count > 1) or ' is'} broken and left out; {'one' if count > 1 else 'it'}: {example}"
        return [*([said] if count else []), *table.notes]

    return frame.where(broken.isNull()).select(*map(quoted, table.schema.names)), notes


def _read_frame(spark: SparkSession, where: str, kind: str, options: TableOptions) -> DataFrame:
    if kind == "sql":
        return spark.sql(where.removeprefix(SQL))
    if kind == "table":
        return spark.table(where.removeprefix(TABLE))
    if kind == "parquet":
        return spark.read.parquet(spark_path(where))
    return spark.read.options(multiLine=options.multiline, encoding=options.charset).json(spark_path(where))
