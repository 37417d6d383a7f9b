"""Steps that bring numbers to a common scale, by statistics of the column that are kept in the step as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Constant, Expression, Ref, call, choice
from firesteel.tables.plans import Operation, changed
from firesteel.tables.schema import Schema
from firesteel.tables.steps.base import NUMBERS, Names, Step, made, typed
from firesteel.tables.values import number

Statistics = dict[str, dict[str, float]]
"""Column -> name of a statistic -> its value."""

STATISTICS = ("min", "max", "mean", "stdev")
"""``stdev`` is that of a sample (divided by n - 1)."""


class StatisticsStep(Step):
    """A step that works with statistics of its columns.

    Attributes:
        columns: numbers.
        statistics: column -> ``min``, ``max``, ``mean``, ``stdev``, as far as the step needs them; filled in by
            ``with_analysis`` or from a DataFrame where they are not given.
    """

    columns: Names
    statistics: Statistics = Field(default_factory=dict)

    @field_validator("statistics", mode="before")
    @classmethod
    def _check_statistics(cls, value: Any) -> Any:
        for name, each in value.items() if isinstance(value, dict) else ():
            for key, found in each.items() if isinstance(each, dict) else ():
                if key not in STATISTICS:
                    raise ConfigError(f"statistics of {name!r} are {', '.join(STATISTICS)}, got {key!r}.")
                if not abs(number(found, f"{key} of {name!r}")) < float("inf"):
                    raise ConfigError(f"{key} of {name!r} must be finite, got {found}.")
        return value

    def needs(self) -> tuple[str, ...]:
        """The statistics that it works with."""
        raise NotImplementedError

    def unfilled(self, schema: Schema) -> Mapping[str, tuple[str, ...]]:
        missing = {
            name: tuple(each for each in self.needs() if each not in self.statistics.get(name, {}))
            for name in self.columns
        }
        return {name: which for name, which in missing.items() if which}

    def with_statistics(self, statistics: Mapping[str, Mapping[str, float]]) -> Step:
        found = {name: dict(each) for name, each in self.statistics.items()}
        for name, which in self.unfilled(Schema()).items():
            found.setdefault(name, {}).update({each: float(statistics[name][each]) for each in which})
        return type(self).model_validate(self.to_mapping() | {"statistics": found})

    def statistic_of(self, column: str, name: str) -> float | None:
        """A statistic; None as long as it is not filled in: the schema does not depend on it."""
        return self.statistics.get(column, {}).get(name)

    def check_columns(self, schema: Schema) -> None:
        """Raise ConfigError if a column is not there, is no number, or has statistics without being named."""
        for name in self.columns:
            typed(schema, name, *NUMBERS)
        for name in self.statistics:
            if name not in self.columns:
                raise ConfigError(f"statistics are given of {name!r}, which is not one of the step's columns.")


class Normalize(StatisticsStep):
    """Scale columns, each in place, to double.

    Attributes:
        method: ``min_max`` maps the smallest value to the low end of ``range`` and the largest to its high end;
            ``standardize`` is (x - mean) / stdev; ``subtract_mean`` is x - mean;
            ``log2_mean`` is scale * log2((x - min) / (mean - min) + 1), for values that fall off exponentially.
        range: of ``min_max``.
        scale: of ``log2_mean``; DataVec's default is 0.5.

    A column whose values are all the same becomes the low end of the range, or 0.
    """

    do: Literal["normalize"] = "normalize"
    method: Literal["min_max", "standardize", "subtract_mean", "log2_mean"]
    range: tuple[float, float] = (0.0, 1.0)
    scale: float = 0.5

    def needs(self) -> tuple[str, ...]:
        found = {"min_max": ("min", "max"), "standardize": ("mean", "stdev"), "subtract_mean": ("mean",)}
        return found.get(self.method, ("min", "mean"))

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        self.check_columns(schema)
        if not self.range[0] < self.range[1]:
            raise ConfigError(f"range must rise, as in [0, 1], got {list(self.range)}.")
        outputs = []
        for name in self.columns:
            value = Ref(name) if schema[name].type == "double" else Cast(Ref(name), "double")
            first, second = (self.statistic_of(name, each) for each in (*self.needs(), self.needs()[0])[:2])
            outputs.append(made(name, "double", self._scaled(value, first or 0.0, second or 0.0)))
        return (changed(schema, *outputs),)

    def _scaled(self, value: Expression, first: float, second: float) -> Expression:
        """``first`` and ``second`` are the statistics in the order of :meth:`needs`."""
        if self.method == "subtract_mean":
            return call("-", value, first)
        if self.method == "standardize":
            return _or_same(second, call("-", value, first), 0.0)
        part = _or_same(second - first, call("-", value, first), 0.0)
        if self.method == "log2_mean":
            return call("*", self.scale, call("log2", call("+", part, 1.0)))
        low, high = self.range
        return call("+", call("*", part, high - low), low)


def _or_same(width: float, distance: Expression, same: float) -> Expression:
    """``distance / width``, or ``same`` where all values are the same; missing stays missing."""
    if width:
        return call("/", distance, width)
    return choice((call("isnotnull", distance), same), otherwise=Cast(Constant(None), "double"))


__all__ = ["STATISTICS", "Normalize", "Statistics", "StatisticsStep"]
