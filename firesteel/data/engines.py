"""Engines of a preparation that need no Spark, and what all engines share."""

from __future__ import annotations

import base64
import math
import os
import tempfile
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

_PARTITIONS = 8
"""There are so many, or a multiple: 2, 4 or 8 workers then end together."""

_SOURCE_BYTES = 64 << 20

_INDEXED_HERE_BYTES = 512 << 20
"""A smaller source is indexed sooner than processes have started for it."""


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
        if self._source.size_bytes < _INDEXED_HERE_BYTES:  # sooner done than processes are started
            batches = [index_partition(self._source, partition, seed) for partition in partitions]
        else:
            work = _Work(self._source, partitions, seed)
            found = run_dealt(self._launcher, self._workers, _indexing, work, len(partitions))
            batches = [_batch_from_text(text) for text in found]
        return class_index(batches, fractions, targets)

    def write(self, plan: PreparePlan) -> list[Report]:
        partitions = self._cut(plan)
        work = _Work(self._source.for_task(), partitions, plan.seed, plan)
        reports = run_dealt(self._launcher, self._workers, _writing, work, len(partitions))
        return [report_from_json(report) for report in reports]


def _indexing(work: _Work, world: World) -> Callable[[int], str]:
    return lambda number: _batch_to_text(index_partition(work.source, work.partitions[number], work.seed))


def _writing(work: _Work, world: World) -> Callable[[int], dict[str, Any]]:
    assert work.plan is not None
    plan, source = work.plan, work.source.on(world)
    return lambda number: report_to_json(write_source_partition(plan, source, number, work.partitions[number]))


def _batch_to_text(batch: pa.RecordBatch) -> str:
    """A batch in Arrow's stream format, as JSON can hold it; class names that come again cost 4 bytes each."""
    labels = batch.column("label").dictionary_encode()
    encoded = pa.RecordBatch.from_arrays([labels, *batch.columns[1:]], names=INDEX_COLUMNS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, encoded.schema) as writer:
        writer.write_batch(encoded)
    return base64.b64encode(sink.getvalue()).decode()


def _batch_from_text(text: str) -> pa.RecordBatch:
    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        return reader.read_next_batch()


# -- local processes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dealt:
    """Numbers from 0 to ``count`` that processes of this host take, one after the other.

    Attributes:
        begin: called once in each process with ``work`` and its world; what it returns is called with each number.
        work: picklable.
        count: how many numbers.
        taken: folder in which a process leaves a file for each number that it takes; None if there is one process.
    """

    begin: Callable[[Any, World], Callable[[int], Any]]
    work: Any
    count: int
    taken: str | None

    def take(self, number: int) -> bool:
        """Whether no other process has taken this number."""
        if self.taken is None:
            return True
        try:
            os.close(os.open(os.path.join(self.taken, str(number)), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True


def run_dealt(
    launcher: Launcher, workers: int, begin: Callable[[Any, World], Callable[[int], Any]], work: Any, count: int
) -> list[Any]:
    """Do numbered pieces of a work in processes of this host; each takes the next piece when it has done one.

    Args:
        launcher: of the processes.
        workers: how many, at most; one is this process.
        begin: importable; called once in each process with ``work`` and its world. What it returns is called with the
            number of each piece, and must give something JSON-able.
        work: picklable.
        count: of pieces.

    Returns:
        the results, by number.
    """
    workers = max(1, min(workers, count))
    if count == 0:
        return []
    if workers == 1:
        (done,) = InProcess().run(_do_dealt, _Dealt(begin, work, count, None), workers=1, meet=False)
        return [result for _, result in done]
    with tempfile.TemporaryDirectory(prefix="firesteel-") as taken:
        parts = launcher.run(_do_dealt, _Dealt(begin, work, count, taken), workers=workers, meet=False)
    return [result for _, result in sorted((part for own in parts for part in own), key=_number)]


def _do_dealt(dealt: _Dealt, world: World, meeting: Meeting | None) -> list[tuple[int, Any]]:
    function = dealt.begin(dealt.work, world)
    return [(number, function(number)) for number in range(dealt.count) if dealt.take(number)]


def _number(part: tuple[int, Any]) -> int:
    return part[0]


@dataclass(frozen=True)
class _Calls:
    """Calls of one function."""

    function: Callable[..., Any]
    arguments: Sequence[tuple[Any, ...]]


def map_local(
    launcher: Launcher, workers: int, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Run an importable function once per tuple of arguments, in processes of this host.

    Returns:
        the results, which must be JSON-able, in the order of ``arguments``.
    """
    return run_dealt(launcher, workers, _calling, _Calls(function, arguments), len(arguments))


def _calling(calls: _Calls, world: World) -> Callable[[int], Any]:
    return lambda number: calls.function(*calls.arguments[number])


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
