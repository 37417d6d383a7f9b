"""Tasks of an analysis of pictures: what reads one partition of a source or of a prepared dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.analysis.pictures import PictureSummary, thumbnail
from firesteel.analysis.tables import TableColumn, TableSummary, summarise
from firesteel.data.manifest import Dataset
from firesteel.data.progress import TaskProgress
from firesteel.data.shards import read_ids, read_slice
from firesteel.data.sources import ArraySpec, Row, Source
from firesteel.errors import FormatError
from firesteel.storage import Entry, Place

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""Runs an importable function once per tuple of arguments, somewhere; returns the results in that order."""

MAX_COLUMNS = 500
"""Arrays of up to so many values are analysed value by value."""

_BATCH_ROWS = 4096


@dataclass(frozen=True)
class PreparedRows:
    """The rows of a prepared dataset, as a source yields them. A partition is a split's name and the number of a shard."""

    dataset: Dataset

    @property
    def array(self) -> ArraySpec | None:
        """None if the rows are JPEGs."""
        feature = self.dataset.feature
        return ArraySpec(feature.dtype, tuple(feature.shape)) if feature.encoding == "raw" else None

    @property
    def rows(self) -> int:
        """In all splits."""
        return sum(split.rows for split in self.dataset.manifest.splits.values())

    def partitions(self, count: int) -> list[tuple[str, int]]:
        """All shards."""
        splits = self.dataset.manifest.splits
        return [(name, number) for name, split in splits.items() for number in range(len(split.shards))]

    def rows_of(self, partition: tuple[str, int]) -> Iterator[Row]:
        """The rows of one shard, a row group at a time."""
        split, number = partition
        manifest, place = self.dataset.manifest, self.dataset.place
        shard = manifest.splits[split].shards[number]
        done = 0
        for features, labels in read_slice(place, shard, manifest.feature, 0, shard.rows):
            ids = read_ids(place, shard, done, done + len(labels))
            done += len(labels)
            for row_id, label, value in zip(ids, labels.tolist(), features):
                data = value if isinstance(value, bytes) else value.tobytes()
                yield Row(row_id, data, manifest.labels[label], split)


def holds_pictures(array: ArraySpec | None) -> bool:
    """Whether rows are pictures: encoded ones, or uint8 arrays of shape (1 or 3, height, width)."""
    return array is None or (array.dtype == "uint8" and len(array.shape) == 3 and array.shape[0] in (1, 3))


# -- pictures -------------------------------------------------------------------------------------------------------


def summarise_pictures(
    source: Source | PreparedRows, number: int, partition: Any, keep: float, progress: str | None
) -> PictureSummary:
    """The summary of one partition.

    Args:
        source: see :func:`for_tasks`.
        number: of the partition.
        partition: to read.
        keep: see :class:`PictureSummary`.
        progress: folder to say in how many pictures are done; None says nothing.
    """
    summary = PictureSummary(source.array, keep)
    saying = None if progress is None else TaskProgress(Place(progress), number)
    for position, row in enumerate(source.rows_of(partition)):
        summary.add(row, number, position)
        if saying is not None and position % 64 == 63:
            saying.say(position + 1)
    if saying is not None:
        saying.say(summary.read, at_once=True)
    return summary.close()


def thumbnails(source: Source | PreparedRows, partition: Any, positions: Sequence[int], edge: int) -> dict[int, bytes]:
    """JPEG thumbnails of some pictures of a partition, by their positions; those that cannot be read again are left out."""
    wanted = sorted(positions)
    if isinstance(partition, tuple) and partition and all(isinstance(each, Entry) for each in partition):
        found = [(position, row) for position in wanted for row in source.rows_of(partition[position : position + 1])]
    else:
        rows = itertools.islice(source.rows_of(partition), wanted[-1] + 1)
        found = [(position, row) for position, row in enumerate(rows) if position in set(wanted)]
    made = {}
    for position, row in found:
        try:
            made[position] = thumbnail(row.data, source.array, edge)
        except FormatError:  # changed since it was analysed
            continue
    return made


def for_tasks(source: Source | PreparedRows, partition: Any) -> Source | PreparedRows:
    """The source without its listing: a task needs only its own part of it."""
    from dataclasses import replace

    return replace(source, files=(), folders=()) if hasattr(source, "folders") else source  # type: ignore[type-var]


# -- arrays that are no pictures --------------------------------------------------------------------------------------


def array_columns(array: ArraySpec) -> list[TableColumn]:
    """Columns of the table that arrays with their labels and splits make."""
    texts = [TableColumn("label", "string"), TableColumn("split", "string")]
    values = int(np.prod(array.shape))
    if values > MAX_COLUMNS:
        return [*texts, TableColumn("features", "array", "double")]
    return [*texts, *(TableColumn(f"features[{i}]", "double") for i in range(values))]


def summarise_arrays(source: Source | PreparedRows, partition: Any) -> TableSummary:
    """The summary of one partition, as a table."""
    assert source.array is not None, "pictures are summarised as pictures"
    return summarise(array_columns(source.array), _array_batches(source, partition, source.array))


def _array_batches(source: Source | PreparedRows, partition: Any, array: ArraySpec) -> Iterator[pa.RecordBatch]:
    rows = iter(source.rows_of(partition))
    columns = array_columns(array)
    while held := list(itertools.islice(rows, _BATCH_ROWS)):
        values = np.stack([np.frombuffer(row.data, array.dtype).ravel() for row in held]).astype(np.float64)
        arrays = [
            pa.array([row.label for row in held], pa.string()),
            pa.array([row.split for row in held], pa.string()),
        ]
        if columns[-1].kind == "array":
            offsets = np.arange(len(held) + 1, dtype=np.int32) * values.shape[1]
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel())))
        else:
            arrays += [pa.array(values[:, i]) for i in range(values.shape[1])]
        yield pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
