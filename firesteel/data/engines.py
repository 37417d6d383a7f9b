"""Engines of a preparation that need no Spark, and what all engines share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.data.balance import Targets
from firesteel.data.index import INDEX_COLUMNS, ClassIndex, class_index, index_partition
from firesteel.data.partition import write_partition
from firesteel.data.preparation import Engine, PreparePlan, Report
from firesteel.data.sources import BsonSource, Row, Source
from firesteel.launch import InProcess, Launcher
from firesteel.world import Meeting, World

_MIN_PARTITIONS = 8
_SOURCE_BYTES = 64 << 20


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
    return max(_MIN_PARTITIONS, by_source, by_result)


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
class _Share:
    """What one local process of a preparation does: every ``workers``-th partition."""

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
        share = _Share(self._source, partitions, seed)
        if self._source.size_bytes < _SOURCE_BYTES:  # sooner done than processes are started
            parts = _index_share(share, World(), None)
        else:
            parts = self._run(_index_share, share)
        return class_index((_index_batch(*part) for _, part in sorted(parts, key=_number)), fractions, targets)

    def write(self, plan: PreparePlan) -> list[Report]:
        partitions = self._cut(plan)
        parts = self._run(_write_share, _Share(self._source.for_task(), partitions, plan.seed, plan))
        return [report_from_json(report) for _, report in sorted(parts, key=_number)]

    def _run(self, function: Any, share: _Share) -> list[tuple[int, Any]]:
        workers = max(1, min(self._workers, len(share.partitions)))
        launcher = self._launcher if workers > 1 else InProcess()
        return [part for parts in launcher.run(function, share, workers=workers, meet=False) for part in parts]


@dataclass(frozen=True)
class _Calls:
    """What one local process does of many calls: every ``workers``-th."""

    function: Callable[..., Any]
    arguments: Sequence[tuple[Any, ...]]


def map_local(
    launcher: Launcher, workers: int, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Run an importable function once per tuple of arguments, in processes of this host.

    Returns:
        the results, which must be JSON-able, in the order of ``arguments``.
    """
    workers = max(1, min(workers, len(arguments)))
    if not arguments:
        return []
    launcher = launcher if workers > 1 else InProcess()
    parts = launcher.run(_make_calls, _Calls(function, arguments), workers=workers, meet=False)
    return [result for _, result in sorted((part for own in parts for part in own), key=_number)]


def _make_calls(calls: _Calls, world: World, meeting: Meeting | None) -> list[tuple[int, Any]]:
    mine = range(world.rank, len(calls.arguments), world.world_size)
    return [(number, calls.function(*calls.arguments[number])) for number in mine]


def _number(part: tuple[int, Any]) -> int:
    return part[0]


def _index_share(share: _Share, world: World, meeting: Meeting | None) -> list[tuple[int, Any]]:
    """(label names, label codes, other columns) of each partition of this process, JSON-able."""
    done = []
    for number in range(world.rank, len(share.partitions), world.world_size):
        batch = index_partition(share.source, share.partitions[number], share.seed)
        labels = batch.column("label").dictionary_encode()
        codes = labels.indices.to_pylist()
        others = [batch.column(name).to_pylist() for name in INDEX_COLUMNS[1:]]
        done.append((number, (labels.dictionary.to_pylist(), codes, others)))
    return done


def _index_batch(names: list[str], codes: list[int], others: list[list[Any]]) -> pa.RecordBatch:
    labels = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))
    key, row_key, training = others
    columns = [labels, pa.array(key, pa.int64()), pa.array(row_key, pa.int64()), pa.array(training, pa.bool_())]
    return pa.RecordBatch.from_arrays(columns, names=INDEX_COLUMNS)


def _write_share(share: _Share, world: World, meeting: Meeting | None) -> list[tuple[int, dict[str, Any]]]:
    assert share.plan is not None
    source, done = share.source.on(world), []
    for number in range(world.rank, len(share.partitions), world.world_size):
        report = write_source_partition(share.plan, source, number, share.partitions[number])
        done.append((number, report_to_json(report)))
    return done


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
