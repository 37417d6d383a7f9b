"""Steps between texts, categories, their numbers and one column for each."""

from __future__ import annotations

from typing import Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Constant, Expression, Ref, call, choice, null
from firesteel.tables.plans import Operation, Output, Project, changed, kept
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import Names, Step, made, new_name, typed
from firesteel.tables.values import converted


class CastTo(Step):
    """Make columns of another type, each in place; values that have no counterpart there become missing.

    Texts are read (of times: ISO 8601; see ``string_to_time`` for others). Times are seconds since 1970 as numbers, ISO 8601 in
    UTC as texts. Fractions are cut off where numbers become whole. Numbers other than 0 are true.
    """

    do: Literal["cast"] = "cast"
    columns: Names
    to: Literal["string", "integer", "long", "double", "time", "boolean", "bytes"]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (changed(schema, *(self._output(typed(schema, name)) for name in self.columns)),)

    def _output(self, column: Column) -> Output:
        return made(column.name, self.to, converted(column, self.to))


class StringToCategorical(Step):
    """Declare the values of texts; other texts become missing."""

    do: Literal["string_to_categorical"] = "string_to_categorical"
    columns: Names
    values: tuple[str, ...]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (
            changed(schema, *(self._output(typed(schema, name, "string", "categorical")) for name in self.columns)),
        )

    def _output(self, column: Column) -> Output:
        known = call("array_contains", Constant(list(self.values)), Ref(column.name))
        return categorical(column.name, self.values, choice((known, Ref(column.name)), otherwise=null("string")))


class CategoricalToInteger(Step):
    """The number of the category: 0 for the first one of the schema."""

    do: Literal["categorical_to_integer"] = "categorical_to_integer"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (changed(schema, *(self._output(_category(schema, name)) for name in self.columns)),)

    def _output(self, column: Column) -> Output:
        position = call("array_position", Constant(list(column.values)), Ref(column.name))
        index = call("-", Cast(call("nullif", position, 0), "int"), 1)
        bounds = {"min": 0, "max": len(column.values) - 1}
        return made(column.name, "integer", index, **bounds)


class IntegerToCategorical(Step):
    """The category of a number, 0 for the first one; other numbers become missing."""

    do: Literal["integer_to_categorical"] = "integer_to_categorical"
    columns: Names
    values: tuple[str, ...]

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        return (changed(schema, *(self._output(typed(schema, name, "integer", "long")) for name in self.columns)),)

    def _output(self, column: Column) -> Output:
        inside = call("and", call(">=", Ref(column.name), 0), call("<", Ref(column.name), len(self.values)))
        index = Cast(choice((inside, Ref(column.name)), otherwise=null("bigint")), "int")
        return categorical(column.name, self.values, call("get", Constant(list(self.values)), index))


class OneHot(Step):
    """A categorical column becomes one column of 0 and 1 for each value, named ``type[TOR]``; missing in, missing out."""

    do: Literal["one_hot"] = "one_hot"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        outputs: list[Output] = []
        for name in self.columns:
            _category(schema, name)
        for output in kept(schema):
            outputs += _hot(output.column) if output.column.name in self.columns else [output]
        return (Project(tuple(outputs)),)


def _hot(column: Column) -> list[Output]:
    return [
        made(f"{column.name}[{value}]", "integer", Cast(call("=", Ref(column.name), value), "int"), min=0, max=1)
        for value in column.values
    ]


class IntegerToOneHot(Step):
    """Whole numbers from ``min`` to ``max`` become one column of 0 and 1 each, named ``n[3]``; others are missing."""

    do: Literal["integer_to_one_hot"] = "integer_to_one_hot"
    columns: Names
    min: int
    max: int

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if not self.min <= self.max < self.min + 10_000:
            raise ConfigError(f"min must be at most max, and 10,000 columns the most, got {self.min} and {self.max}.")
        outputs: list[Output] = []
        for name in self.columns:
            typed(schema, name, "integer", "long")
        for output in kept(schema):
            outputs += self._hot(output.column) if output.column.name in self.columns else [output]
        return (Project(tuple(outputs)),)

    def _hot(self, column: Column) -> list[Output]:
        value = Ref(column.name)
        inside = call("and", call(">=", value, self.min), call("<=", value, self.max))
        return [
            made(
                f"{column.name}[{each}]", "integer",
                choice((inside, Cast(call("=", value, each), "int")), otherwise=null("int")), min=0, max=1,
            )
            for each in range(self.min, self.max + 1)
        ]  # fmt: skip


