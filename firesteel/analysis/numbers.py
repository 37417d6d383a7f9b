"""Figures of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from firesteel.analysis.content import Content
from firesteel.analysis.distribution import EXACT_VALUES, QUANTILES, Distribution
from firesteel.analysis.moments import Moments


class NumberSummary(Content):
    """Of whole or floating numbers. NaN and infinities are counted; every other figure is of the finite numbers.

    Args:
        whole: the numbers are whole and of at most 64 bits.
        limit: of different values up to which quantiles, histogram and number of different values are exact.
    """

    def __init__(self, *, whole: bool = False, limit: int = EXACT_VALUES):
        self.moments = Moments()
        self.distribution = Distribution(whole=whole, limit=limit)
        self._nan = self._infinite = self._zeros = self._negatives = 0
        self._total: int | float = 0
        self._low, self._high = _Extreme(), _Extreme()

    def add(self, values: pa.Array) -> None:
        self.add_numbers(numbers_of(values, whole=self.distribution.whole))

    def add_numbers(self, values: np.ndarray) -> None:
        """Take in numbers of shape (n,)."""
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                nan = int(np.count_nonzero(np.isnan(values)))
                self._nan += nan
                self._infinite += len(values) - int(np.count_nonzero(finite)) - nan
                values = values[finite]
        if not len(values):
            return
        self._zeros += int(np.count_nonzero(values == 0))
        self._negatives += int(np.count_nonzero(values < 0))
        self._low.add(values, values.min(), min)
        self._high.add(values, values.max(), max)
        self._total += exact_sum(values)
        self.moments += Moments.of(values)
        self.distribution.add(values)

    def merge(self, other: NumberSummary) -> None:
        for name in ("_nan", "_infinite", "_zeros", "_negatives", "_total", "moments"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._low.merge(other._low, min)
        self._high.merge(other._high, max)
        self.distribution.merge(other.distribution)

    @property
    def count(self) -> int:
        """Of the finite numbers."""
        return self.moments.count

    def figures(self) -> dict[str, Any]:
        some = self.count > 0
        edges, counts = self.distribution.histogram()
        return {
            "min": self._low.value,
            "max": self._high.value,
            "mean": self.moments.mean if some else None,
            "stdev": self.moments.stdev,
            "variance": self.moments.variance,
            "total": self._total if some else None,
            "zeros": self._zeros,
            "negatives": self._negatives,
            "positives": self.count - self._zeros - self._negatives,
            "count_min": self._low.count,
            "count_max": self._high.count,
            "nan": self._nan,
            "infinite": self._infinite,
            "unique": self.distribution.unique,
            "quantiles": {str(each): self.distribution.quantile(each) for each in QUANTILES} if some else {},
            "histogram": {"edges": edges, "counts": counts},
            "approximate": self.distribution.errors,
        }


class _Extreme:
    """The lowest or the highest number so far, and how often it occurs."""

    def __init__(self) -> None:
        self.value: Any = None
        self.count = 0

    def add(self, values: np.ndarray, extreme: Any, better: Any) -> None:
        other = _Extreme()
        other.value, other.count = extreme.item(), int(np.count_nonzero(values == extreme))
        self.merge(other, better)

    def merge(self, other: _Extreme, better: Any) -> None:
        if other.value is None:
            return
        if self.value == other.value:
            self.count += other.count
        elif self.value is None or better(self.value, other.value) == other.value:
            self.value, self.count = other.value, other.count


def numbers_of(values: pa.Array, *, whole: bool) -> np.ndarray:
    """Arrow's numbers, decimals among them, as int64 or float64 of shape (n,)."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False).astype(np.int64 if whole else np.float64, copy=False)


def exact_sum(values: np.ndarray) -> int | float:
    """The sum; of int64 without overflow, as a Python integer."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            return float(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
