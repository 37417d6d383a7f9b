"""Figures of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.analysis.content import Content
from firesteel.analysis.frequencies import EXACT_TEXTS, Frequencies
from firesteel.analysis.numbers import NumberSummary

_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_LISTED = 20


class TextSummary(Content):
    """Of texts: lengths in characters, kinds, the most frequent ones.

    Args:
        limit: of different texts up to which their number and the most frequent ones are exact.
    """

    _KINDS = ("empty", "blank", "numeric", "alphabetic", "word")

    def __init__(self, *, limit: int = EXACT_TEXTS):
        self.frequencies = Frequencies(limit)
        self._lengths = NumberSummary(whole=True)
        self._of_kind = dict.fromkeys(self._KINDS, 0)

    def add(self, values: pa.Array) -> None:
        counted = pc.value_counts(values.cast(pa.string()))
        texts, counts = counted.field("values"), counted.field("counts").to_numpy()
        lengths = pc.utf8_length(texts).to_numpy()
        self._lengths.add_numbers(np.repeat(lengths, counts).astype(np.int64))
        trimmed = pc.equal(pc.utf8_trim_whitespace(texts), "")
        found = {
            "empty": lengths == 0,
            "blank": trimmed.to_numpy(zero_copy_only=False) & (lengths > 0),
            "numeric": pc.match_substring_regex(texts, _NUMBER).to_numpy(zero_copy_only=False),
            "alphabetic": pc.utf8_is_alpha(texts).to_numpy(zero_copy_only=False),
            "word": pc.match_substring_regex(texts, r"^\w+$").to_numpy(zero_copy_only=False),
        }
        for kind, which in found.items():
            self._of_kind[kind] += int(counts[which].sum())
        self.frequencies.add(texts.to_pylist(), counts.tolist())

    def merge(self, other: TextSummary) -> None:
        self.frequencies.merge(other.frequencies)
        self._lengths.merge(other._lengths)
        for kind in self._KINDS:
            self._of_kind[kind] += other._of_kind[kind]

    def figures(self) -> dict[str, Any]:
        """``blank``: only whitespace; ``numeric``: reads as a number; ``alphabetic``: only letters; ``word``: a-z, 0-9, _."""
        return {
            **self._of_kind,
            "unique": min(self.frequencies.unique, self._lengths.count),
            "most_frequent": self.frequencies.most_frequent(_LISTED),
            "length": length_figures(self._lengths),
            "approximate": self.frequencies.errors,
        }


class CategorySummary(Content):
    """Of texts of which a schema says which there may be.

    Args:
        values: that there may be.
    """

    def __init__(self, values: tuple[str, ...]):
        self._counts = dict.fromkeys(values, 0)

    def add(self, values: pa.Array) -> None:
        for each in pc.value_counts(values.cast(pa.string())).to_pylist():
            self._counts[each["values"]] += each["counts"]

    def merge(self, other: CategorySummary) -> None:
        for value, count in other._counts.items():
            self._counts[value] += count

    def figures(self) -> dict[str, Any]:
        return {"counts": dict(self._counts), "unique": sum(count > 0 for count in self._counts.values())}


def length_figures(lengths: NumberSummary) -> dict[str, Any]:
    """Those figures of lengths that say something."""
    figures = lengths.figures()
    return {
        name: figures[name] for name in ("min", "max", "mean", "stdev", "variance", "total", "quantiles", "histogram")
    }
