"""Pictures that are there twice: the same bytes, or nearly the same picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

BITS = 128
NEAR_BITS = 6
"""Pictures whose difference hashes differ in more of the 128 bits are different pictures."""

NEAR_CORRELATION = 0.998
"""... and so are those whose grey thumbnails correlate less. In MNIST, whose digits have similar hashes, this tells."""

_BANDS = 8
_NEIGHBOURS = 50
_FLAT = 2.0


@dataclass(frozen=True)
class Group:
    """Pictures that are duplicates of each other.

    Attributes:
        members: their numbers, ascending.
        distance: the largest difference, in bits, by which they were found; None if all are the same bytes.
    """

    members: tuple[int, ...]
    distance: int | None = None


@dataclass(frozen=True)
class Found:
    """All duplicates.

    Attributes:
        exact: groups of the same bytes.
        near: groups in which not all are the same bytes; all copies of each picture are in them.
        flat: pictures of nearly one colour: they are not compared with others, since all would be alike.
    """

    exact: list[Group]
    near: list[Group]
    flat: int


def find_duplicates(content: np.ndarray, grids: np.ndarray) -> Found:
    """Group pictures that are duplicates.

    Near duplicates: their difference hashes (N. Krawetz, "Kind of like that", 2013: is a pixel of a grey thumbnail
    brighter than its neighbour? here of 9 x 9 pixels, 64 bits along rows and 64 along columns) differ in at most
    NEAR_BITS bits, and their thumbnails correlate with NEAR_CORRELATION or more. Of the hash's 8 bands of 16 bits at
    least two are then equal, so only pictures that share two bands are compared, in 28 sorted passes: n log n, not n^2.
    Among those that share them each is compared with the next 50.

    Args:
        content: hashes of the bytes, uint64 of shape (n,).
        grids: grey thumbnails, uint8 of shape (n, 9, 9).
    """
    _, first, inverse, counts = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    copies = np.split(order, np.cumsum(counts)[:-1]) if len(content) else []
    exact = [Group(tuple(members.tolist())) for members in copies if len(members) > 1]
    distinct = grids[first]
    flat = distinct.reshape(len(first), math.prod(grids.shape[1:])).std(axis=1) < _FLAT
    kept = np.flatnonzero(~flat)
    near = []
    for members, distance in near_groups(distinct[kept]):
        numbers = sorted(int(number) for member in members for number in copies[kept[member]])
        near.append(Group(tuple(numbers), distance))
    return Found(exact, near, int(counts[flat].sum()) if len(content) else 0)


def near_groups(grids: np.ndarray) -> list[tuple[list[int], int]]:
    """(members, largest distance in bits) of each group of two or more near duplicates."""
    hashes, correlations = difference_hashes(grids), _Correlations(grids)
    parent = np.arange(len(grids))
    links: list[tuple[int, int]] = []
    for left, right in _candidates(hashes):
        roots = _roots(parent)
        apart = roots[left] != roots[right]
        left, right = left[apart], right[apart]
        distances = _distances(hashes[left], hashes[right])
        alike = distances <= NEAR_BITS
        left, right, distances = left[alike], right[alike], distances[alike]
        alike = correlations.of(left, right) >= NEAR_CORRELATION
        for a, b, distance in zip(left[alike].tolist(), right[alike].tolist(), distances[alike].tolist()):
            a_root, b_root = _root(parent, a), _root(parent, b)
            if a_root != b_root:
                parent[max(a_root, b_root)] = min(a_root, b_root)
                links.append((a, distance))
    return _grouped(_roots(parent), links)


def difference_hashes(grids: np.ndarray) -> np.ndarray:
    """uint8 of shape (n, 16): 64 bits along rows, 64 along columns."""
    rows = grids[:, :8, 1:] > grids[:, :8, :8]
    columns = grids[:, 1:, :8] > grids[:, :8, :8]
    bits = np.concatenate([rows.reshape(len(grids), 64), columns.reshape(len(grids), 64)], axis=1)
    return np.packbits(bits, axis=1)


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs that share two bands, as two arrays of numbers."""
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), _BANDS).astype(np.uint32)
    whole = np.ascontiguousarray(hashes).view("S16").ravel()
    by_hash = np.argsort(whole, kind="stable")
    for one, other in combinations(range(_BANDS), 2):
        keys = (bands[:, one] << 16) | bands[:, other]
        order = by_hash[np.argsort(keys[by_hash], kind="stable")]  # of equal keys similar hashes lie together
        ordered = keys[order]
        for step in range(1, _NEIGHBOURS + 1):
            equal = np.flatnonzero(ordered[:-step] == ordered[step:])
            if not len(equal):
                break
            yield order[equal], order[equal + step]


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bits that differ, of hashes of shape (n, 16): int64 of shape (n,)."""
    if hasattr(np, "bitwise_count"):  # numpy 2: ten times as fast
        words = np.bitwise_count(left.view(np.uint64) ^ right.view(np.uint64))
        return words[:, 0].astype(np.int64) + words[:, 1]
    return _ONES[left ^ right].sum(axis=1, dtype=np.int64)


class _Correlations:
    """Pearson's correlations of thumbnails that are not flat; the sums of each are made once."""

    def __init__(self, grids: np.ndarray):
        self._values = grids.reshape(len(grids), math.prod(grids.shape[1:]))
        self._sums = self._values.sum(axis=1, dtype=np.int64)
        squares = np.einsum("ij,ij->i", self._values, self._values, dtype=np.int64)
        self._spreads = np.sqrt((self._values.shape[1] * squares - self._sums**2).astype(np.float64))

    def of(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of pairs of numbers: float64 of shape (n,)."""
        # 81 products of bytes add up to less than 2^24: float32 holds every such sum exactly, and is the fastest.
        products = np.einsum("ij,ij->i", self._values[left].astype(np.float32), self._values[right].astype(np.float32))
        shared = self._values.shape[1] * products.astype(np.float64) - self._sums[left] * self._sums[right]
        return shared / (self._spreads[left] * self._spreads[right])


def _root(parent: np.ndarray, number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = int(parent[number])
    return number


def _roots(parent: np.ndarray) -> np.ndarray:
    """The root of each number; shortens the paths in place."""
    while True:
        up = parent[parent]
        if np.array_equal(up, parent):
            return parent
        parent[:] = up


def _grouped(roots: np.ndarray, links: list[tuple[int, int]]) -> list[tuple[list[int], int]]:
    farthest: dict[int, int] = {}
    for member, distance in links:
        root = int(roots[member])
        farthest[root] = max(farthest.get(root, 0), distance)
    members: dict[int, list[int]] = {root: [] for root in farthest}
    for number in np.flatnonzero(np.isin(roots, list(farthest))).tolist():
        members[int(roots[number])].append(number)
    return [(members[root], farthest[root]) for root in sorted(members)]
