"""Steps that leave rows out."""

from __future__ import annotations

from typing import ClassVar, Literal

from firesteel.tables.conditions import AnyCondition
from firesteel.tables.expressions import call, every, some
from firesteel.tables.plans import Keep, Operation
from firesteel.tables.schema import Schema
from firesteel.tables.steps.base import NamesOrNone, Step
from firesteel.tables.values import is_missing, is_valid


class KeepRows(Step):
    """Keep the rows for which a condition holds."""

    positional: ClassVar[str | None] = "where"

    do: Literal["keep_rows"] = "keep_rows"
    where: AnyCondition

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (Keep(self.where.expression(schema)),)


class DropRows(Step):
    """Leave out the rows for which a condition holds."""

    positional: ClassVar[str | None] = "where"

    do: Literal["drop_rows"] = "drop_rows"
    where: AnyCondition

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (Keep(call("not", self.where.expression(schema))),)


class DropInvalid(Step):
    """Leave out rows with a value that is missing, or not valid by the schema (bounds, pattern, categories, NaN).

    Attributes:
        columns: to look at; none given means all.
        keep_missing: keep rows whose values are missing, drop only those that are wrong.
    """

    do: Literal["drop_invalid"] = "drop_invalid"
    columns: NamesOrNone = ()
    keep_missing: bool = False

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        tests = []
        for name in self.columns or schema.names:
            valid = is_valid(schema[name])
            tests.append(some(is_missing(schema[name]), valid) if self.keep_missing else valid)
        return (Keep(every(*tests)),)


__all__ = ["DropInvalid", "DropRows", "KeepRows"]
