"""The index of rows of any number: Spark sorts, and only a few keys of each class come to the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from firesteel.data.balance import Quota, Targets, quota_of, wanted_ranks
from firesteel.data.index import ClassIndex
from firesteel.data.split import boundary_positions, split_counts
from firesteel.spark.actions import collected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


INDEX_SCHEMA = "label string, key bigint, row_key bigint, training boolean"


def index_by_sql(
    frame: DataFrame, fractions: Sequence[float] | None, targets: Targets | None = None, *, grouped: bool = False
) -> ClassIndex:
    """The index of rows of any number: Spark sorts, only a few keys a class come here.

    Args:
        frame: of :data:`INDEX_SCHEMA`; row_key is needed for targets only.
        fractions: of the splits; None keeps the source's own.
        targets: of the classes in the training split.
        grouped: whether rows of several classes may share a key. One boundary for all classes keeps them together.
    """
    if not grouped or not fractions:
        return _index_by_sql(frame, fractions, targets)
    from pyspark.sql import functions as F

    common = _index_by_sql(frame.withColumn("label", F.lit("")), fractions, None).boundaries.get("", ())
    in_training = F.col("key") <= common[0] if common else F.lit(True)
    index = _index_by_sql(frame.withColumn("training", in_training), None, targets)
    return ClassIndex(index.counts, dict.fromkeys(index.counts, common), index.quotas, index.training)


def _index_by_sql(frame: DataFrame, fractions: Sequence[float] | None, targets: Targets | None) -> ClassIndex:
    frame = frame.persist()
    try:
        counts = _count_by_label(frame)
        positions = {label: boundary_positions(rows, fractions) for label, rows in counts.items()} if fractions else {}
        found = _keys_at(frame, "key", {label: set(places) for label, places in positions.items()})
        boundaries = {
            label: tuple(found[label, place] if place >= 0 else -1 for place in places)
            for label, places in positions.items()
        }
        training = _training_rows(frame, boundaries)
        trained = _count_by_label(training) if targets or not fractions else _shares(counts, fractions)
        quotas = _quotas_by_sql(training, trained, targets) if targets else {}
    finally:
        frame.unpersist()
    return ClassIndex(counts, boundaries, quotas, trained)


def _shares(counts: Mapping[str, int], fractions: Sequence[float]) -> dict[str, int]:
    return {label: split_counts(rows, fractions)[0] for label, rows in counts.items()}


def _count_by_label(frame: DataFrame) -> dict[str, int]:
    return {row["label"]: row["count"] for row in collected(frame.groupBy("label").count())}


def _keys_at(frame: DataFrame, column: str, ranks: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], int]:
    """Keys by (label, rank in the order of the keys), for the ranks of each label that are not negative."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    wanted = [(label, rank) for label, of in ranks.items() for rank in of if rank >= 0]
    if not wanted:
        return {}
    window = Window.partitionBy("label").orderBy(column)
    ranked = frame.withColumn("place", F.row_number().over(window) - 1)
    places = frame.sparkSession.createDataFrame(wanted, "label string, place int")
    found = collected(ranked.join(F.broadcast(places), ["label", "place"]))
    return {(row["label"], row["place"]): int(row[column]) for row in found}


def _training_rows(frame: DataFrame, boundaries: Mapping[str, tuple[int, ...]]) -> DataFrame:
    """The rows of the training split: up to the first boundary of their class, or as the source says."""
    from pyspark.sql import functions as F

    last = [(label, of[0]) for label, of in boundaries.items() if of]
    if not boundaries:
        return frame.where("training")
    if not last:  # one split, which holds all
        return frame
    edges = frame.sparkSession.createDataFrame(last, "label string, last bigint")
    return frame.join(F.broadcast(edges), "label").where("key <= last")


def _quotas_by_sql(training: DataFrame, rows: Mapping[str, int], targets: Targets) -> dict[str, Quota]:
    shares = {label: targets.shares(count) for label, count in rows.items()}
    found = _keys_at(training, "row_key", {label: set(wanted_ranks(shares[label], rows[label])) for label in rows})
    key_at: dict[str, dict[int, int]] = {label: {} for label in rows}
    for (label, rank), key in found.items():
        key_at[label][rank] = key
    return {label: quota_of(shares[label], rows[label], key_at[label]) for label in rows}
