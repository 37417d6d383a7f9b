"""What sources of picture files have in common: a listing on the driver, in which each file has its label already."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from firesteel.data.sources.base import Row, Source, even_slices
from firesteel.data.sources.labels import printable
from firesteel.errors import FormatError, StorageError
from firesteel.storage import Place


class Item(NamedTuple):
    """One file.

    Attributes:
        id: unique in the source.
        where: what the source needs to read it; None if there is nothing to read.
        label, split, problem: as in a :class:`Row`.
    """

    id: str
    where: Any
    label: str | None
    split: str | None
    problem: str | None


@dataclass(frozen=True)
class PictureSource(Source):
    """A source that knows all its files when it is opened. Partitions are runs of items.

    Attributes:
        items: all files, in the order in which they are read best.
        parts: see :meth:`Source.fingerprint_parts`.
        total_bytes: of all files.
        announced: class names.
        remarks: see :meth:`Source.notes`.
    """

    place: Place
    items: tuple[Item, ...] = field(repr=False)
    parts: tuple[Any, ...] = field(repr=False)
    total_bytes: int = 0
    announced: tuple[str, ...] = field(default=(), repr=False)
    remarks: tuple[str, ...] = field(default=(), repr=False)

    @abstractmethod
    def _bytes_of(self, items: Sequence[Item]) -> Iterator[bytes | FormatError | StorageError]:
        """What each of some items of one partition holds, or why it cannot be read."""

    def for_task(self) -> PictureSource:
        return replace(self, items=(), parts=(), announced=(), remarks=())

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return list(self.parts)

    @property
    def size_bytes(self) -> int:
        return self.total_bytes

    @property
    def rows(self) -> int:
        return len(self.items)

    def class_names(self) -> list[str]:
        return list(self.announced)

    def declared_splits(self) -> list[str]:
        return sorted({item.split for item in self.items if item.split})

    def notes(self) -> list[str]:
        return list(self.remarks)

    def partitions(self, count: int) -> list[Any]:
        return [self.items[part] for part in even_slices(len(self.items), count)]

    def sample(self, count: int) -> Iterator[Row]:
        step = max(1, len(self.items) // count)
        yield from self.rows_of(self.items[::step][:count])

    def rows_of(self, partition: Sequence[Item], *, with_data: bool = True) -> Iterator[Row]:
        wanted = [item for item in partition if with_data and item.problem is None]
        contents = self._bytes_of(wanted)
        for item in partition:
            problem, data = item.problem, b""
            if with_data and problem is None:
                found = next(contents)
                if isinstance(found, bytes):
                    data = found
                elif isinstance(found, StorageError):
                    problem = printable(f"cannot be read: {found}")
                else:
                    problem = printable(str(found))
            yield Row(item.id, data, item.label, item.split, None, problem)
