"""Rows of a DataFrame for each worker: partitions that hold the lanes of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firesteel.data.direct import LANE, ORDER
from firesteel.data.order import lanes_of_worker
from firesteel.spark.actions import collected

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def dealt(frame: DataFrame, lane: Column, order: Column, lanes: int, workers: int) -> DataFrame:
    """A DataFrame of as many partitions as workers: partition ``i`` has the lanes of worker ``i``.

    Args:
        frame: rows.
        lane: of each row.
        order: text by which the rows of a lane will be sorted: Spark brings them in any order.
        lanes: number of them.
        workers: of this attempt.
    """
    from pyspark.sql import functions as F

    worker_of = [next(w for w in range(workers) if each in lanes_of_worker(lanes, w, workers)) for each in range(lanes)]
    key_of = _partition_keys(frame.sparkSession, workers)
    keys = F.array(*[F.lit(key_of[worker]) for worker in worker_of])
    placed = frame.withColumns({LANE: lane.cast("int"), ORDER: order})
    return placed.repartition(workers, F.element_at(keys, F.col(LANE) + 1))


def _partition_keys(spark: SparkSession, partitions: int) -> list[int]:
    """For each of some partitions a number that Spark's partitioning by hash puts there."""
    from pyspark.sql import functions as F

    numbers = spark.range(64 * partitions).select(F.col("id").cast("int").alias("number"))
    places = numbers.groupBy(F.pmod(F.hash("number"), F.lit(partitions)).alias("place")).agg(
        F.min("number").alias("number")
    )
    found = {row["place"]: row["number"] for row in collected(places)}
    return [found[place] for place in range(partitions)]
