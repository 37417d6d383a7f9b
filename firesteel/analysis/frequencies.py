"""How often texts occur, and how many are different."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from firesteel.analysis.distribution import HLL_LOG_K, unique_error

EXACT_TEXTS = 10_000
"""Up to so many different texts are all kept, with their counts."""

_LOG_ITEMS = 12
_LONGEST = 120


class Frequencies:
    """Of texts. All different ones with their counts while these are at most ``limit``, else two sketches.

    The sketches are those of Apache DataSketches: frequent items (Anderson et al., "A high-performance algorithm for
    identifying frequent items in data streams", 2017) and HyperLogLog. Of long texts the beginning and a hash are kept.

    Args:
        limit: of different texts.
    """

    def __init__(self, limit: int = EXACT_TEXTS):
        self._limit = limit
        self.counts: dict[str, int] = {}
        self._items: Any = None
        self._different: Any = None

    @property
    def is_exact(self) -> bool:
        """Whether ``counts`` are all there are."""
        return self._items is None

    def add(self, texts: Sequence[str], counts: Sequence[int]) -> None:
        """Take in texts, each as often as its count says."""
        keys = [text if len(text) <= _LONGEST else _shortened(text) for text in texts]
        if self.is_exact:
            for key, count in zip(keys, counts):
                self.counts[key] = self.counts.get(key, 0) + count
            if len(self.counts) > self._limit:
                self._sketch()
            return
        different, items = self._different.update, self._items.update
        for key, count in zip(keys, counts):
            different(key)
            items(key, count)

    def merge(self, other: Frequencies) -> None:
        """Take in all that another one holds, which is not used any more afterwards."""
        if other.is_exact:
            self.add(list(other.counts), list(other.counts.values()))
            return
        import datasketches

        self._sketch()
        self._items.merge(other._items)
        union = datasketches.hll_union(HLL_LOG_K)
        union.update(self._different)
        union.update(other._different)
        self._different = union.get_result(datasketches.tgt_hll_type.HLL_8)

    def _sketch(self) -> None:
        if not self.is_exact:
            return
        import datasketches

        self._items = datasketches.frequent_strings_sketch(_LOG_ITEMS)
        self._different = datasketches.hll_sketch(HLL_LOG_K, datasketches.tgt_hll_type.HLL_8)
        held, self.counts = self.counts, {}
        self.add(list(held), list(held.values()))

    @property
    def unique(self) -> int:
        """How many are different."""
        return len(self.counts) if self.is_exact else round(self._different.get_estimate())

    def most_frequent(self, count: int) -> list[dict[str, Any]]:
        """The most frequent texts: ``{"value":, "count":}``, the most frequent first.

        Of a sketch only those that certainly belong there.
        """
        if self.is_exact:
            found = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:count]
        else:
            import datasketches

            sure = datasketches.frequent_items_error_type.NO_FALSE_POSITIVES
            found = [(text, estimate) for text, estimate, _, _ in self._items.get_frequent_items(sure)[:count]]
        return [{"value": text, "count": number} for text, number in found]

    @property
    def errors(self) -> dict[str, str]:
        """Which figures are approximate, and by how much."""
        if self.is_exact:
            return {}
        error = 100 * self._items.epsilon
        return {
            "unique": unique_error(self._different),
            "most_frequent": f"counts at most {error:.2f} % of the rows too high; rarer texts than that are not listed",
        }

    def __getstate__(self) -> dict[str, Any]:
        sketches = (
            {}
            if self.is_exact
            else {"_items": self._items.serialize(), "_different": self._different.serialize_compact()}
        )
        return {**vars(self), **sketches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self.is_exact:
            import datasketches

            self._items = datasketches.frequent_strings_sketch.deserialize(self._items)
            self._different = datasketches.hll_sketch.deserialize(self._different)


def _shortened(text: str) -> str:
    mark = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: _LONGEST - 30]}... ({len(text):,} characters, {mark})"