class FromOneHot(Step):
    """One-hot columns become one categorical column, in the place of the first.

    A row with no 1, or more than one, becomes missing.

    Attributes:
        columns: integer, long, double or boolean.
        into: name of the new column.
        values: one a column; None takes what stands in brackets in the columns' names, or else the names.
    """

    do: Literal["from_one_hot"] = "from_one_hot"
    columns: Names
    into: str
    values: tuple[str, ...] | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        values = self.values or tuple(_bracketed(name) for name in self.columns)
        if len(values) != len(self.columns):
            raise ConfigError(f"{len(self.columns)} columns need as many values, got {len(values)}.")
        if self.into not in self.columns:
            new_name(schema, self.into)
        hot = [self._is_hot(typed(schema, name, "integer", "long", "double", "boolean")) for name in self.columns]
        number: Expression = Constant(0)
        for each in hot:
            number = call("+", number, Cast(each, "int"))
        found = choice(*zip(hot, values), otherwise=null("string"))
        output = categorical(self.into, values, choice((call("=", number, 1), found), otherwise=null("string")))
        outputs = [
            output if each.column.name == self.columns[0] else each for each in kept(schema, but=self.columns[1:])
        ]
        return (Project(tuple(outputs)),)

    def _is_hot(self, column: Column) -> Expression:
        value = Ref(column.name)
        return value if column.type == "boolean" else call("=", value, 1)


def _bracketed(name: str) -> str:
    _, bracket, inside = name.rpartition("[")
    return inside.removesuffix("]") if bracket and name.endswith("]") else name


class Bucketize(Step):
    """Numbers become the number of the interval that they lie in, or its label.

    ``edges: [0, 10]`` makes three intervals: below 0 (number 0), from 0 up to but without 10 (1), and 10 or more (2). NaN and
    missing become missing.
    """

    do: Literal["bucketize"] = "bucketize"
    columns: Names
    edges: tuple[float, ...]
    labels: tuple[str, ...] | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if not self.edges or any(not low < high for low, high in zip(self.edges, self.edges[1:])):
            raise ConfigError(f"edges must be numbers that rise, got {list(self.edges)}.")
        if self.labels is not None and len(self.labels) != len(self.edges) + 1:
            raise ConfigError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} intervals, got {len(self.labels)} labels."
            )
        columns = [typed(schema, name, "integer", "long", "double") for name in self.columns]
        return (changed(schema, *(self._output(column) for column in columns)),)

    def _output(self, column: Column) -> Output:
        value = Ref(column.name)
        names: list[str | int] = list(self.labels or range(len(self.edges) + 1))
        nothing = call("or", call("isnull", value), call("isnan", Cast(value, "double")))
        below = [(call("<", value, edge), name) for edge, name in zip(self.edges, names)]
        missing = null("string" if self.labels else "int")
        found = choice((nothing, missing), *below, otherwise=names[-1])
        if self.labels:
            return categorical(column.name, self.labels, found)
        return made(column.name, "integer", found, min=0, max=len(self.edges))


class FirstDigit(Step):
    """The first digit of numbers that is not 0, from 1 to 9: what Benford's law is about. Of 0 and NaN missing."""

    do: Literal["first_digit"] = "first_digit"
    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        outputs = []
        for name in self.columns:
            typed(schema, name, "integer", "long", "double")
            digit = call("regexp_extract", Cast(Ref(name), "string"), "[1-9]", 0)
            outputs.append(made(name, "integer", Cast(digit, "int"), min=1, max=9))
        return (changed(schema, *outputs),)


def categorical(name: str, values: tuple[str, ...], value: Expression) -> Output:
    """A computed categorical column.

    Raises:
        ConfigError: if the values are empty or not all different.
    """
    return Output(Schema().categorical(name, values)[name], value)


def _category(schema: Schema, name: str) -> Column:
    advice = f"Declare its values first, as in {{do: string_to_categorical, columns: [{name}], values: [A, B]}}."
    return typed(schema, name, "categorical", advice=advice)


__all__ = [
    "Bucketize",
    "CastTo",
    "CategoricalToInteger",
    "FirstDigit",
    "FromOneHot",
    "IntegerToCategorical",
    "IntegerToOneHot",
    "OneHot",
    "StringToCategorical",
    "categorical",
]
