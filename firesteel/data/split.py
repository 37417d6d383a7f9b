"""Which split does a row belong to? Stratified by class, fixed by a seed, the same on any number of tasks.

Every group of rows (one picture, or the pictures of one product) has a key: a pseudo-random number made of the seed
and the group's name. Sorted by key, the first rows of a class are its training rows, the next its test rows, and so
on. To know where one split ends, one pass over (label, key) suffices; then each task decides row by row.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firesteel.errors import ConfigError

KEY_BITS = 60
"""A key is the first 15 hexadecimal digits of an MD5 sum, so that Spark SQL computes the same number."""


_TAKEN = ("quarantine",)
"""Folders of a dataset that are no splits."""


def split_key(seed: int, group: str) -> int:
    """The key of a group: 0 <= key < 2**60, uniform."""
    return int(hashlib.md5(f"{seed}:{group}".encode(), usedforsecurity=False).hexdigest()[:15], 16)


def parse_fractions(text: str | Mapping[str, float]) -> dict[str, float]:
    """Read ``train=0.8,test=0.2``; ``train`` comes first in the result, the others in the order given.

    ``test=1`` alone makes a dataset for evaluation only.

    Raises:
        ConfigError: if a fraction is not in (0, 1], they do not add up to 1, or there are several and no ``train``.
    """
    fractions: dict[str, float] = {}
    items = text.items() if isinstance(text, Mapping) else [part.partition("=")[::2] for part in text.split(",")]
    for name, value in items:
        name = name.strip()
        try:
            fractions[name] = float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"split must look like train=0.8,test=0.2, got {text!r}.") from None
        if not name.isidentifier() or name in _TAKEN or not 0 < fractions[name] <= 1:
            raise ConfigError(
                f"split {name!r} must have a plain name and a fraction above 0 and at most 1, got {value}."
            )
    if "train" not in fractions and len(fractions) != 1:
        raise ConfigError(f"split needs a part named train, got {text!r}. Example: train=0.8,test=0.2")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"the fractions of a split must add up to 1, got {sum(fractions.values()):g} in {text!r}.")
    return {"train": fractions.pop("train"), **fractions} if "train" in fractions else fractions


def split_counts(rows: int, fractions: Sequence[float]) -> list[int]:
    """Share ``rows`` by largest remainder; the first split (train) gets a row before any other does."""
    exact = [rows * fraction for fraction in fractions]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: rows - sum(counts)]:
        counts[i] += 1
    if rows and not counts[0]:
        donor = max(range(len(counts)), key=lambda i: counts[i])
        counts[donor] -= 1
        counts[0] += 1
    return counts


@dataclass(frozen=True)
class SplitRule:
    """Decides the split of a row.

    Attributes:
        names: of the splits, in order.
        seed: of the keys.
        boundaries: for each class, the last keys of split 0, 1, ...; a row is in split i if i boundaries are below
            its key. Rows of one group share a key: where a group lies across a boundary, the earlier split takes it.
    """

    names: tuple[str, ...]
    seed: int
    boundaries: Mapping[str, tuple[int, ...]]

    def split_of(self, label: str, group: str) -> str:
        return self.names[bisect_left(self.boundaries[label], split_key(self.seed, group))]


def boundary_positions(rows: int, fractions: Sequence[float]) -> list[int]:
    """Ranks (in key order) of the last rows of split 0, 1, ...; -1 for a split that gets no row before the next."""
    return [int(value) - 1 for value in np.cumsum(split_counts(rows, fractions))[:-1]]


def boundaries_of(keys: np.ndarray, fractions: Sequence[float]) -> tuple[int, ...]:
    """The boundaries of one class.

    Args:
        keys: int64 of shape (rows,), any order; rows of one group share a key.
        fractions: of the splits, in order.
    """
    ordered = np.sort(keys)
    return tuple(int(ordered[place]) if place >= 0 else -1 for place in boundary_positions(len(ordered), fractions))
