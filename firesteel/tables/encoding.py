"""From typed columns to the vector that a network sees: which column fills which places of it, and how.

============  =============================================================  ======================
how           what it gives                                                  for
============  =============================================================  ======================
``number``    the value; 0 and 1 for truth values                            numbers, booleans
``onehot``    a place a category, 1 in the value's own and 0 in the others   categories, strings
``index``     the category's number, from 0                                  categories, strings
``seconds``   seconds since the first time of the training split             times
``parts``     year, month, day, weekday (Monday is 0), hour, minute, second  times
``cyclic``    sine and cosine of the time of day, of week and of year        times
============  =============================================================  ======================

Strings have no categories of their own: the most frequent of the training split are learnt, and all others are *other*.
Times are in UTC. The encoding is part of the dataset's manifest and of the model's description, so that ``prepare`` and
prediction make the same vector of the same row, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from firesteel.tables.dialect import Dialect
from firesteel.tables.parsing import parse_column, shown
from firesteel.tables.schema import Column

How = Literal["number", "onehot", "index", "seconds", "parts", "cyclic"]
Missing = Literal["quarantine", "mean", "number", "category"]

PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second")
CYCLES = ("day_sin", "day_cos", "week_sin", "week_cos", "year_sin", "year_cos")
_CYCLE_SECONDS = (86_400.0, 7 * 86_400.0, 365.2425 * 86_400.0)
_MONDAY = 4 * 86_400.0
"""1970-01-05, in seconds since 1970: where a week begins."""

_LARGEST = float(np.finfo(np.float32).max)


class ColumnEncoding(BaseModel):
    """How one column becomes places of the vector.

    Attributes:
        column: of the table.
        how: see the table above.
        categories: in the order of their places or numbers.
        learnt: whether the categories are the most frequent strings of the training split; then there is a place, or a
            number, for all others.
        origin: for ``seconds``: what is 0, in seconds since 1970; None until it has been learnt.
        missing: what a missing value gives: ``quarantine`` (the row cannot be used), ``mean`` of the training split,
            a ``number``, or a ``category`` of its own.
        fill: what a missing value gives, one number a place; empty for ``quarantine`` and ``category``, and until the
            mean has been learnt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Column
    how: How
    categories: tuple[str, ...] = ()
    learnt: bool = False
    origin: float | None = None
    missing: Missing = "quarantine"
    fill: tuple[float, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the places that the column fills."""
        name = self.column.name
        if self.how in ("number", "index", "seconds"):
            return (name,)
        if self.how in ("parts", "cyclic"):
            return tuple(f"{name}.{part}" for part in (PARTS if self.how == "parts" else CYCLES))
        further = (["(other)"] if self.learnt else []) + (["(missing)"] if self.missing == "category" else [])
        return tuple(f"{name}={category}" for category in (*self.categories, *further))

    @property
    def is_learnt(self) -> bool:
        """Whether nothing has still to be learnt from the training split."""
        learnt = not (self.learnt and not self.categories) and not (self.how == "seconds" and self.origin is None)
        return learnt and not (self.missing == "mean" and not self.fill)

    def encode(self, values: pa.Array) -> np.ndarray:
        """The places of the column.

        Args:
            values: parsed, shape (N,).

        Returns:
            float64 of shape (N, len(places)); NaN in the rows whose value is missing and may not be.
        """
        missing = missing_mask(values)
        if self.how in ("onehot", "index"):
            return self._categories(values, missing)
        numbers = self.measure(values)
        if self.how == "seconds":
            numbers = numbers - (self.origin or 0.0)
        numbers[missing] = self.fill or np.nan
        return numbers

    def measure(self, values: pa.Array) -> np.ndarray:
        """Numbers and times as numbers, times in seconds since 1970; float64 of shape (N, places), anything where null."""
        if self.column.type != "time":
            numbers = pc.fill_null(values.cast(pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False)
            return numbers.astype(np.float64)[:, None]
        micros = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        if self.how == "parts":
            return _parts(micros)
        seconds = micros / 1e6
        return _cycles(seconds) if self.how == "cyclic" else seconds[:, None]

    def _categories(self, values: pa.Array, missing: np.ndarray) -> np.ndarray:
        codes = pc.index_in(values, value_set=pa.array(self.categories, pa.string()))
        codes = pc.fill_null(codes, len(self.categories)).to_numpy(zero_copy_only=False).astype(np.int64)
        codes[missing] = len(self.categories) + self.learnt  # behind the others
        wrong = missing & (self.missing != "category")
        if self.how == "index":
            numbers = codes.astype(np.float64)[:, None]
        else:
            numbers = np.zeros((len(codes), len(self.places)))
            rows = np.flatnonzero(~wrong)
            numbers[rows, codes[rows]] = 1.0
        numbers[wrong] = np.nan
        return numbers


@dataclass(frozen=True)
class Encoded:
    """Vectors of rows.

    Attributes:
        values: float32 of shape (N, D); of rows with a problem without meaning.
        problems: row -> why it has no vector.
    """

    values: np.ndarray
    problems: dict[int, str]


class TableEncoding(BaseModel):
    """How a row of a table becomes the vector that a network sees.

    Attributes:
        columns: in the order of the vector.
        dialect: how the text of the table was read; files for prediction are read so, too.
        layout: names of all columns of the source, in its order: files without a header are read by it. Empty if the
            source's columns have no order of their own.
        process: the transform process that made the columns of the source's, as its own mapping; None if there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[ColumnEncoding, ...]
    dialect: Dialect = Field(default_factory=Dialect)
    layout: tuple[str, ...] = ()
    process: dict[str, Any] | None = None

    def of_source(self, columns: Sequence[Column]) -> TableEncoding:
        """For reading only: the same text with the columns that a transform process begins with.

        Args:
            columns: of the source that are needed.
        """
        assert self.process is not None, "without a process the columns are those of the source"
        reading = tuple(ColumnEncoding.model_construct(column=column) for column in columns)
        return self.model_copy(update={"columns": reading, "layout": tuple(self.process["schema"])})

    @property
    def names(self) -> tuple[str, ...]:
        """Of the vector's places."""
        return tuple(name for each in self.columns for name in each.places)

    @property
    def is_learnt(self) -> bool:
        """Whether nothing has still to be learnt from the training split."""
        return all(each.is_learnt for each in self.columns)

    def parse(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], dict[int, str]]:
        """Columns as they come -> columns of their types, and what is wrong with which row.

        Raises:
            ConfigError: if a column can never be what it should be.
        """
        values: dict[str, pa.Array] = {}
        problems: dict[int, str] = {}
        for each in self.columns:
            parsed = parse_column(columns[each.column.name], each.column, self.dialect.null_values)
            values[each.column.name] = parsed.values
            problems = parsed.invalid | problems
        return values, problems

    def encode(self, values: Mapping[str, pa.Array]) -> Encoded:
        """Parsed columns of shape (N,) -> vectors; rows with an invalid value count as if it were missing."""
        assert self.is_learnt, "an encoding is used when it has been learnt"
        rows = len(next(iter(values.values())))
        result = np.empty((rows, len(self.names)), np.float32)
        problems: dict[int, str] = {}
        place = 0
        for each in self.columns:
            numbers = each.encode(values[each.column.name])
            problems = _unusable(numbers, values[each.column.name], each) | problems
            with np.errstate(over="ignore"):
                result[:, place : place + numbers.shape[1]] = numbers
            place += numbers.shape[1]
        return Encoded(result, problems)

    def vectors(self, columns: Mapping[str, pa.Array]) -> Encoded:
        """Columns as they come -> vectors."""
        values, problems = self.parse(columns)
        encoded = self.encode(values)
        return Encoded(encoded.values, encoded.problems | problems)


