"""The most similar vectors, exactly: the same hits in the same order however an index is cut into blocks and tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

_ROUNDING = 2.0**-24
"""Largest relative error of one operation in float32."""


class Hit(NamedTuple):
    """One row of an index.

    Attributes:
        similarity: cosine with the query, in float64: the dot product of the two float32 vectors, correctly rounded.
        id: of the row.
        split: that it lies in.
        label: number of its class.
    """

    similarity: float
    id: str
    split: str
    label: int


def order_of(hit: Hit) -> tuple[float, str, str]:
    """The most similar first; among equals by id, then by split."""
    return (-hit.similarity, hit.id, hit.split)


class Ranking:
    """The best rows for some queries, of all blocks that were added.

    A product of matrices in float32 finds the candidates: all whose similarity may, with the largest error that a sum of so many
    products can have (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), be among the best. Their similarity is
    then computed exactly, so that neither the size of blocks nor the processor's way of summing tells in the result.

    Args:
        queries: float32 (Q, F), of length 1 or 0.
        top: rows for each.
    """

    def __init__(self, queries: np.ndarray, top: int):
        self._queries, self._top = np.ascontiguousarray(queries, np.float32), top
        self._exact = self._queries.astype(np.float64)
        self._margin = 1.05 * (queries.shape[1] + 2) * _ROUNDING
        self._best: list[list[Hit]] = [[] for _ in queries]

    @property
    def best(self) -> list[list[Hit]]:
        """Of each query, in order."""
        return self._best

    def add(self, vectors: np.ndarray, ids: Sequence[str], labels: Sequence[int], split: str) -> None:
        """Take a block of rows into account.

        Args:
            vectors: float32 (N, F), of length 1 or 0.
            ids, labels: of the rows.
            split: of all.
        """
        if not len(vectors):
            return
        similarities = self._queries @ vectors.T  # (Q, N)
        for number, row in enumerate(similarities):
            places = np.flatnonzero(row >= self._least(number, row)).tolist()
            query = self._exact[number]
            found = [
                Hit(
                    math.fsum((vectors[place].astype(np.float64) * query).tolist()),
                    ids[place],
                    split,
                    int(labels[place]),
                )
                for place in places
            ]
            self._keep(number, found)

    def merge(self, others: Iterable[Sequence[Sequence[Hit]]]) -> Ranking:
        """Take into account what other rankings of the same queries have found."""
        for other in others:
            for number, hits in enumerate(other):
                self._keep(number, hits)
        return self

    def _least(self, number: int, row: np.ndarray) -> float:
        """What an approximate similarity must be for its row to be possibly among the best."""
        best = self._best[number]
        least = best[-1].similarity - self._margin if len(best) == self._top else -math.inf
        if len(row) > self._top:
            # At least ``top`` rows of this block are that similar, less the error; one that is not misses by its own error too.
            least = max(least, float(np.partition(row, -self._top)[-self._top]) - 2 * self._margin)
        return least

    def _keep(self, number: int, hits: Iterable[Hit]) -> None:
        self._best[number] = sorted((*self._best[number], *hits), key=order_of)[: self._top]


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """float32 (N, F) of length 1, rounded from float64; vectors of zeros stay, and those with an infinite number are NaN."""
    wide = np.asarray(vectors, np.float64)
    wide = np.where(np.isfinite(wide).all(axis=1, keepdims=True), wide, np.nan)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)


__all__ = ["Hit", "Ranking", "order_of", "unit_vectors"]
