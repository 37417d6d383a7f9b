"""Search on this machine or in Spark's tasks, and pictures as queries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firesteel.errors import ConfigError, RunError
from firesteel.inference.outcomes import Prediction
from firesteel.inference.parallel import batches_of, decoded
from firesteel.inference.pictures import Picture, Pictures
from firesteel.inference.predictor import Predictor
from firesteel.models.description import find_model_folder, fingerprint_of_model
from firesteel.runtime import Runtime
from firesteel.search.index import VectorIndex, search_shards
from firesteel.search.ranking import Hit, Ranking, unit_vectors
from firesteel.storage import Place

_TASK_BYTES = 256 << 20
_QUERIES_AT_A_TIME = 64
_QUERY_BYTES = 64 << 20
"""Pixels of the pictures that one pass over the index looks for."""


@dataclass(frozen=True)
class Similar:
    """A row of an index that is similar to a picture.

    Attributes:
        id: of the row, as in the dataset.
        label: its class.
        split: that it lies in.
        similarity: cosine of the feature vectors, -1 to 1.
    """

    id: str
    label: str
    split: str
    similarity: float


@dataclass(frozen=True)
class Matches:
    """What was found for one picture.

    Attributes:
        place: the picture's name.
        prediction: the model's class for it; None if the picture cannot be used.
        similar: the most similar rows, the most similar first; among equals by id.
        problem: why the picture cannot be used; else None.
        pixels: uint8 (channels, height, width), as the model sees it.
    """

    place: str
    prediction: Prediction | None
    similar: list[Similar]
    problem: str | None
    pixels: np.ndarray | None = field(default=None, repr=False, compare=False)


def search(
    index: VectorIndex, queries: np.ndarray, top: int, *, splits: Sequence[str] = (), spark: Any = None
) -> list[list[Hit]]:
    """The ``top`` most similar rows of each query, exactly.

    Args:
        index: to search in.
        queries: float32 (Q, F), of length 1, see :func:`unit_vectors`.
        top: rows a query.
        splits: to search in; none is all.
        spark: a session whose tasks read the shards; None reads them here.

    Raises:
        ConfigError: if the queries have another size, or top is less than 1.
        DatasetError: if there is no such split, or a shard is damaged.
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1, got {top}.")
    if queries.ndim != 2 or queries.shape[1] != index.size:
        raise ConfigError(f"queries must have shape (Q, {index.size}), got {queries.shape}.")
    tasks = _tasks(index, splits, together=spark is None)
    arguments = [(index.dataset.place.uri, parts, queries, top) for parts in tasks]
    if spark is None:
        found = [search_shards(*each) for each in arguments]
    else:
        from firesteel.spark.barrier import map_tasks

        found = map_tasks(spark, search_shards, arguments)
    return Ranking(queries, top).merge(found).best


def similar_pictures(
    index: VectorIndex,
    names: Pictures,
    runtime: Runtime,
    *,
    top: int,
    splits: Sequence[str],
    model: str | Place | None,
    factory: Any,
    device: str,
) -> Iterator[Matches]:
    """What is similar to each picture; the arguments are those of :func:`firesteel.similar`."""
    predictor = _predictor(index, model, factory, device)
    index.splits(splits)
    runtime.check(1)
    with contextlib.ExitStack() as stack:
        spark = stack.enter_context(runtime.session()) if runtime.uses_spark else None
        for queries in _queries(index, predictor, names):
            vectors = np.concatenate([each.vectors for each in queries])
            hits = search(index, vectors, top, splits=splits, spark=spark) if len(vectors) else []
            found = iter(hits)
            for each in queries:
                yield from each.matches(index.labels, found)


@dataclass(frozen=True)
class _Query:
    """Some pictures.

    Attributes:
        names: of all.
        problems: of those that cannot be used, by position.
        pixels, predictions: of the others, in order.
        vectors: float32 (Q, F), of length 1, of the others.
    """

    names: Sequence[str]
    problems: dict[int, str]
    pixels: np.ndarray
    predictions: list[Prediction]
    vectors: np.ndarray

    def matches(self, labels: Sequence[str], hits: Iterator[list[Hit]]) -> Iterator[Matches]:
        """With what was found for each."""
        sound = zip(self.pixels, self.predictions)
        for position, name in enumerate(self.names):
            if position in self.problems:
                yield Matches(name, None, [], self.problems[position])
                continue
            pixels, prediction = next(sound)
            similar = [Similar(hit.id, labels[hit.label], hit.split, hit.similarity) for hit in next(hits)]
            yield Matches(name, prediction, similar, None, pixels)


def _queries(index: VectorIndex, predictor: Predictor, names: Pictures) -> Iterator[list[_Query]]:
    """As many pictures as one pass over the index shall look for; the memory of their pixels is bounded."""
    held: list[_Query] = []
    for pictures in batches_of(names, _QUERIES_AT_A_TIME):
        held.append(_query(index, predictor, pictures))
        if sum(each.pixels.nbytes for each in held) >= _QUERY_BYTES:
            yield held
            held = []
    if held:
        yield held


def _query(index: VectorIndex, predictor: Predictor, pictures: list[Picture]) -> _Query:
    batch = decoded(pictures, predictor.image_spec())
    vectors = unit_vectors(predictor.embed(batch.rows, index.about.layer, pool=index.about.pool))
    sound = np.isfinite(vectors).all(axis=1)
    if not sound.all():
        usable = [position for position in range(len(batch.names)) if position not in batch.problems]
        wrong = [position for position, fine in zip(usable, sound) if not fine]
        batch.problems.update(dict.fromkeys(wrong, "the network gives numbers for it that are not finite"))
    rows = batch.rows[sound]
    return _Query(batch.names, batch.problems, rows, predictor.predict(rows), vectors[sound])


def _predictor(index: VectorIndex, model: str | Place | None, factory: Any, device: str) -> Predictor:
    """The model that the index was made with.

    Raises:
        RunError: if it is another.
    """
    about = index.about
    folder = find_model_folder(Place.of(model if model is not None else about.model))
    if fingerprint_of_model(folder) != about.weights:
        raise RunError(
            f"{index.dataset.place} was made with another model than {folder}.\n"
            f"Name the model that it was made with, or make it again: firesteel index {folder} {about.uri}"
            f" {index.dataset.place} --overwrite"
        )
    return Predictor(folder, device=device, model=factory)


def _tasks(index: VectorIndex, splits: Sequence[str], *, together: bool) -> list[list[tuple[str, int]]]:
    """Which shards each task reads: about 256 MB, or all."""
    tasks: list[list[tuple[str, int]]] = []
    size = _TASK_BYTES
    for name, split in index.splits(splits).items():
        for position, shard in enumerate(split.shards):
            if not tasks or (size + shard.bytes > _TASK_BYTES and not together):
                tasks.append([])
                size = 0
            tasks[-1].append((name, position))
            size += shard.bytes
    return tasks


__all__ = ["Matches", "Similar", "search", "similar_pictures"]
