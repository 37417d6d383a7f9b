"""What every source is, and the rows that every source yields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa

from firesteel.storage import Place
from firesteel.world import World

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the source; for a broken record its place
        ("group", pa.string()),  # rows of one group (the pictures of one product) never lie in two splits
        ("label", pa.string()),  # class name; null if there is none
        ("split", pa.string()),  # the split that the source itself names; null if it names none
        ("data", pa.binary()),  # an encoded picture, or the raw bytes of an array; of a broken record its first bytes
        ("problem", pa.string()),  # null, or why this record cannot be used
    ]
)
"""The rows that every source yields. One row is one picture or array."""

BATCH_BYTES = 4 << 20
"""A batch is closed when its data exceeds this; bounds the memory of a reader."""

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
"""Folder names that are taken for a split of the source's own, and the name each split gets."""


@dataclass(frozen=True)
class ArraySpec:
    """Rows that are raw arrays, not encoded pictures.

    Attributes:
        dtype: numpy name, for example ``uint8`` or ``float32``.
        shape: of one row.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_picture(self) -> bool:
        """Whether they are the pixels of pictures: (channels, height, width), grey or RGB."""
        return self.dtype == "uint8" and len(self.shape) == 3 and self.shape[0] in (1, 3)


class Row(NamedTuple):
    """One row of :data:`SCHEMA`; ``group`` None means the id."""

    id: str
    data: bytes
    label: str | None = None
    split: str | None = None
    group: str | None = None
    problem: str | None = None


class Source(ABC):
    """One source. Immutable and picklable, so that it travels to the tasks.

    Contract: the same partition, read twice, yields the same rows in the same order; each row of the source is in
    exactly one partition; a record that cannot be read is yielded with its problem, never left out.
    """

    place: Place
    array: ArraySpec | None = None
    """Set if the rows are raw arrays."""

    @abstractmethod
    def fingerprint_parts(self) -> list[Sequence[Any]]:
        """What the source consists of: (path, size, modified) of each file, JSON-able, sorted."""

    @abstractmethod
    def partitions(self, count: int) -> list[Any]:
        """About ``count`` picklable partitions, fewer if there is less to share."""

    @abstractmethod
    def rows_of(self, partition: Any, *, with_data: bool = True) -> Iterator[Row]:
        """Yield the rows of one partition.

        Args:
            partition: one of :meth:`partitions`.
            with_data: False leaves ``data`` empty and, where that is cheaper, does not read the pictures at all.
        """

    def for_task(self) -> Source:
        """The source as a task needs it, which gets its partition beside it: without the listing of all files."""
        return self

    def on(self, world: World) -> Source:
        """The source as a process at this place of its host reads it: one that computes takes a GPU of its own."""
        return self

    def read(self, partition: Any, *, with_data: bool = True) -> Iterator[pa.RecordBatch]:
        """The rows of one partition as batches of :data:`SCHEMA`, each of about BATCH_BYTES at most."""
        yield from _batches(self.rows_of(partition, with_data=with_data))

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes of all files of the source."""

    @property
    def rows(self) -> int | None:
        """Number of rows, where the listing tells it; else None."""
        return None

    def sample(self, count: int) -> Iterator[Row]:
        """About ``count`` rows from which size and channels of the pictures are guessed; the same at every call."""
        raise NotImplementedError

    def class_names(self) -> list[str]:
        """Classes that the source announces by itself (its folders), also those without a row."""
        return []

    def declared_splits(self) -> list[str]:
        """Splits that the source brings itself; empty if it brings none."""
        return []

    def notes(self) -> list[str]:
        """What a person should know of this source: ignored files, empty class folders."""
        return []


def to_batch(rows: list[Row]) -> pa.RecordBatch:
    """One batch of :data:`SCHEMA`."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.group if row.group is not None else row.id for row in rows], pa.string()),
            pa.array([row.label for row in rows], pa.string()),
            pa.array([row.split for row in rows], pa.string()),
            pa.array([row.data for row in rows], pa.binary()),
            pa.array([row.problem for row in rows], pa.string()),
        ],
        schema=SCHEMA,
    )


def _batches(rows: Iterator[Row], batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
    held: list[Row] = []
    held_bytes = 0
    for row in rows:
        held.append(row)
        held_bytes += len(row.data)
        if len(held) >= batch_rows or held_bytes >= BATCH_BYTES:
            yield to_batch(held)
            held, held_bytes = [], 0
    if held:
        yield to_batch(held)


def even_slices(total: int, count: int) -> list[slice]:
    """``total`` things in about ``count`` runs that differ by one at most; none is empty."""
    count = max(1, min(count, total))
    edges = [total * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if stop > start]


_LEFT_ABOUT = ("Thumbs.db", "desktop.ini", "__MACOSX")


def is_hidden(name: str) -> bool:
    """Files that systems leave about, which are no data."""
    return name.startswith(".") or name in _LEFT_ABOUT


def is_hidden_path(path: str) -> bool:
    """Whether a file, or a folder on the way to it, is hidden; ``..`` is not, as archives have it in names."""
    if path[:1] != "." and "/." not in path and not any(name in path for name in _LEFT_ABOUT):
        return False
    return any(is_hidden(part) for part in path.split("/") if part != "..")
