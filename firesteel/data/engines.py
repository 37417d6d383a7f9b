"""Engines of a preparation that need no Spark, and what all engines share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.data.balance import Targets
from firesteel.data.index import ClassIndex, class_index, index_partition
from firesteel.data.partition import write_partition
from firesteel.data.preparation import Engine, PreparePlan, Report
from firesteel.data.sources import BsonSource, Row, Source
from firesteel.launch import InProcess, Launcher
from firesteel.local_tasks import run_pieces
from firesteel.world import World

_PARTITIONS = 8
"""There are so many, or a multiple: 2, 4 or 8 workers then end together."""

_SOURCE_BYTES = 64 << 20

_INDEXED_HERE_BYTES = 512 << 20
"""A smaller local source is indexed sooner than processes have started for it."""


def partition_count(source: Source, plan: PreparePlan | None = None) -> int:
    """Into how many partitions a source is cut: by its size alone, so that the dataset is the same on any cluster.

    One shard of each partition shall be about as large as wished, and a partition not too large to be read again.
    """
    by_source = -(-source.size_bytes // _SOURCE_BYTES)
    by_result = 0
    if plan is not None and source.rows is not None:
        row_bytes = math.prod(plan.feature.shape) * np.dtype(plan.feature.dtype).itemsize
        rows = source.rows + (plan.balance.generated if plan.balance else 0)
        by_result = -(-rows * row_bytes // plan.shard_bytes)
    return _PARTITIONS * max(1, -(-max(by_source, by_result) // _PARTITIONS))


class Cut:
    """Cuts a source into partitions, and remembers how: in a dump that takes a look at each record."""

    def __init__(self, source: Source):
        self._source = source
        self._last: tuple[int, list[Any]] = (0, [])

    def __call__(self, plan: PreparePlan | None = None) -> list[Any]:
        count = partition_count(self._source, plan)
        if count != self._last[0]:
            self._last = count, self._source.partitions(count)
        return self._last[1]


def write_source_partition(plan: PreparePlan, source: Source, number: int, partition: Any) -> Report:
    """Read and write one partition of a source: the task of every engine that reads sources itself."""
    return write_partition(plan, number, source.rows_of(partition))


def index_on_driver(source: Source, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
    """The index of a source whose listing is on the driver anyway (folders, idx labels)."""
    return class_index((index_partition(source, part, seed) for part in source.partitions(1)), fractions, targets)


@dataclass(frozen=True)
class _Work:
    """What local processes of a preparation do."""

    source: Source
    partitions: list[Any]
    seed: int
    plan: PreparePlan | None = None


class SourceEngine(Engine):
    """Reads a source in processes of this host (or in this process).

    Args:
        source: to read.
        launcher: of the processes.
        workers: how many.
    """

    def __init__(self, source: Source, launcher: Launcher | None = None, workers: int = 1):
        self._source, self._launcher, self._workers = source, launcher or InProcess(), workers
        self._cut = Cut(source)

    def sample(self, count: int) -> Iterator[Row]:
        return self._source.sample(count)

    def index(self, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
        if not isinstance(self._source, BsonSource):
            return index_on_driver(self._source, seed, fractions, targets)
        partitions = self._cut()
        if self._source.place.is_local and self._source.size_bytes < _INDEXED_HERE_BYTES:
            batches = [index_partition(self._source, partition, seed) for partition in partitions]
        else:
            work = _Work(self._source, partitions, seed)
            batches = run_pieces(self._launcher, self._workers, _indexing, work, len(partitions))
        return class_index(batches, fractions, targets)

    def write(self, plan: PreparePlan) -> list[Report]:
        partitions = self._cut(plan)
        work = _Work(self._source.for_task(), partitions, plan.seed, plan)
        return run_pieces(self._launcher, self._workers, _writing, work, len(partitions))


def _indexing(work: _Work, world: World) -> Callable[[int], pa.RecordBatch]:
    return lambda number: index_partition(work.source, work.partitions[number], work.seed)


def _writing(work: _Work, world: World) -> Callable[[int], Report]:
    assert work.plan is not None
    plan, source = work.plan, work.source.on(world)
    return lambda number: write_source_partition(plan, source, number, work.partitions[number])


def report_to_json(report: Report) -> dict[str, Any]:
    """A report as JSON-able values."""
    return {
        "counts": [
            report.read, report.written, report.dropped, report.quarantined, report.resized, report.recolored,
            report.generated, report.surplus,
        ],
        "reasons": dict(report.reasons),
        "shards": [[split, w.shard.model_dump(), list(w.rows_per_class.items())] for split, w in report.shards],
        "quarantine": [shard.model_dump() for shard in report.quarantine],
        "sums": None if report.sums is None else list(vars(report.sums).values()),
    }  # fmt: skip


def report_from_json(value: dict[str, Any]) -> Report:
    """The report that :func:`report_to_json` wrote."""
    from collections import Counter

    from firesteel.data.manifest import Shard
    from firesteel.data.shards import WrittenShard
    from firesteel.data.statistics import ChannelSums

    read, written, dropped, quarantined, resized, recolored, generated, surplus = value["counts"]
    return Report(
        read, written, dropped, quarantined, Counter(value["reasons"]),
        [(split, WrittenShard(Shard(**shard), {int(k): n for k, n in rows})) for split, shard, rows in value["shards"]],
        [Shard(**shard) for shard in value["quarantine"]],
        None if value["sums"] is None else ChannelSums(*value["sums"]),
        resized, recolored, generated, surplus,
    )  # fmt: skip
