"""How numbers are spread: quantiles, histogram, how many are different."""

from __future__ import annotations

from typing import Any

import numpy as np

EXACT_VALUES = 1 << 15
"""Up to so many different values are all kept, with their counts: figures are exact, whatever the number of rows."""

KLL_K = 4096
HLL_LOG_K = 14
BUCKETS = 30
QUANTILES = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


class Distribution:
    """Of finite numbers. Every different value with its count while these are at most ``limit``, else two sketches.

    The sketches are those of Apache DataSketches: KLL for quantiles and histogram (Karnin, Lang, Liberty, "Optimal quantile
    approximation in streams", 2016), HyperLogLog for the number of different values. Memory: 0.5 MB at most.

    Args:
        whole: the numbers are whole; they are int64 then, else float64.
        limit: of different values.
    """

    def __init__(self, *, whole: bool, limit: int = EXACT_VALUES):
        self.whole, self._limit = whole, limit
        self._values = np.zeros(0, np.int64 if whole else np.float64)
        self._counts = np.zeros(0, np.int64)
        self._ranks: Any = None
        self._different: Any = None

    @property
    def is_exact(self) -> bool:
        """Whether the figures are exact."""
        return self._ranks is None

    @property
    def count(self) -> int:
        """Of the numbers."""
        return int(self._counts.sum()) if self.is_exact else int(self._ranks.n)

    def add(self, values: np.ndarray) -> None:
        """Take in numbers of shape (n,)."""
        if self.is_exact:
            self._take(*np.unique(values, return_counts=True))
        else:
            # Arrow's memory is read-only, which the sketch does not take.
            self._ranks.update(np.require(values, np.float64, ["C", "W"]))
            _update_each(self._different, values)

    def merge(self, other: Distribution) -> None:
        """Take in all that another one holds, which is not used any more afterwards."""
        if other.is_exact and self.is_exact:
            self._take(other._values, other._counts)
            return
        self._sketch()
        other._sketch()
        self._ranks.merge(other._ranks)
        import datasketches

        union = datasketches.hll_union(HLL_LOG_K)
        union.update(self._different)
        union.update(other._different)
        self._different = union.get_result(datasketches.tgt_hll_type.HLL_8)

    def _take(self, values: np.ndarray, counts: np.ndarray) -> None:
        if len(self._values):
            values, counts = np.concatenate([self._values, values]), np.concatenate([self._counts, counts])
            order = np.argsort(values, kind="stable")
            values, counts = values[order], counts[order]
            starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
            values, counts = values[starts], np.add.reduceat(counts, starts)
        self._values, self._counts = values, counts.astype(np.int64, copy=False)
        if len(values) > self._limit:
            self._sketch()

    def _sketch(self) -> None:
        """Go over from values to sketches."""
        if not self.is_exact:
            return
        import datasketches

        self._ranks = _ranks_of(self._values.astype(np.float64), self._counts)
        self._different = datasketches.hll_sketch(HLL_LOG_K, datasketches.tgt_hll_type.HLL_8)
        _update_each(self._different, self._values)
        self._values, self._counts = self._values[:0], self._counts[:0]

    # -- figures -----------------------------------------------------------------------------------------------------

    @property
    def unique(self) -> int:
        """How many are different."""
        return len(self._values) if self.is_exact else min(self.count, round(self._different.get_estimate()))

    def quantile(self, fraction: float) -> float | int | None:
        """The value below which ``fraction`` of the numbers lie, between two of them as numpy and pandas do (linear).

        Of a sketch it is one of the numbers. None if there are none.
        """
        if not self.count:
            return None
        if not self.is_exact:
            value = self._ranks.get_quantile(fraction)
            return round(value) if self.whole else value
        position = fraction * (self.count - 1)
        below = int(position)
        ends = np.cumsum(self._counts)
        low, high = (
            self._values[np.searchsorted(ends, min(rank, self.count - 1), "right")].item()
            for rank in (below, below + 1)
        )
        part = position - below
        return low if low == high or part == 0 else low * (1 - part) + high * part

    def histogram(self, buckets: int = BUCKETS) -> tuple[list[float], list[int]]:
        """(edges, counts): of equal width from the lowest to the highest; the last one holds its upper edge, too.

        Whole numbers of a small range get a bucket each.
        """
        if not self.count:
            return [], []
        low, high = self.bounds
        if self.whole and high - low < buckets:
            edges = np.arange(low, high + 2)
        else:
            parts = np.linspace(0, 1, buckets + 1)
            edges = np.unique(low * (1 - parts) + high * parts)  # high - low may be more than a float holds
        if len(edges) == 1:
            return [low, high], [self.count]
        if self.is_exact:
            places = np.clip(np.searchsorted(edges, self._values, "right") - 1, 0, len(edges) - 2)
            counts = np.zeros(len(edges) - 1, np.int64)
            np.add.at(counts, places, self._counts)
        else:
            below = np.asarray(self._ranks.get_cdf(edges[1:-1].astype(np.float64), False))
            ends = np.concatenate([[0], np.round(below * self.count).astype(np.int64)])
            counts = ends[1:] - ends[:-1]
        return edges.tolist(), counts.tolist()

    @property
    def bounds(self) -> tuple[Any, Any]:
        """The lowest and the highest number."""
        if self.is_exact:
            return self._values[0].item(), self._values[-1].item()
        low, high = self._ranks.get_min_value(), self._ranks.get_max_value()
        return (round(low), round(high)) if self.whole else (low, high)

    @property
    def values(self) -> dict[Any, int]:
        """Every different number and how often it occurs; empty if these are not all known."""
        return dict(zip(self._values.tolist(), self._counts.tolist(), strict=True))

    @property
    def errors(self) -> dict[str, str]:
        """Which figures are approximate, and by how much."""
        if self.is_exact:
            return {}
        rank, bucket = (100 * self._ranks.normalized_rank_error(pmf) for pmf in (False, True))
        return {
            "quantiles": f"rank within {rank:.2f} % of the rows, with 99 % confidence",
            "histogram": f"each bucket within {bucket:.2f} % of the rows, with 99 % confidence",
            "unique": unique_error(self._different),
        }

    def __getstate__(self) -> dict[str, Any]:
        sketches = (
            {}
            if self.is_exact
            else {"_ranks": self._ranks.serialize(), "_different": self._different.serialize_compact()}
        )
        return {**vars(self), **sketches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self.is_exact:
            import datasketches

            self._ranks = datasketches.kll_doubles_sketch.deserialize(self._ranks)
            self._different = datasketches.hll_sketch.deserialize(self._different)


def unique_error(sketch: Any) -> str:
    """The error of a HyperLogLog sketch, in words."""
    return (
        f"within {100 * (sketch.get_upper_bound(2) / max(1.0, sketch.get_estimate()) - 1):.1f} %, with 95 % confidence"
    )


def _update_each(sketch: Any, values: np.ndarray) -> None:
    update = sketch.update
    for value in values.tolist():
        update(value)


def _ranks_of(values: np.ndarray, counts: np.ndarray) -> Any:
    """A KLL sketch of each value as often as its count says.

    By Horner's scheme over the bits of the counts, with a sketch that is merged with itself to double it: a value that
    occurs a thousand million times costs 30 updates.
    """
    import datasketches

    ranks = datasketches.kll_doubles_sketch(KLL_K)
    for bit in reversed(range(int(counts.max()).bit_length() if len(counts) else 0)):
        if ranks.n:
            ranks.merge(datasketches.kll_doubles_sketch.deserialize(ranks.serialize()))
        ranks.update(values[(counts >> bit) & 1 == 1])
    return ranks
