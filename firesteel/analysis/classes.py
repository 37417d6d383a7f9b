"""How the pictures are spread over the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Band:
    """Classes with ``low`` to ``high`` pictures, both included.

    Attributes:
        low, high: numbers of pictures.
        classes: how many there are.
        images: pictures of all of them.
    """

    low: int
    high: int
    classes: int
    images: int

    def __str__(self) -> str:
        """``10 to 99``, or ``1``."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def describe(counts: Sequence[int]) -> dict[str, float | None]:
    """Count, mean, std (n - 1), min, quartiles and max: what ``pandas.Series(counts).describe()`` gives."""
    if not counts:
        return {"count": 0, "mean": None, "std": None, "min": None, "25%": None, "50%": None, "75%": None, "max": None}
    values = np.asarray(counts, np.float64)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "min": min(counts),
        "25%": low,
        "50%": middle,
        "75%": high,
        "max": max(counts),
    }


def size_bands(counts: Sequence[int]) -> list[Band]:
    """Classes by size: bands of equal width or, where a few classes are far larger, bands that widen (1-9, 10-99, ...).

    The edges are round numbers; together the bands hold every class once.
    """
    if not counts:
        return []
    low, high = min(counts), max(counts)
    edges = _widening(low, high) if high > _SKEWED * max(1.0, float(np.median(counts))) else _even(low, high)
    values = np.asarray(counts, np.int64)
    bands = []
    for start, stop in pairwise(edges):
        within = values[(values >= start) & (values < stop)]
        bands.append(Band(start, stop - 1, len(within), int(within.sum())))
    return bands


_SKEWED = 8
_MOST_BANDS = 8


def _even(low: int, high: int) -> list[int]:
    """Edges of at most nine bands of a round width; one band if all classes are of one size."""
    if low == high:
        return [low, low + 1]
    width = _round_up((high - low + 1) / _MOST_BANDS)
    start = low // width * width
    edges = [*range(start, high + 1, width), high // width * width + width]
    return [1, *edges[1:]] if start == 0 < low and width > 1 else edges


def _widening(low: int, high: int) -> list[int]:
    """Edges 1, 2, 5, 10, 20, ...; only the powers of ten where these would be too many."""
    zero = [0] if low == 0 else []
    for steps in ((1, 2, 5), (1,)):
        edges = [step * 10**power for power in range(len(str(high)) + 1) for step in steps]
        first = max(i for i, edge in enumerate(edges) if edge <= max(1, low))
        last = next(i for i, edge in enumerate(edges) if edge > high)
        if last - first <= _MOST_BANDS:
            break
    return zero + edges[first : last + 1]


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, value))))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
