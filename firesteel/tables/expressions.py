"""What a column of a new table is computed from: small trees of columns, constants and functions of Spark SQL.

Steps of a transform process say with these what they mean; only :mod:`firesteel.spark.expressions` turns them into
Spark's own columns. They are data: they can be compared, printed and looked through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SPARK_TYPES = {
    "string": "string", "categorical": "string", "integer": "int", "long": "bigint", "double": "double",
    "time": "timestamp", "boolean": "boolean", "bytes": "binary",
}  # fmt: skip
"""Type of a schema's column -> type of Spark SQL."""


@dataclass(frozen=True)
class Expression:
    """Base of all."""

    def parts(self) -> tuple[Expression, ...]:
        """What it is made of."""
        return ()

    def walk(self) -> Iterator[Expression]:
        """This one and all that it is made of."""
        yield self
        for part in self.parts():
            yield from part.walk()


@dataclass(frozen=True)
class Ref(Expression):
    """The value of a column."""

    name: str


@dataclass(frozen=True)
class Constant(Expression):
    """A text, number, truth value, bytes, list of those, or None."""

    value: Any


@dataclass(frozen=True)
class Call(Expression):
    """A function of Spark SQL, also an operator such as ``+``."""

    function: str
    arguments: tuple[Expression, ...]

    def parts(self) -> tuple[Expression, ...]:
        return self.arguments


@dataclass(frozen=True)
class Cast(Expression):
    """A value as another type of Spark SQL; null where it cannot be one."""

    value: Expression
    type: str

    def parts(self) -> tuple[Expression, ...]:
        return (self.value,)


@dataclass(frozen=True)
class Choice(Expression):
    """The value of the first condition that is true, else another one."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression

    def parts(self) -> tuple[Expression, ...]:
        return (*(part for branch in self.branches for part in branch), self.otherwise)


@dataclass(frozen=True)
class Field(Expression):
    """A field of a struct; of an array of structs the array of the field's values."""

    value: Expression
    name: str

    def parts(self) -> tuple[Expression, ...]:
        return (self.value,)


@dataclass(frozen=True)
class Order:
    """Of rows: by a column, nulls first where it rises and last where it falls."""

    column: str
    descending: bool = False


@dataclass(frozen=True)
class Over(Expression):
    """A function over the rows of the same key up to this one.

    Attributes:
        value: an aggregate or a ranking function.
        by: the key; rows whose key is null are of one key.
        order: of the rows of a key.
        rows: how many are looked at, this one and those before it; None is what the function does by itself.
    """

    value: Expression
    by: tuple[str, ...]
    order: tuple[Order, ...]
    rows: int | None = None

    def parts(self) -> tuple[Expression, ...]:
        return (self.value, *(Ref(name) for name in (*self.by, *(each.column for each in self.order))))


def as_expression(value: Any) -> Expression:
    """An expression as it is, anything else as a constant."""
    return value if isinstance(value, Expression) else Constant(value)


def call(function: str, *arguments: Any) -> Call:
    """A call; arguments that are no expressions are constants."""
    return Call(function, tuple(map(as_expression, arguments)))


def choice(*branches: tuple[Expression, Any], otherwise: Any = None) -> Choice:
    """``choice((condition, value), ..., otherwise=value)``."""
    return Choice(tuple((condition, as_expression(value)) for condition, value in branches), as_expression(otherwise))


def null(kind: str) -> Cast:
    """Null of a type of Spark SQL."""
    return Cast(Constant(None), kind)


def every(*conditions: Expression) -> Expression:
    """All of some conditions."""
    return _joined("and", conditions, empty=True)


def some(*conditions: Expression) -> Expression:
    """Any of some conditions."""
    return _joined("or", conditions, empty=False)


def _joined(function: str, conditions: tuple[Expression, ...], *, empty: bool) -> Expression:
    """A balanced tree: Spark's parser and analyser recurse, and hundreds of columns are not rare."""
    if not conditions:
        return Constant(empty)
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return call(
        function, _joined(function, conditions[:half], empty=empty), _joined(function, conditions[half:], empty=empty)
    )


def columns_of(expression: Expression) -> set[str]:
    """Names of the columns that it reads."""
    return {each.name for each in expression.walk() if isinstance(each, Ref)}


__all__ = [
    "SPARK_TYPES",
    "Call",
    "Cast",
    "Choice",
    "Constant",
    "Expression",
    "Field",
    "Order",
    "Over",
    "Ref",
    "as_expression",
    "call",
    "choice",
    "columns_of",
    "every",
    "null",
    "some",
]
