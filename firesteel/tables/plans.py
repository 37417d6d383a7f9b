"""What a step does to a table: the four operations that every step is made of, and the columns that come out."""

from __future__ import annotations

from dataclasses import dataclass

from firesteel.tables.expressions import Expression, Over, Ref
from firesteel.tables.schema import Column, Schema


@dataclass(frozen=True)
class Output:
    """One column of a new table, and what it is computed from."""

    column: Column
    value: Expression

    @property
    def is_kept(self) -> bool:
        """Whether its values are those of a column of the table before, under the same or another name."""
        return isinstance(self.value, Ref)


@dataclass(frozen=True)
class Project:
    """As many rows as before, with these columns."""

    outputs: tuple[Output, ...]

    @property
    def is_row_wise(self) -> bool:
        """Whether each row is computed from that row alone."""
        return not any(isinstance(each, Over) for output in self.outputs for each in output.value.walk())

    def schema_after(self, schema: Schema) -> Schema:
        """The columns that come out."""
        return Schema.from_columns(output.column for output in self.outputs)


@dataclass(frozen=True)
class Keep:
    """Only the rows for which a condition is true."""

    where: Expression

    is_row_wise = True

    def schema_after(self, schema: Schema) -> Schema:
        """The columns that come out: the same."""
        return schema


@dataclass(frozen=True)
class Aggregate:
    """One row for each key. Without a key one row, also of an empty table."""

    by: tuple[Output, ...]
    values: tuple[Output, ...]

    is_row_wise = False

    def schema_after(self, schema: Schema) -> Schema:
        """The columns that come out: the key's, then the others."""
        return Schema.from_columns(output.column for output in (*self.by, *self.values))


@dataclass(frozen=True)
class Explode:
    """One row for each value of an array, which stands in a new last column. No row for an empty array or null."""

    array: Expression
    column: Column

    is_row_wise = False

    def schema_after(self, schema: Schema) -> Schema:
        """The columns that come out: those before, and the new one."""
        return Schema.from_columns((*schema.columns, self.column))


Operation = Project | Keep | Aggregate | Explode
"""What a step is made of."""


def kept(schema: Schema, *, but: tuple[str, ...] = ()) -> list[Output]:
    """All columns as they are, but for some."""
    return [Output(column, Ref(column.name)) for column in schema.columns if column.name not in but]


def changed(schema: Schema, *changes: Output) -> Project:
    """All columns; those of ``changes`` in place of the one of their name, the others at the end."""
    new = {output.column.name: output for output in changes}
    outputs = [new.pop(output.column.name, output) for output in kept(schema)]
    return Project((*outputs, *new.values()))


__all__ = ["Aggregate", "Explode", "Keep", "Operation", "Output", "Project", "changed", "kept"]
