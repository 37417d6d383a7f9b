"""What every step of a transform process is: a small model that says what it does to a table of a given schema."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Expression, Order
from firesteel.tables.plans import Operation, Output
from firesteel.tables.schema import Column, ColumnType, Schema


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _some_that_differ(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("at least one column is needed")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} is there twice")
    return names


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_some_that_differ)]
"""One or more names of columns; a single one may stand without brackets."""

NamesOrNone = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
"""The same, or none at all."""

NUMBERS: tuple[ColumnType, ...] = ("integer", "long", "double")
TEXTS: tuple[ColumnType, ...] = ("string", "categorical")


class Step(BaseModel, ABC):
    """One step: immutable, and the same as its lines in a file.

    Attributes:
        do: its name in files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    positional: ClassVar[str | None] = "columns"
    """The field that takes the arguments without a name, all of them where it holds several."""

    do: str

    @abstractmethod
    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        """What happens to a table of that schema, one after the other.

        Raises:
            ConfigError: if the step does not fit the schema.
        """

    def schema_after(self, schema: Schema) -> Schema:
        """The columns that come out.

        Raises:
            ConfigError: if the step does not fit the schema.
        """
        for operation in self.plan(schema):
            schema = operation.schema_after(schema)
        return schema

    def unfilled(self, schema: Schema) -> Mapping[str, tuple[str, ...]]:
        """Columns -> statistics of them (``min``, ``max``, ``mean``, ``stdev``) that must be filled in first."""
        return {}

    def with_statistics(self, statistics: Mapping[str, Mapping[str, float]]) -> Step:
        """The step with the statistics that it wanted, as numbers."""
        return self

    def to_mapping(self) -> dict[str, Any]:
        """Its lines in a file: JSON values, without what is as by default."""
        fields = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"do"})
        return {"do": self.do, **fields}


def typed(schema: Schema, name: str, *types: ColumnType, advice: str = "") -> Column:
    """A column, which must be of one of some types.

    Raises:
        ConfigError: if it is not there, or of another type.
    """
    column = schema[name]
    if column.sequence:
        raise ConfigError(
            f"column {name!r} holds sequences ({column.type}[]), this works on single values. Put the step before"
            " to_sequence, or behind from_sequence."
        )
    if types and column.type not in types:
        wanted = " or ".join(types)
        if not advice and set(types) <= set(NUMBERS):
            advice = f"Make it a number first, as in {{do: cast, columns: [{name}], to: double}}."
        if not advice and "string" in types:
            advice = f"Make it a text first, as in {{do: cast, columns: [{name}], to: string}}."
        raise ConfigError(f"column {name!r} is {column.type}, this needs {wanted}. {advice}".rstrip())
    return column


def new_name(schema: Schema, name: str) -> str:
    """A name for a new column.

    Raises:
        ConfigError: if there is a column of that name.
    """
    if name in schema:
        raise ConfigError(f"there is a column {name!r} already. Choose another name, or drop that column before.")
    return name


def made(name: str, kind: ColumnType, value: Expression, **fields: Any) -> Output:
    """A computed column. What bounded the values that it came from does not bound it."""
    return Output(Column(name=name, type=kind, **fields), value)


def order_of(schema: Schema, names: tuple[str, ...]) -> tuple[Order, ...]:
    """Columns to order by; a name with ``-`` before it falls, unless a column has that very name.

    Raises:
        ConfigError: if a column is not there, or cannot be ordered.
    """
    found = []
    for name in names:
        descending = name.startswith("-") and name not in schema
        found.append(Order(typed(schema, name[1:] if descending else name).name, descending))
    return tuple(found)


def check_pattern(pattern: str, replacement: str = "") -> None:
    """Find out before a job runs that a regular expression and what replaces its matches are sound.

    Raises:
        ConfigError: if they are not.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}.") from None
    for sign in re.findall(r"\\.?|\$\d*", replacement, re.DOTALL):
        if sign in ("\\", "$"):
            raise ConfigError(
                f"replacement {replacement!r}: write \\\\ for a backslash, \\$ for a dollar sign, $1 for a group."
            )
        if sign[0] == "$" and int(sign[1]) > groups:
            raise ConfigError(f"replacement {replacement!r}: {pattern!r} has {groups} groups, so there is no {sign}.")


__all__ = [
    "NUMBERS",
    "TEXTS",
    "Names",
    "NamesOrNone",
    "Step",
    "check_pattern",
    "made",
    "new_name",
    "order_of",
    "typed",
]
