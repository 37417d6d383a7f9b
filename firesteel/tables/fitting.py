"""What an encoding learns from the rows of the training split: categories, means, where time begins.

Sums of tasks are sums again, so that the rows may lie anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.errors import ConfigError, DataError
from firesteel.tables.encoding import ColumnEncoding, TableEncoding, missing_mask

_MOST_CATEGORIES = 1_000_000
"""More different strings in one column are no categories, and would not fit into the driver's memory."""


@dataclass
class ColumnSums:
    """Of the training rows of one column, as far as its encoding has to learn.

    Attributes:
        counts: rows of each category.
        rows: rows with a value.
        total: sum of each place's numbers; of times in seconds since 1970.
        smallest: number of a row with a value.
    """

    counts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    total: list[float] = field(default_factory=list)
    smallest: float = float("inf")

    def __add__(self, other: ColumnSums) -> ColumnSums:
        total = (
            [a + b for a, b in zip(self.total, other.total)]
            if self.total and other.total
            else self.total or other.total
        )
        return ColumnSums(self.counts + other.counts, self.rows + other.rows, total, min(self.smallest, other.smallest))


def sums_of(values: Mapping[str, pa.Array], rows: np.ndarray, columns: Sequence[ColumnEncoding]) -> list[ColumnSums]:
    """What the rows say, one a column that has something to learn.

    Args:
        values: parsed columns of shape (N,).
        rows: bool of shape (N,): those of the training split.
        columns: of the encoding.

    Raises:
        ConfigError: if a column holds more different strings than can be categories.
    """
    return [_sums(values[each.column.name].filter(pa.array(rows)), each) for each in columns if not each.is_learnt]


def _sums(values: pa.Array, each: ColumnEncoding) -> ColumnSums:
    if each.how in ("onehot", "index"):
        counts = Counter(
            {entry["values"]: entry["counts"] for entry in pc.value_counts(values.drop_null()).to_pylist()}
        )
        return _checked(ColumnSums(counts), each)
    numbers = each.measure(values)[~missing_mask(values)]
    if not len(numbers):
        return ColumnSums()
    return ColumnSums(Counter(), len(numbers), numbers.sum(axis=0).tolist(), float(numbers[:, 0].min()))


def _checked(sums: ColumnSums, each: ColumnEncoding) -> ColumnSums:
    if len(sums.counts) > _MOST_CATEGORIES:
        raise ConfigError(
            f"column {each.column.name!r} holds more than {_MOST_CATEGORIES:,} different strings: it names rows rather than"
            " categories.\nLeave it out with --features."
        )
    return sums


def total_sums(parts: Iterable[list[ColumnSums]], columns: Sequence[ColumnEncoding]) -> list[ColumnSums]:
    """The sums of all tasks."""
    open_columns = [each for each in columns if not each.is_learnt]
    total = [ColumnSums() for _ in open_columns]
    for part in parts:
        total = [_checked(left + right, each) for left, right, each in zip(total, part, open_columns)]
    return total


def learnt_encoding(encoding: TableEncoding, sums: Sequence[ColumnSums], most: int | None) -> TableEncoding:
    """The encoding with all that had to be learnt.

    Args:
        encoding: with something open.
        sums: see :func:`total_sums`.
        most: categories of a column.

    Raises:
        DataError: if the training split has no value in a column.
    """
    waiting = iter(sums)
    columns = tuple(each if each.is_learnt else _learnt(each, next(waiting), most) for each in encoding.columns)
    return encoding.model_copy(update={"columns": columns})


def _learnt(each: ColumnEncoding, sums: ColumnSums, most: int | None) -> ColumnEncoding:
    if not sums.counts and not sums.rows:
        raise DataError(
            f"column {each.column.name!r} has no value in the training split: there is nothing to learn."
            " Leave it out with --features."
        )
    if each.how in ("onehot", "index"):
        # By frequency, and by name where that is equal: the same on any number of tasks.
        ordered = sorted(sums.counts, key=lambda name: (-sums.counts[name], name))
        return each.model_copy(update={"categories": tuple(sorted(ordered[:most]))})
    # Whole seconds: what is subtracted before 32 bits round is no reason to round.
    origin = float(np.floor(sums.smallest)) if each.how == "seconds" else None
    mean = tuple(value / sums.rows - (origin or 0.0) for value in sums.total)
    return each.model_copy(update={"origin": origin, "fill": mean if each.missing == "mean" else each.fill})


__all__ = ["ColumnSums", "learnt_encoding", "sums_of", "total_sums"]
