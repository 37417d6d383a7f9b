"""Real rows to check an export with, and to measure what quantisation costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from firesteel.data.manifest import MANIFEST_NAME, Dataset
from firesteel.data.shards import read_slice
from firesteel.data.sources.dataset import raw_rows
from firesteel.errors import ConfigError, DataError
from firesteel.evaluation.driver import match
from firesteel.formats.images import ImageSpec
from firesteel.inference.parallel import batches_of, decoded
from firesteel.inference.pictures import Name, Pictures
from firesteel.models.description import ModelDescription
from firesteel.storage import Place

_RANDOM_ROWS = 64
_AT_A_TIME = 64


@dataclass(frozen=True)
class Rows:
    """Raw rows.

    Attributes:
        values: of shape (N, *feature.shape), of the feature's dtype.
        labels: the model's number of each row's class; None if it is not known.
        origin: for people.
    """

    values: np.ndarray
    labels: np.ndarray | None
    origin: str

    def __len__(self) -> int:
        return len(self.values)


def rows_of(places: Iterable[Name], description: ModelDescription, count: int, *, splits: tuple[str, ...]) -> Rows:
    """At most ``count`` rows of a prepared dataset, or of pictures.

    Args:
        places: one dataset; or files, folders and archives of pictures.
        description: of the model that takes them.
        count: of rows.
        splits: of a dataset, the first of these that it has; else any.

    Raises:
        ConfigError: if a dataset comes with something else.
        DataError: if no row is there.
        RunError: if the dataset does not fit the model.
    """
    given = list(places)
    datasets = [place for each in given if ((place := Place.of(each)) / MANIFEST_NAME).exists()]
    if not datasets:
        return _of_pictures(given, description, count)
    if len(given) > 1:
        raise ConfigError("give one prepared dataset, or pictures; not both.")
    return _of_dataset(Dataset.open(datasets[0]), description, count, splits)


def random_rows(description: ModelDescription, seed: int = 0) -> Rows:
    """Rows without meaning, of the size that the model's rows have."""
    generator, feature = np.random.default_rng(seed), description.feature
    shape = (_RANDOM_ROWS, *feature.shape)
    if feature.dtype == "uint8":
        return Rows(generator.integers(0, 256, shape, dtype=np.uint8), None, "random pixels")
    scaling = description.normalization
    broadcast = (1, -1) + (1,) * (len(feature.shape) - 1)
    values = generator.normal(size=shape) * np.reshape(scaling.std, broadcast) + np.reshape(scaling.mean, broadcast)
    return Rows((values / scaling.scale).astype(feature.dtype), None, "random numbers")


def _of_pictures(names: list[Name], description: ModelDescription, count: int) -> Rows:
    feature = description.feature
    if feature.kind != "image":
        raise ConfigError(f"the model takes rows of shape {feature.shape}, not pictures. Give a prepared dataset.")
    channels, height, width = feature.shape
    spec = ImageSpec(height, width, channels)
    parts, problem = [np.zeros((0, *feature.shape), np.uint8)], ""
    for pictures in batches_of(islice(Pictures(names), count), _AT_A_TIME):
        batch = decoded(pictures, spec)
        parts.append(batch.rows)
        for position, reason in batch.problems.items():
            problem = problem or f" First problem: {batch.names[position]}: {reason}"
    values = np.concatenate(parts)
    if not len(values):
        raise DataError(f"there is no picture that can be read.{problem}")
    return Rows(values, None, f"{len(values):,} pictures")


def _of_dataset(dataset: Dataset, description: ModelDescription, count: int, splits: tuple[str, ...]) -> Rows:
    number = np.array(match(description, dataset))
    known = [name for name, split in dataset.manifest.splits.items() if split.rows]
    if not known:
        raise DataError(f"{dataset.place} has no rows.")
    split = next((name for name in splits if name in known), known[0])
    values, labels = [], []
    total, seen = dataset.split(split).rows, 0
    wanted = min(count, total)
    for shard in dataset.split(split).shards:  # some of each: a shard may hold few classes
        share = wanted * (seen + shard.rows) // total - wanted * seen // total
        seen += shard.rows
        for block, codes in read_slice(dataset.place, shard, dataset.feature, 0, share):
            values.append(block if isinstance(block, np.ndarray) else raw_rows(block, dataset.feature))
            labels.append(number[codes])
    found = np.concatenate(values)
    return Rows(found, np.concatenate(labels), f"{len(found):,} rows of split {split} of {dataset.place}")


__all__ = ["Rows", "random_rows", "rows_of"]
