"""Figures of truth values, bytes and lists, and of what can only be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.analysis.content import Content
from firesteel.analysis.numbers import NumberSummary
from firesteel.analysis.texts import TextSummary, length_figures


class BooleanSummary(Content):
    """Of truth values."""

    def __init__(self) -> None:
        self._true = self._false = 0

    def add(self, values: pa.Array) -> None:
        true = int(pc.sum(values).as_py() or 0)
        self._true += true
        self._false += len(values) - true

    def merge(self, other: BooleanSummary) -> None:
        self._true += other._true
        self._false += other._false

    def figures(self) -> dict[str, Any]:
        return {"true": self._true, "false": self._false, "unique": (self._true > 0) + (self._false > 0)}


class BytesSummary(Content):
    """Of bytes: their lengths."""

    def __init__(self) -> None:
        self._lengths = NumberSummary(whole=True)

    def add(self, values: pa.Array) -> None:
        self._lengths.add_numbers(pc.binary_length(values).to_numpy().astype(np.int64))

    def merge(self, other: BytesSummary) -> None:
        self._lengths.merge(other._lengths)

    def figures(self) -> dict[str, Any]:
        return {"zero_length": self._lengths.figures()["zeros"], "length": length_figures(self._lengths)}


class ListSummary(Content):
    """Of lists, arrays and maps: their lengths, and the figures of all elements where these are numbers or texts.

    Args:
        elements: summary of the elements; None where they are neither.
    """

    def __init__(self, elements: NumberSummary | TextSummary | None = None):
        self._lengths = NumberSummary(whole=True)
        self._elements = elements
        self._one = self._null_elements = 0

    def add(self, values: pa.Array) -> None:
        is_map = pa.types.is_map(values.type)
        lengths = np.diff(values.offsets.to_numpy()) if is_map else pc.list_value_length(values).to_numpy()
        self._lengths.add_numbers(lengths.astype(np.int64))
        self._one += int(np.count_nonzero(lengths == 1))
        if is_map:
            return
        elements = pc.list_flatten(values)
        self._null_elements += elements.null_count
        if self._elements is not None:
            self._elements.add(elements.drop_null())

    def merge(self, other: ListSummary) -> None:
        self._lengths.merge(other._lengths)
        self._one += other._one
        self._null_elements += other._null_elements
        if self._elements is not None and other._elements is not None:
            self._elements.merge(other._elements)  # type: ignore[arg-type]

    def figures(self) -> dict[str, Any]:
        lengths = self._lengths.figures()
        return {
            "length": length_figures(self._lengths),
            "zero_length": lengths["zeros"],
            "one_length": self._one,
            "null_elements": self._null_elements,
            **({} if self._elements is None else {"elements": self._elements.figures()}),
        }


class Counted(Content):
    """Of values that can only be counted: structures, and what has no other summary."""

    def add(self, values: pa.Array) -> None:
        pass

    def merge(self, other: Counted) -> None:
        pass

    def figures(self) -> dict[str, Any]:
        return {}
