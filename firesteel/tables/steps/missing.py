"""Steps that put values in the place of others: of missing ones, of wrong ones, or where a condition holds."""

from __future__ import annotations

from typing import ClassVar, Literal

from firesteel.errors import ConfigError
from firesteel.tables.conditions import AnyCondition
from firesteel.tables.expressions import Expression, Ref, choice, some
from firesteel.tables.plans import Operation, Output, changed
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import Names, Step, made, typed
from firesteel.tables.steps.normalize import StatisticsStep
from firesteel.tables.values import constant, is_missing, is_valid

Value = str | int | float | bool | None


class FillMissing(StatisticsStep):
    """Put a value where there is none: a constant, or a statistic of the column, rounded for whole numbers.

    Attributes:
        value: of the columns' type.
        statistic: mean, min or max, instead of a value.
    """

    do: Literal["fill_missing"] = "fill_missing"
    value: Value = None
    statistic: Literal["mean", "min", "max"] | None = None

    def needs(self) -> tuple[str, ...]:
        return (self.statistic,) if self.statistic else ()

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if (self.value is None) == (self.statistic is None):
            raise ConfigError("give value or statistic, and not both.")
        if self.statistic:
            self.check_columns(schema)
        outputs = []
        for name in self.columns:
            column = typed(schema, name)
            filled = choice((is_missing(column), self._filling(column)), otherwise=Ref(name))
            outputs.append(Output(column, filled))
        return (changed(schema, *outputs),)

    def _filling(self, column: Column) -> Expression:
        if not self.statistic:
            return constant(column, self.value)
        found = self.statistic_of(column.name, self.statistic) or 0.0
        return constant(column, found if column.type == "double" else round(found))


class ReplaceInvalid(Step):
    """Put a value where one is wrong by the schema (bounds, pattern, categories, NaN); ``value: null`` makes it missing."""

    do: Literal["replace_invalid"] = "replace_invalid"
    columns: Names
    value: Value = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        outputs = []
        for name in self.columns:
            column = typed(schema, name)
            good = some(is_missing(column), is_valid(column))
            outputs.append(Output(column, choice((good, Ref(name)), otherwise=constant(column, self.value))))
        return (changed(schema, *outputs),)


class ReplaceWhere(Step):
    """Put a value where a condition holds, and perhaps another one where it does not.

    Attributes:
        column: is changed in place.
        where: the condition.
        value: of the column's type, or null.
        otherwise: for all other rows; not given, they keep theirs.
    """

    positional: ClassVar[str | None] = "column"

    do: Literal["replace_where"] = "replace_where"
    column: str
    where: AnyCondition
    value: Value
    otherwise: Value = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        column = typed(schema, self.column)
        rest: Expression = Ref(self.column)
        if self.otherwise is not None:
            rest = constant(column, self.otherwise)
        found = choice((self.where.expression(schema), constant(column, self.value)), otherwise=rest)
        return (changed(schema, Output(column, found)),)


class CopyWhere(Step):
    """Copy the value of another column of the same type where a condition holds."""

    positional: ClassVar[str | None] = "column"

    do: Literal["copy_where"] = "copy_where"
    column: str
    source: str
    where: AnyCondition

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        column, source = typed(schema, self.column), typed(schema, self.source)
        if column.type != source.type or column.values != source.values:
            raise ConfigError(
                f"column {column.name!r} is {column.type} and {source.name!r} is {source.type}: cast one of them."
            )
        found = choice((self.where.expression(schema), Ref(self.source)), otherwise=Ref(self.column))
        return (changed(schema, made(self.column, column.type, found, values=column.values)),)


__all__ = ["CopyWhere", "FillMissing", "ReplaceInvalid", "ReplaceWhere"]