def missing_mask(values: pa.Array) -> np.ndarray:
    """Where there is no value; NaN, where a schema allows it, is none."""
    return pc.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False)


def unusable_rows(values: Mapping[str, pa.Array], columns: Sequence[ColumnEncoding]) -> dict[int, str]:
    """The rows that have no vector, whatever is learnt: because a value is missing, or too large."""
    problems: dict[int, str] = {}
    for each in columns:
        parsed = values[each.column.name]
        numbers = np.zeros((len(parsed), 1)) if each.how in ("onehot", "index") else each.measure(parsed)
        missing = missing_mask(parsed)
        numbers[missing] = np.nan if each.missing == "quarantine" else 0.0
        problems = _unusable(numbers, parsed, each) | problems
    return problems


def _unusable(numbers: np.ndarray, values: pa.Array, each: ColumnEncoding) -> dict[int, str]:
    problems = {}
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(numbers) <= _LARGEST).all(axis=1)
    for row in np.flatnonzero(wrong):
        value = values[int(row)].as_py()
        what = "is missing" if np.isnan(numbers[row]).any() else f"does not fit into a 32 bit float: {shown(value)}"
        problems[int(row)] = f"column {each.column.name} {what}"
    return problems


def _parts(micros: np.ndarray) -> np.ndarray:
    """(N,) microseconds since 1970 -> (N, 7), see :data:`PARTS`."""
    times = micros.astype("M8[us]")
    years, months, days = (times.astype(f"M8[{unit}]") for unit in "YMD")
    seconds = (times - days).astype(np.int64) / 1e6
    hours = np.floor(seconds / 3600)
    minutes = np.floor((seconds - 3600 * hours) / 60)
    whole_days = days.astype(np.int64)
    return np.stack(
        [
            years.astype(np.int64) + 1970, months.astype(np.int64) % 12 + 1, (days - months).astype(np.int64) + 1,
            (whole_days + 3) % 7, hours, minutes, seconds - 3600 * hours - 60 * minutes,
        ],
        axis=1,
    ).astype(np.float64)  # fmt: skip


def _cycles(seconds: np.ndarray) -> np.ndarray:
    """(N,) seconds since 1970 -> (N, 6), see :data:`CYCLES`."""
    columns = []
    for length in _CYCLE_SECONDS:
        start = _MONDAY if length == _CYCLE_SECONDS[1] else 0.0
        angle = 2 * np.pi * np.mod(seconds - start, length) / length
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1)


__all__ = ["CYCLES", "PARTS", "ColumnEncoding", "Encoded", "How", "Missing", "TableEncoding"]
