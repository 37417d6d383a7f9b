"""What many values of a column become together: sum, mean, first, list, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Expression, Field, Order, Ref, call
from firesteel.tables.plans import Output
from firesteel.tables.schema import Column, ColumnType, Schema
from firesteel.tables.steps.base import NUMBERS, made, typed

Kind = Literal[
    "rows", "count", "count_unique", "sum", "product", "mean", "min", "max", "range", "stdev", "stdev_population",
    "variance", "variance_population", "first", "last", "list",
]  # fmt: skip

_ORDERED: tuple[ColumnType, ...] = (*NUMBERS, "string", "time")
_NUMERIC = {
    "mean": "try_avg", "product": "product", "stdev": "stddev_samp", "stdev_population": "stddev_pop", "variance": "var_samp",
    "variance_population": "var_pop",
}  # fmt: skip
"""Reductions to a double -> functions of Spark SQL."""

Wrap = Callable[[Expression], Expression]
"""Makes of an aggregate what it is in its place: itself, or over a window."""


class Reduction(BaseModel):
    """A column and what its values become.

    Attributes:
        reduce: ``rows`` counts rows, all others overlook missing values, but for ``first``, ``last`` and ``list``, which go by the
            step's ``order_by``. ``stdev`` and ``variance`` are those of a sample (divided by n - 1, missing for one value).
            A ``sum`` of whole numbers is long, and missing if 64 bits do not hold it.
        column: not needed for ``rows``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reduce: Kind
    column: str | None = None

    def output(self, name: str, schema: Schema, order: tuple[Order, ...], *, window: Wrap | None = None) -> Output:
        """The reduced column.

        Args:
            name: of it.
            schema: of the table before.
            order: of the rows.
            window: puts an aggregate over a window, whose rows are in order already; None is one value a key.

        Raises:
            ConfigError: if the column is not there, or has no such reduction.
        """
        wrap = window or (lambda value: value)
        if self.reduce == "rows":
            return made(name, "long", wrap(call("count", 1)), min=0)
        if self.column is None:
            raise ConfigError(f"{name!r}: {self.reduce} needs a column, as in {{reduce: {self.reduce}, column: lat}}.")
        column = typed(schema, self.column)
        if self.reduce in ("first", "last", "list"):
            if not order:
                raise ConfigError(f"{name!r}: {self.reduce} needs an order of the rows: give the step order_by.")
            found = _picked_in(self.reduce, column, wrap) if window else _picked(self.reduce, column, order)
            return Output(_like(column, name, sequence=self.reduce == "list"), found)
        return self._counted_or_calculated(name, schema, column, wrap, window is not None)

    def _counted_or_calculated(self, name: str, schema: Schema, column: Column, wrap: Wrap, windowed: bool) -> Output:
        value = Ref(column.name)
        if self.reduce == "count":
            return made(name, "long", wrap(call("count", value)), min=0)
        if self.reduce == "count_unique":
            # Spark has no count of distinct values over windows.
            found = call("size", wrap(call("collect_set", value))) if windowed else call("count_distinct", value)
            return made(name, "long", Cast(found, "bigint"), min=0)
        if self.reduce in ("min", "max"):
            typed(schema, column.name, *_ORDERED)
            return Output(_like(column, name), wrap(call(self.reduce, value)))
        typed(schema, column.name, *NUMBERS)
        if self.reduce in _NUMERIC:
            return made(name, "double", wrap(call(_NUMERIC[self.reduce], Cast(value, "double"))))
        if self.reduce == "range":
            return made(name, column.type, call("try_subtract", wrap(call("max", value)), wrap(call("min", value))))
        return made(name, "double" if column.type == "double" else "long", wrap(call("try_sum", value)))


def _picked(kind: str, column: Column, order: tuple[Order, ...]) -> Expression:
    """By structs (order, value): they are compared field by field, and keep values that are null."""
    pairs = struct((*(Ref(each.column) for each in order), Ref(column.name)))
    falling = check_direction(order)
    if kind == "list":
        return Field(call("sort_array", call("collect_list", pairs), not falling), f"f{len(order)}")
    return Field(call("min" if (kind == "first") != falling else "max", pairs), f"f{len(order)}")


def _picked_in(kind: str, column: Column, wrap: Wrap) -> Expression:
    if kind == "list":
        return Field(wrap(call("collect_list", struct((Ref(column.name),)))), "f0")
    return wrap(call(f"{kind}_value", Ref(column.name)))


def struct(values: tuple[Expression, ...]) -> Expression:
    """A struct with the fields f0, f1, ..."""
    arguments = [part for i, value in enumerate(values) for part in (f"f{i}", value)]
    return call("named_struct", *arguments)


def check_direction(order: tuple[Order, ...]) -> bool:
    """Whether an order falls.

    Raises:
        ConfigError: if it rises by one column and falls by another.
    """
    if len({each.descending for each in order}) > 1:
        raise ConfigError("order_by must rise by all columns here, or fall by all.")
    return bool(order) and order[0].descending


def _like(column: Column, name: str, *, sequence: bool = False) -> Column:
    return Column(**(column.model_dump() | {"name": name, "sequence": sequence}))


__all__ = ["Kind", "Reduction", "check_direction", "struct"]
