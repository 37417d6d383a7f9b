"""Steps that choose, name and order columns."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Ref
from firesteel.tables.plans import Operation, Output, Project, changed, kept
from firesteel.tables.schema import Column, ColumnType, Schema
from firesteel.tables.steps.base import Names, Step, made, new_name
from firesteel.tables.values import constant


class Select(Step):
    """Keep these columns and no others, in this order."""

    do: Literal["select"] = "select"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (Project(tuple(Output(schema[name], Ref(name)) for name in self.columns)),)


class Drop(Step):
    """Leave columns out."""

    do: Literal["drop"] = "drop"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        for name in self.columns:
            schema[name]
        outputs = kept(schema, but=self.columns)
        if not outputs:
            raise ConfigError("no column would be left.")
        return (Project(tuple(outputs)),)


class Rename(Step):
    """Give columns other names; ``columns`` maps old names to new ones, which may also change places."""

    do: Literal["rename"] = "rename"
    columns: dict[str, str]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        for name in self.columns:
            schema[name]
        outputs = [
            Output(_named(output.column, self.columns.get(output.column.name, output.column.name)), output.value)
            for output in kept(schema)
        ]
        return (Project(tuple(outputs)),)


class Reorder(Step):
    """Put these columns first, in this order; the others follow as they were."""

    do: Literal["reorder"] = "reorder"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        first = [Output(schema[name], Ref(name)) for name in self.columns]
        return (Project((*first, *kept(schema, but=self.columns))),)


class Duplicate(Step):
    """Copy columns; ``columns`` maps each to the name of its copy, which stands at the end."""

    do: Literal["duplicate"] = "duplicate"
    columns: dict[str, str]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        copies = [Output(_named(schema[old], new_name(schema, new)), Ref(old)) for old, new in self.columns.items()]
        return (Project((*kept(schema), *copies)),)


class AddConstant(Step):
    """A new column that holds one value; ``type`` is guessed from the value if it is not given."""

    positional: ClassVar[str | None] = None

    do: Literal["add_constant"] = "add_constant"
    into: str
    value: str | int | float | bool | None
    type: ColumnType | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        kind = self.type or _type_of(self.value)
        if kind == "categorical":
            values = (self.value,) if isinstance(self.value, str) else ("?",)
            column = Column(name=new_name(schema, self.into), type=kind, values=values)
            return (changed(schema, Output(column, constant(column, self.value))),)
        output = made(new_name(schema, self.into), kind, Ref(""))
        return (changed(schema, Output(output.column, constant(output.column, self.value))),)


def _type_of(value: Any) -> ColumnType:
    if value is None:
        raise ConfigError("a constant column of null needs its type, as in type: double.")
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(1 << 31) <= value < 1 << 31 else "long"
    return "double" if isinstance(value, float) else "string"


def _named(column: Column, name: str) -> Column:
    """The same column under another name."""
    if name == column.name:
        return column
    fields = column.model_dump() | {"name": name}
    try:
        return Column(**fields)
    except ValueError:
        raise ConfigError(f"a column needs a name without blanks around it, got {name!r}.") from None


__all__ = ["AddConstant", "Drop", "Duplicate", "Rename", "Reorder", "Select"]
