"""The direct approach: workers read their rows from the source themselves, and no dataset is written for others to read.

A source is dealt to *lanes* (see :mod:`firesteel.data.order`): where it can be cut finely, by partitions in a shuffled order;
else each lane takes the rows whose key falls to it. Both depend on source, seed and number of lanes alone. A worker decodes
its lanes with the same code as a preparation, into a scratch folder of its own that is gone before training begins; then
the workers tell each other what they found, and each knows the manifest that a preparation would have written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.data.cache import Rows, load_rows
from firesteel.data.manifest import Counts, Dataset, Manifest, Quarantine, Shard, Split, Statistics
from firesteel.data.marker import set_marker
from firesteel.data.order import LaneOrder, Slice
from firesteel.data.outcome import manifest_of
from firesteel.data.partition import write_partition
from firesteel.data.planning import Preparation
from firesteel.data.preparation import Report
from firesteel.data.sources import Row, Source
from firesteel.data.split import split_key
from firesteel.errors import DataError
from firesteel.storage import Place

_PARTS_PER_LANE = 512
_LEAST_PARTS_PER_LANE = 16
"""With fewer, lanes would differ in size and in their classes."""

LANE, ORDER = "__lane", "__order"
"""Columns of the rows that Spark brings: to which lane each belongs, and by what the rows of a lane are sorted."""

RowsOf = Callable[[Iterable[pa.RecordBatch]], Iterator[Row]]
"""Makes rows of the Arrow batches that Spark brings."""


@dataclass(frozen=True)
class DirectData:
    """What a worker needs to read its lanes. Travels to all workers.

    Attributes:
        preparation: as planned on the driver; the folder and the token of its plan are each worker's own.
        lanes: number of them.
        source: that workers read; None where Spark brings the rows.
        partitions: of the source.
        dealt: numbers of the partitions of each lane; None where every lane goes over all of them and takes its rows.
        rows_of: of what Spark brings; None where workers read.
    """

    preparation: Preparation
    lanes: int
    source: Source | None = None
    partitions: tuple[Any, ...] = ()
    dealt: tuple[tuple[int, ...], ...] | None = None
    rows_of: RowsOf | None = None

    def rows(self, lane: int, brought: str | None) -> Iterator[Row]:
        """The rows of one lane, in the same order at every call.

        Args:
            lane: 0 <= lane < lanes.
            brought: Arrow file with the rows that Spark has brought to this worker.
        """
        if self.source is None:
            assert self.rows_of is not None
            assert brought is not None, "the launcher brings the rows"
            yield from self.rows_of(_batches_of(brought, lane))
        elif self.dealt is not None:
            for number in self.dealt[lane]:
                yield from self.source.rows_of(self.partitions[number])
        else:
            every = (row for part in self.partitions for row in self.source.rows_of(part))
            seed, lanes = self.preparation.plan.seed, self.lanes
            yield from (
                row for row in every if lane_of(seed, row.id if row.group is None else row.group, lanes) == lane
            )


def lane_of(seed: int, group: str, lanes: int) -> int:
    """The lane of a row that is dealt by its key, which is not the key of its split."""
    return split_key(seed, f"lane:{group}") % lanes


def deal(source: Source, lanes: int, seed: int) -> tuple[tuple[Any, ...], tuple[tuple[int, ...], ...] | None]:
    """Cut a source into partitions and deal them to lanes, see :class:`DirectData`."""
    partitions = tuple(source.partitions(lanes * _PARTS_PER_LANE))
    if lanes == 1:
        return partitions, (tuple(range(len(partitions))),)
    if len(partitions) < lanes * _LEAST_PARTS_PER_LANE:
        return partitions, None
    shuffled = np.random.default_rng([seed, lanes]).permutation(len(partitions))
    return partitions, tuple(tuple(sorted(shuffled[lane::lanes].tolist())) for lane in range(lanes))


# -- on a worker ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnRows:
    """What a worker has read.

    Attributes:
        reports: of its lanes.
        splits: rows of the splits that were asked for, its lanes one behind the other.
        quarantine: shards of records that cannot be used, as bytes by lane.
    """

    reports: Mapping[int, Report]
    splits: Mapping[str, Rows]
    quarantine: Mapping[int, bytes]


def read_lanes(
    direct: DirectData,
    lanes: Iterable[int],
    brought: str | None,
    splits: Iterable[str],
    *,
    budget_bytes: int | None = None,
    threads: int = 1,
    scratch: str | None = None,
) -> OwnRows:
    """Decode some lanes.

    Args:
        direct: from the driver.
        lanes: of this worker.
        brought: see :meth:`DirectData.rows`.
        splits: that will be used.
        budget_bytes, threads: see :func:`firesteel.data.cache.load_rows`.
        scratch: folder for the decoded rows, for a while; None is the system's.

    Raises:
        DataError: if a lane has no training row.
    """
    with tempfile.TemporaryDirectory(prefix="firesteel-direct-", dir=scratch) as name:
        folder = Place.of(name)
        token = set_marker(folder, direct.preparation.fingerprint)
        plan = replace(direct.preparation.plan, dataset=folder.uri, token=token)
        reports = {lane: write_partition(plan, lane, direct.rows(lane, brought)) for lane in lanes}
        for lane, report in reports.items():
            if not _rows_in(report, "train"):
                raise DataError(
                    f"part {lane + 1} of {direct.lanes} of the source has no training row: {report.read} read,"
                    f" {report.quarantined} unusable.\nUse fewer workers, or look at the source."
                )
        own = Dataset(folder, manifest_of(direct.preparation, sum(reports.values(), Report())))
        loaded = {
            split: load_rows(
                own,
                split,
                _whole(own.manifest.splits[split]),
                budget_bytes=budget_bytes,
                threads=threads,
                scratch=scratch,
            )
            for split in splits
            if own.manifest.splits[split].rows
        }
        quarantine = {
            lane: (folder / shard.path).read_bytes() for lane, report in reports.items() for shard in report.quarantine
        }
    return OwnRows(reports, loaded, quarantine)


def _rows_in(report: Report, split: str) -> int:
    return sum(written.shard.rows for name, written in report.shards if name == split)


def _whole(split: Split) -> list[Slice]:
    return [Slice(number, 0, shard.rows) for number, shard in enumerate(split.shards)]


def agreed_manifest(direct: DirectData, reports: Mapping[int, Report]) -> Manifest:
    """The manifest of all lanes, from the reports of all workers."""
    return manifest_of(direct.preparation, sum((reports[lane] for lane in range(direct.lanes)), Report()))


def lane_order(direct: DirectData, reports: Mapping[int, Report], split: str, **order: Any) -> LaneOrder:
    """The order of a split whose lanes are those that the workers have read."""
    lane_rows = tuple(_rows_in(reports[lane], split) for lane in range(direct.lanes))
    return LaneOrder(lane_rows, direct.lanes, **order)


def _batches_of(path: str, lane: int) -> Iterator[pa.RecordBatch]:
    """The rows of a lane, sorted: Spark brings them in an order that changes from time to time."""
    import pyarrow.compute as pc

    if not os.path.getsize(path):  # no row has come
        return
    with pa.memory_map(path) as file:
        table = pa.ipc.open_file(file).read_all()
        table = table.filter(pc.equal(table.column(LANE), lane))
        order = pc.sort_indices(table, sort_keys=[(ORDER, "ascending")])
        table = table.drop_columns([LANE, ORDER])
        for start in range(0, len(order), 256):
            yield from table.take(order.slice(start, 256)).to_batches()


# -- on the driver --------------------------------------------------------------------------------------------------


def expected_dataset(preparation: Preparation, place: Place, lanes: int) -> Dataset:
    """What the workers will find if every record can be used: for checks that need numbers before anything is read.

    Args:
        preparation: as planned.
        place: of the source.
        lanes: that it is dealt to.
    """
    plan, index = preparation.plan, preparation.index
    others = max(1, len(plan.splits) - 1)
    splits = {}
    for name in plan.splits:
        training = [index.training.get(label, 0) for label in plan.labels]
        rest = [index.counts.get(label, 0) - rows for label, rows in zip(plan.labels, training)]
        splits[name] = _expected_split(name, training if name == "train" else [rows // others for rows in rest], lanes)
    channels = plan.feature.shape[0]
    manifest = Manifest(
        fingerprint=preparation.fingerprint,
        source=preparation.facts.description,
        parameters=preparation.options.model_dump(mode="json"),
        feature=plan.feature,
        labels=list(plan.labels),
        splits=splits,
        statistics=Statistics(mean=[0.0] * channels, std=[1.0] * channels, scale=1.0),
        counts=Counts(read=0, written=0, dropped=0, generated=0, quarantined=0),
        quarantine=Quarantine(reasons={}, shards=[]),
    )
    return Dataset(place, manifest)


def _expected_split(name: str, rows_per_class: list[int], lanes: int) -> Split:
    total = sum(rows_per_class)
    each = [total * (lane + 1) // lanes - total * lane // lanes for lane in range(lanes)]
    shards = [Shard(path=f"{name}/lane-{lane:05d}", rows=rows, bytes=0, sha256="") for lane, rows in enumerate(each)]
    return Split(rows=total, rows_per_class=rows_per_class, shards=shards)
