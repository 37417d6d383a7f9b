"""Exact search: the same hits as brute force, however the vectors are cut, with ties by id."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.search.ranking import Hit, Ranking, unit_vectors


def brute_force(vectors: np.ndarray, ids: list[str], query: np.ndarray, top: int) -> list[tuple[float, str]]:
    """Every similarity, computed exactly, sorted: the definition."""
    products = vectors.astype(np.float64) * query.astype(np.float64)
    return sorted(
        ((math.fsum(row), row_id) for row, row_id in zip(products.tolist(), ids)), key=lambda x: (-x[0], x[1])
    )[:top]


def found(ranking: Ranking) -> list[list[tuple[float, str]]]:
    return [[(hit.similarity, hit.id) for hit in hits] for hits in ranking.best]


@given(
    seed=st.integers(0, 1000), rows=st.integers(0, 60), top=st.integers(1, 70), block=st.integers(1, 60),
    kinds=st.integers(1, 60), size=st.integers(1, 40),
)  # fmt: skip
def test_it_finds_what_brute_force_finds(seed: int, rows: int, top: int, block: int, kinds: int, size: int) -> None:
    """Also where most vectors are equal (few kinds), where only the id tells the order."""
    generator = np.random.default_rng(seed)
    different = unit_vectors(generator.normal(size=(kinds, size)))
    vectors = different[generator.integers(0, kinds, rows)]
    ids = [f"row {number}" for number in generator.permutation(rows)]
    queries = np.concatenate([unit_vectors(generator.normal(size=(2, size))), different[:1]])
    whole, parts = Ranking(queries, top), []
    for start in range(0, rows, block):
        part = slice(start, start + block)
        whole.add(vectors[part], ids[part], [0] * len(ids[part]), "train")
        one = Ranking(queries, top)
        one.add(vectors[part], ids[part], [0] * len(ids[part]), "train")
        parts.append(one.best)
    expected = [brute_force(vectors, ids, query, top) for query in queries]
    assert found(whole) == expected
    assert found(Ranking(queries, top).merge(parts)) == expected


def test_similarities_that_float32_cannot_tell_apart_are_in_their_order() -> None:
    """A last bit of one of 512 numbers: a product of matrices in float32 does not see it, or sees the opposite."""
    generator = np.random.default_rng(0)
    query = unit_vectors(np.abs(generator.normal(size=(1, 512))))
    vectors = np.repeat(query, 200, axis=0)
    for number in range(200):
        place = number % 512
        vectors[number, place] = np.nextafter(vectors[number, place], np.float32(1 if number % 2 else 0))
    ids = [f"{number:03d}" for number in range(200)]
    ranking = Ranking(query, 7)
    ranking.add(vectors, ids, [0] * 200, "train")
    assert found(ranking)[0] == brute_force(vectors, ids, query[0], 7)


def test_labels_and_splits_come_along() -> None:
    vectors = np.eye(3, dtype=np.float32)
    ranking = Ranking(vectors[1:2], 2)
    ranking.add(vectors, ["a", "b", "c"], [5, 6, 7], "train")
    ranking.add(vectors[1:2], ["b"], [6], "test")
    assert ranking.best == [[Hit(1.0, "b", "test", 6), Hit(1.0, "b", "train", 6)]]


def test_unit_vectors_have_length_one_and_zeros_stay() -> None:
    vectors = unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]], np.float32))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-7)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_block_is_nothing(rows: int) -> None:
    ranking = Ranking(np.ones((rows, 4), np.float32), 3)
    ranking.add(np.zeros((0, 4), np.float32), [], [], "train")
    assert ranking.best == [[]] * rows
