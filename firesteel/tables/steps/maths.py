"""Steps that calculate. Missing in, missing out; what has no result (division by zero, overflow) is missing, too."""

from __future__ import annotations

from typing import Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import SPARK_TYPES, Cast, Constant, Expression, Ref, call, choice, null
from firesteel.tables.plans import Operation, Output, changed
from firesteel.tables.schema import Column, ColumnType, Schema
from firesteel.tables.steps.base import NUMBERS, Names, Step, made, new_name, typed
from firesteel.tables.values import number

Operator = Literal[
    "add", "subtract", "multiply", "divide", "modulus", "reverse_subtract", "reverse_divide", "min", "max"
]
"""``reverse_subtract`` is value - column. ``modulus`` has the sign of the column, as in Java and C."""

_FUNCTIONS = {
    "add": "try_add", "subtract": "try_subtract", "multiply": "try_multiply", "divide": "try_divide",
    "modulus": "try_mod", "min": "least", "max": "greatest",
}  # fmt: skip


def operated(operator: str, left: Expression, right: Expression, kind: ColumnType) -> Expression:
    """Two numbers of one type, calculated; null if one is null, or there is no result."""
    if operator.startswith("reverse_"):
        operator, left, right = operator.removeprefix("reverse_"), right, left
    found = call(_FUNCTIONS[operator], left, right)
    if operator not in ("min", "max"):
        return found
    # least and greatest overlook nulls.
    absent = call("or", call("isnull", left), call("isnull", right))
    return choice((absent, null(SPARK_TYPES[kind])), otherwise=found)


class Maths(Step):
    """Calculate with columns and a number, each column in place.

    Whole numbers stay whole if the number is whole, but for ``divide`` and ``reverse_divide``, which give double.
    """

    do: Literal["maths"] = "maths"
    columns: Names
    operator: Operator
    value: int | float

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (changed(schema, *(self._output(typed(schema, name, *NUMBERS)) for name in self.columns)),)

    def _output(self, column: Column) -> Output:
        kind = _kind(column, self.operator, self.value)
        value, bits = number(self.value, "value"), {"integer": 31, "long": 63}.get(kind)
        if bits is not None and abs(self.value) >= 1 << bits:
            raise ConfigError(f"value {self.value} does not fit into column {column.name!r} ({kind}). Cast it before.")
        right = Cast(Constant(int(self.value)), SPARK_TYPES[kind]) if bits is not None else Constant(value)
        left = Ref(column.name) if column.type == kind else Cast(Ref(column.name), SPARK_TYPES[kind])
        return made(column.name, kind, operated(self.operator, left, right, kind))


def _kind(column: Column, operator: str, value: float) -> ColumnType:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "double" if not whole or operator.endswith("divide") else column.type


class Combine(Step):
    """Calculate with several columns, from left to right, into a new one."""

    do: Literal["combine"] = "combine"
    columns: Names
    operator: Literal["add", "subtract", "multiply", "divide", "modulus", "min", "max"]
    into: str

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        columns = [typed(schema, name, *NUMBERS) for name in self.columns]
        if len(columns) < 2:
            raise ConfigError(f"{self.operator} needs two columns or more, got {', '.join(self.columns)}.")
        kind = self._kind(columns)
        values = [
            Ref(column.name) if column.type == kind else Cast(Ref(column.name), SPARK_TYPES[kind]) for column in columns
        ]
        found: Expression = values[0]
        for value in values[1:]:
            found = operated(self.operator, found, value, kind)
        return (changed(schema, made(new_name(schema, self.into), kind, found)),)

    def _kind(self, columns: list[Column]) -> ColumnType:
        kinds = {column.type for column in columns}
        if "double" in kinds or self.operator == "divide":
            return "double"
        return "long" if "long" in kinds else "integer"


_SAME_KIND = ("abs", "negate")
_SIMPLE = {
    "exp": "exp", "expm1": "expm1", "log": "ln", "log10": "log10", "log2": "log2", "log1p": "log1p", "sqrt": "sqrt",
    "cbrt": "cbrt", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "sign": "sign", "degrees": "degrees", "radians": "radians",
}  # fmt: skip


class Function(Step):
    """Apply a function to columns, each in place.

    ``abs`` and ``negate`` keep the type, all others give double. ``log`` is the natural one; logarithms of numbers that
    have none are missing, ``sqrt`` of a negative number and ``acos`` of 2 are NaN. ``round`` rounds halves away from 0.
    """

    do: Literal["function"] = "function"
    columns: Names
    function: Literal[
        "abs", "negate", "ceil", "floor", "round", "exp", "expm1", "log", "log10", "log2", "log1p", "sqrt", "cbrt",
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sign", "degrees", "radians",
    ]  # fmt: skip
    digits: int = 0
    """Decimals that ``round`` leaves."""

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if self.digits and self.function != "round":
            raise ConfigError(f"digits are for round, not for {self.function}.")
        return (changed(schema, *(self._output(typed(schema, name, *NUMBERS)) for name in self.columns)),)

    def _output(self, column: Column) -> Output:
        value: Expression = Ref(column.name)
        if self.function in _SAME_KIND:
            # The negative of the least whole number is none: null instead of an error that ends the job.
            negative = call("try_subtract", Cast(Constant(0), SPARK_TYPES[column.type]), value)
            if column.type == "double":
                negative = call("negative", value)
            found = choice((call("<", value, 0), negative), otherwise=value) if self.function == "abs" else negative
            return made(column.name, column.type, found)
        value = value if column.type == "double" else Cast(value, "double")
        return made(column.name, "double", self._applied(value))

    def _applied(self, value: Expression) -> Expression:
        if self.function in _SIMPLE:
            return call(_SIMPLE[self.function], value)
        if self.function == "round":
            return call("round", value, self.digits)
        # Spark's give 64-bit whole numbers. A double of 2^52 or more is whole already, and so are they not: NaN, infinity.
        small = call("<", call("abs", value), float(1 << 52))
        return choice((small, Cast(call(self.function, value), "double")), otherwise=value)


__all__ = ["Combine", "Function", "Maths", "operated"]
