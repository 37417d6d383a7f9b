"""How good and how fast the search for similar pictures is, on an index that `firesteel index` has made.

    python benchmarks/similar.py INDEX [--rows 1000000]

Each row of the test split is a query, its class is known, and the search goes through the training split: precision at K is the
share of the K most similar that are of its class (leave-one-out, since no query lies in what is searched). The hits of all queries
are compared with brute force: every similarity by math.fsum over float64, sorted.

Then the speed of one query against --rows vectors of the same size that are drawn at random, beside a bare product of numpy with an
argpartition on the same blocks in memory.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from measuring import machine, print_table, spread

from firesteel.search.driver import search
from firesteel.search.index import VectorIndex
from firesteel.search.ranking import Ranking, unit_vectors

KS = (1, 5, 10)
BLOCK = 4096


def main() -> None:
    """Print precision, whether brute force finds the same, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    index = VectorIndex.open(options.index)
    print(machine())
    print(f"{index.source['shown_layer']}, {index.size} numbers a row")
    quality(index)
    speed(index.size, options.rows)


def quality(index: VectorIndex) -> None:
    """Precision at several K, and the comparison with brute force."""
    queries, _, labels = whole(index, "test")
    vectors, ids, _ = whole(index, "train")
    began = time.perf_counter()
    hits = search(index, queries, max(KS), splits=["train"])
    seconds = time.perf_counter() - began
    rows = [[str(k), f"{precision(hits, labels, k):.4f}"] for k in KS]
    print(f"{len(queries):,} queries in {len(vectors):,} rows, {len(index.labels)} classes, {seconds:.2f} s")
    print_table(["K", "precision at K"], rows)
    same = sum(
        [(hit.similarity, hit.id) for hit in found] == brute_force(vectors, ids, query, max(KS))
        for found, query in zip(hits, queries)
    )
    print(f"the same hits in the same order as brute force: {same:,} of {len(queries):,} queries")


def whole(index: VectorIndex, split: str) -> tuple[np.ndarray, list[str], list[int]]:
    """All vectors, ids and labels of a split."""
    blocks = list(index.vectors(split))
    ids = [row_id for _, own, _ in blocks for row_id in own]
    return np.concatenate([vectors for vectors, _, _ in blocks]), ids, [label for _, _, own in blocks for label in own]


def precision(hits: list, labels: list[int], k: int) -> float:
    """Mean share of the first k hits that have the label of their query."""
    return float(np.mean([[hit.label == label for hit in found[:k]] for found, label in zip(hits, labels)]))


def brute_force(vectors: np.ndarray, ids: list[str], query: np.ndarray, top: int) -> list[tuple[float, str]]:
    """The definition of the search."""
    products = vectors.astype(np.float64) * query.astype(np.float64)
    found = [(math.fsum(row), row_id) for row, row_id in zip(products.tolist(), ids)]
    return sorted(found, key=lambda each: (-each[0], each[1]))[:top]


def speed(size: int, rows: int, runs: int = 5) -> None:
    """Seconds of one query against random vectors."""
    generator = np.random.default_rng(0)
    blocks = [
        unit_vectors(generator.normal(size=(min(BLOCK, rows - start), size)).astype(np.float32))
        for start in range(0, rows, BLOCK)
    ]
    ids = [[f"{number}/{row}" for row in range(len(block))] for number, block in enumerate(blocks)]
    query = unit_vectors(generator.normal(size=(1, size)))
    results: dict[str, list[float]] = {"firesteel": [], "numpy, not exact": []}
    for _ in range(runs):
        began = time.perf_counter()
        ranking = Ranking(query, 10)
        for block, own in zip(blocks, ids):
            ranking.add(block, own, [0] * len(block), "train")
        results["firesteel"].append(time.perf_counter() - began)
        began = time.perf_counter()
        similarities = np.concatenate([block @ query[0] for block in blocks])
        np.argpartition(-similarities, 10)[:10]
        results["numpy, not exact"].append(time.perf_counter() - began)
    print(f"one query, {rows:,} rows of {size} in memory")
    print_table(["", "seconds"], [[name, spread(values, 3)] for name, values in results.items()])


if __name__ == "__main__":
    main()
