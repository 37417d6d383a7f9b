"""An index: what a layer of a network gives for every row of a dataset, as vectors of length 1.

It is a prepared dataset of float32 vectors, written as any other is (shards, checksums, the manifest as its commit), with the
ids, classes and splits of the dataset that it was made of. The manifest's source says which network and which layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from firesteel.data.manifest import Dataset, Split
from firesteel.data.shards import read_names, read_slice
from firesteel.data.sources.base import ArraySpec
from firesteel.data.sources.computed import Computation, ComputedSource, Origin
from firesteel.errors import DatasetError, RunError
from firesteel.inference.predictor import Predictor
from firesteel.models.description import find_model_folder, fingerprint_of_model
from firesteel.models.layer_output import Pool
from firesteel.search.ranking import Hit, Ranking, unit_vectors
from firesteel.storage import Place

FORMAT: Literal["index"] = "index"


class IndexOrigin(Origin):
    """What the manifest of an index says: of which dataset, model and layer it was made.

    Attributes:
        layer, pool: see :class:`firesteel.models.layer_output.LayerOutput`.
        shown_layer: name of the layer, for people.
    """

    format: Literal["index"] = FORMAT
    layer: str | None
    pool: Pool
    shown_layer: str


@dataclass(frozen=True, kw_only=True)
class IndexSource(ComputedSource):
    """The rows of a prepared dataset, each as the vector of length 1 that a layer of a network gives for it.

    Attributes:
        factory: the caller's word for the network, where its description alone may not be followed. It is not stored: what
            an index says is no reason to call a function.
    """

    about: IndexOrigin
    factory: str | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        model: Place,
        *,
        factory: str | None,
        layer: str | None,
        pool: Pool,
        device: str,
        threads: int | None,
    ) -> IndexSource:
        """Find out what the layer gives.

        Raises:
            ConfigError: if there is no such layer.
            RunError: if there is no model, or it takes other rows.
        """
        folder = find_model_folder(model)
        predictor = Predictor(folder, device="cpu", model=factory)  # the driver of a cluster may have no GPU
        wants, has = predictor.description.feature, dataset.feature
        if (tuple(wants.shape), wants.dtype) != (tuple(has.shape), has.dtype):
            shapes = [f"{'x'.join(map(str, each.shape))} {each.dtype}" for each in (wants, has)]
            size = (
                f"\nPrepare it for this model: --size {wants.shape[1]}x{wants.shape[2]}"
                if len(wants.shape) == 3
                else ""
            )
            raise RunError(f"the model takes {shapes[0]}, {dataset.place} holds {shapes[1]}.{size}")
        output = predictor.layer_output(layer, pool)
        about = IndexOrigin(
            uri=dataset.place.uri, model=folder.uri, weights=fingerprint_of_model(folder), layer=layer, pool=pool,
            shown_layer=output.layer,
        )  # fmt: skip
        return cls(
            place=dataset.place, manifest=dataset.manifest, array=ArraySpec("float32", (output.size,)), about=about,
            factory=factory, device=device, threads=threads,
        )  # fmt: skip

    def computation(self) -> Computation:
        predictor = Predictor(self.about.model, model=self.factory, device=self.world.device)
        return lambda rows: unit_vectors(predictor.embed(rows, self.about.layer, pool=self.about.pool))


@dataclass(frozen=True)
class VectorIndex:
    """An index on storage.

    Attributes:
        dataset: that it is.
        about: which dataset, model and layer it was made of.
    """

    dataset: Dataset
    about: IndexOrigin

    @classmethod
    def open(cls, where: str | Place) -> VectorIndex:
        """Read the manifest.

        Raises:
            DatasetError: if there is no index.
        """
        place = Place.of(where)
        if not (place / "manifest.json").exists():
            raise DatasetError(f"there is no index at {place}. Make one with: firesteel index MODEL DATASET {place}")
        dataset = Dataset.open(place)
        if dataset.manifest.source.get("format") != FORMAT:
            raise DatasetError(
                f"{place} is a dataset, not an index. Make one with: firesteel index MODEL {place} INDEX"
            )
        return cls(dataset, IndexOrigin.of(dataset))

    @property
    def size(self) -> int:
        """F, of the vectors."""
        return self.dataset.feature.shape[0]

    @property
    def rows(self) -> int:
        return sum(split.rows for split in self.dataset.manifest.splits.values())

    @property
    def labels(self) -> list[str]:
        return self.dataset.manifest.labels

    def splits(self, wanted: Sequence[str] = ()) -> dict[str, Split]:
        """Those wanted, or all that have rows.

        Raises:
            DatasetError: if one is not there.
        """
        known = {name: split for name, split in self.dataset.manifest.splits.items() if split.rows}
        return {name: self.dataset.split(name) for name in wanted} if wanted else known

    def vectors(self, split: str) -> Iterator[tuple[np.ndarray, list[str], list[int]]]:
        """Blocks of vectors (N, F), ids and labels of a split."""
        for position in range(len(self.dataset.split(split).shards)):
            yield from self.vectors_of(split, position)

    def vectors_of(self, split: str, position: int) -> Iterator[tuple[np.ndarray, list[str], list[int]]]:
        """The same of one shard."""
        dataset, shard = self.dataset, self.dataset.split(split).shards[position]
        names = read_names(dataset.place, shard, dataset.feature, 0, shard.rows)
        for block, _ in read_slice(dataset.place, shard, dataset.feature, 0, shard.rows):
            own = [next(names) for _ in range(len(block))]
            yield block, [name for name, _ in own], [label for _, label in own]


def search_shards(place: str, parts: Sequence[tuple[str, int]], queries: np.ndarray, top: int) -> list[list[Hit]]:
    """The best of some shards, for each query: what a task does.

    Args:
        place: URI of the index.
        parts: split and position of each shard.
        queries: float32 (Q, F), of length 1.
        top: hits a query.
    """
    index, ranking = VectorIndex.open(place), Ranking(queries, top)
    for split, position in parts:
        for vectors, ids, labels in index.vectors_of(split, position):
            ranking.add(vectors, ids, labels, split)
    return ranking.best


__all__ = ["FORMAT", "IndexSource", "VectorIndex", "search_shards"]
