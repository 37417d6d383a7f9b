"""Several prepared datasets as one source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from firesteel.data.manifest import Feature
from firesteel.data.sources.base import ArraySpec, Row, Source
from firesteel.data.sources.dataset import DatasetSource
from firesteel.errors import ConfigError
from firesteel.storage import Place


@dataclass(frozen=True)
class MergedSource(Source):
    """The rows of several datasets with equal features, one behind the other; classes of one name are one class.

    Ids begin with the number of their dataset, so that no two are the same.

    Attributes:
        place: of the first.
        members: the datasets.
        array: set if the rows are stored raw.
    """

    place: Place
    members: tuple[DatasetSource, ...] = field(repr=False)
    array: ArraySpec | None

    @classmethod
    def of(cls, places: Sequence[Place]) -> MergedSource:
        """Read the manifests.

        Raises:
            ConfigError: if there are fewer than two, or their rows are of different kinds.
            DatasetError: if one is no dataset.
        """
        if len(places) < 2:
            raise ConfigError(f"merging needs two datasets or more, got {len(places)}.")
        members = tuple(DatasetSource.open(place) for place in places)
        first = members[0].manifest.feature
        for member in members[1:]:
            if member.manifest.feature != first:
                raise ConfigError(
                    f"{member.place} holds {_shown(member.manifest.feature)}, {members[0].place} {_shown(first)}: rows of one"
                    " dataset are of one kind.\nPrepare them with the same --size, --channels and --encoding."
                )
        return cls(places[0], members, members[0].array)

    @property
    def feature(self) -> Feature:
        """Of all rows."""
        return self.members[0].manifest.feature

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return [part for member in self.members for part in member.fingerprint_parts()]

    @property
    def size_bytes(self) -> int:
        return sum(member.size_bytes for member in self.members)

    @property
    def rows(self) -> int:
        return sum(member.rows for member in self.members)

    def class_names(self) -> list[str]:
        return list(dict.fromkeys(name for member in self.members for name in member.class_names()))

    def declared_splits(self) -> list[str]:
        return list(dict.fromkeys(name for member in self.members for name in member.declared_splits()))

    def partitions(self, count: int) -> list[tuple[int, Any]]:
        total = max(1, self.rows)
        return [
            (number, part)
            for number, member in enumerate(self.members)
            for part in member.partitions(max(1, count * member.rows // total))
        ]

    def rows_of(self, partition: tuple[int, Any], *, with_data: bool = True) -> Iterator[Row]:
        number, part = partition
        for row in self.members[number].rows_of(part, with_data=with_data):
            yield row._replace(id=f"{number}/{row.id}")

    def sample(self, count: int) -> Iterator[Row]:
        return self.members[0].sample(count)


def _shown(feature: Feature) -> str:
    table = " of a table" if feature.table is not None else ""
    return f"{'x'.join(map(str, feature.shape))} {feature.dtype}{table}, {feature.encoding}"


__all__ = ["MergedSource"]
