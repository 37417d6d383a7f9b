"""A prepared dataset as a source: to export its pictures, or to split and store them anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firesteel.data.manifest import Dataset, Feature, Manifest, Shard
from firesteel.data.shards import read_names, read_slice
from firesteel.data.sources.base import ArraySpec, Row, Source
from firesteel.data.sources.cifar import Run, cut_runs
from firesteel.errors import DatasetError, FormatError
from firesteel.formats.images import ImageSpec, decode_all
from firesteel.storage import Place


@dataclass(frozen=True)
class DatasetSource(Source):
    """The rows of all splits of a prepared dataset, with their ids, classes and splits.

    Attributes:
        place: of the dataset.
        manifest: of the dataset.
        array: set if the rows are stored raw; else they are JPEG pictures.
    """

    place: Place
    manifest: Manifest = field(repr=False)
    array: ArraySpec | None

    @classmethod
    def open(cls, place: Place) -> DatasetSource:
        """Read the manifest.

        Raises:
            DatasetError: if there is none.
        """
        dataset = Dataset.open(place)
        feature = dataset.feature
        return cls(
            place, dataset.manifest, ArraySpec(feature.dtype, feature.shape) if feature.encoding == "raw" else None
        )

    @property
    def _shards(self) -> list[tuple[str, Shard]]:
        return [(name, shard) for name, split in self.manifest.splits.items() for shard in split.shards]

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return [[self.manifest.fingerprint], [shard.sha256 for _, shard in self._shards]]

    @property
    def size_bytes(self) -> int:
        return sum(shard.bytes for _, shard in self._shards)

    @property
    def rows(self) -> int:
        return sum(shard.rows for _, shard in self._shards)

    def class_names(self) -> list[str]:
        return list(self.manifest.labels)

    def declared_splits(self) -> list[str]:
        return [name for name, split in self.manifest.splits.items() if split.rows]

    def partitions(self, count: int) -> list[list[Run]]:
        return cut_runs([shard.rows for _, shard in self._shards], count)

    def rows_of(self, partition: Sequence[Run], *, with_data: bool = True) -> Iterator[Row]:
        labels, feature, shards = self.manifest.labels, self.manifest.feature, self._shards
        for number, start, stop in partition:
            split, shard = shards[number]
            names = read_names(self.place, shard, feature, start, stop)
            if not with_data:
                yield from (Row(row_id, b"", labels[label], split) for row_id, label in names)
                continue
            blocks = read_slice(self.place, shard, feature, start, stop)
            values = (value for block, _ in blocks for value in block)
            for (row_id, label), value in zip(names, values, strict=True):
                data = value if isinstance(value, bytes) else value.tobytes()
                yield Row(row_id, data, labels[label], split)

    def sample(self, count: int) -> Iterator[Row]:
        runs = [(number, 0, min(shard.rows, count)) for number, (_, shard) in enumerate(self._shards[:1])]
        yield from self.rows_of(runs)


def raw_rows(data: Sequence[bytes], feature: Feature) -> np.ndarray:
    """Stored rows as an array of shape (N, *feature.shape).

    Raises:
        DatasetError: if a picture cannot be decoded.
    """
    if feature.encoding == "raw":
        return np.stack([np.frombuffer(each, feature.dtype).reshape(feature.shape) for each in data])
    channels, height, width = feature.shape
    rows = []
    for decoded in decode_all(data, ImageSpec(height, width, channels)):
        if isinstance(decoded, FormatError):
            raise DatasetError(f"a picture of the dataset cannot be decoded: {decoded}") from decoded
        rows.append(decoded.pixels.transpose(2, 0, 1))
    return np.stack(rows)
