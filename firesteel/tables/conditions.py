"""Conditions on the values of a row: what filters and replacements ask.

::

    column("lat").between(30, 40) & ~column("type").is_in("WIND", "HAIL")

    where: {all: [{column: lat, at_least: 30}, {not: {column: type, in: [WIND, HAIL]}}]}

A condition is true or false, never unknown: a comparison with a value that is missing or NaN is false, also
``not_equal`` and ``not_in``; ``not`` turns it round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import reduce
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from firesteel.documents import shortened
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.tables.expressions import Cast, Constant, Expression, Ref, call, every, some
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import TEXTS, check_pattern, typed
from firesteel.tables.values import constant, is_missing, is_valid, number

_COMPARISONS = {
    "less": "<", "at_most": "<=", "greater": ">", "at_least": ">=", "equal": "=", "not_equal": "=",
}  # fmt: skip
_STATES = ("missing", "invalid", "valid", "nan", "infinite")
TESTS: tuple[str, ...] = (*_COMPARISONS, "in", "not_in", "matches", "is")
"""What can be asked of a column."""


class Condition(BaseModel, ABC):
    """Base of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def expression(self, schema: Schema) -> Expression:
        """Whether it holds for a row of that schema: true or false.

        Raises:
            ConfigError: if it does not fit the schema.
        """

    @abstractmethod
    def to_mapping(self) -> dict[str, Any]:
        """Its form in files: JSON values."""

    def __and__(self, other: Condition) -> Condition:
        return All(conditions=(self, other))

    def __or__(self, other: Condition) -> Condition:
        return Some(conditions=(self, other))

    def __xor__(self, other: Condition) -> Condition:
        return Xor(conditions=(self, other))

    def __invert__(self) -> Condition:
        return Not(condition=self)


class Test(Condition):
    """One question to one column.

    Attributes:
        column: that is asked.
        test: one of :data:`TESTS`.
        value: a constant; for comparisons also ``{"column": NAME}``; for ``in`` a list; for ``matches`` a regular
            expression that is found somewhere in the text; for ``is`` missing, invalid, valid, nan or infinite.
    """

    __test__ = False  # no test of pytest

    column: str
    test: str
    value: Any

    def expression(self, schema: Schema) -> Expression:
        column = schema[self.column]
        if self.test == "is":
            return self._state(column)
        typed(schema, self.column)
        if self.test == "matches":
            typed(schema, self.column, *TEXTS)
            check_pattern(self.value)
            return call("coalesce", call("rlike", Ref(self.column), self.value), False)
        found = self._membership(column) if self.test in ("in", "not_in") else self._comparison(schema, column)
        if self.test in ("not_equal", "not_in"):
            found = call("not", found)
        found = every(found, *(_not_nan(schema[name]) for name in self._names(schema)))
        return call("coalesce", found, False)

    def _names(self, schema: Schema) -> list[str]:
        other = [self.value["column"]] if isinstance(self.value, dict) else []
        return [name for name in (self.column, *other) if schema[name].type == "double"]

    def _state(self, column: Column) -> Expression:
        if self.value == "missing":
            return is_missing(column)
        if self.value in ("valid", "invalid"):
            valid = is_valid(column)
            return valid if self.value == "valid" else call("not", some(is_missing(column), valid))
        if column.type != "double" or column.sequence:
            raise ConfigError(f"column {column.name!r} is {column.type}; only double values can be {self.value}.")
        value = Ref(column.name)
        found = call("isnan", value) if self.value == "nan" else call("=", call("abs", value), float("inf"))
        return call("coalesce", found, False)

    def _membership(self, column: Column) -> Expression:
        return call("in", Ref(self.column), *(_constant(column, each) for each in self.value))

    def _comparison(self, schema: Schema, column: Column) -> Expression:
        ordered = self.test not in ("equal", "not_equal")
        if ordered and column.type in ("boolean", "bytes", "categorical"):
            raise ConfigError(f"column {self.column!r} is {column.type}, whose values have no order for {self.test!r}.")
        if isinstance(self.value, dict):
            other = typed(schema, self.value["column"])
            if not _comparable(column, other):
                raise ConfigError(
                    f"column {self.column!r} is {column.type} and column {other.name!r} is {other.type}:"
                    " they cannot be compared. Cast one of them before."
                )
            return call(_COMPARISONS[self.test], Ref(self.column), Ref(other.name))
        return call(_COMPARISONS[self.test], Ref(self.column), _constant(column, self.value))

    def to_mapping(self) -> dict[str, Any]:
        return {"column": self.column, self.test: list(self.value) if self.test in ("in", "not_in") else self.value}


class All(Condition):
    """All of some conditions hold."""

    conditions: tuple[Condition, ...]

    def expression(self, schema: Schema) -> Expression:
        return every(*(each.expression(schema) for each in self.conditions))

    def to_mapping(self) -> dict[str, Any]:
        return {"all": [each.to_mapping() for each in self.conditions]}


class Some(Condition):
    """At least one of some conditions holds."""

    conditions: tuple[Condition, ...]

    def expression(self, schema: Schema) -> Expression:
        return some(*(each.expression(schema) for each in self.conditions))

    def to_mapping(self) -> dict[str, Any]:
        return {"any": [each.to_mapping() for each in self.conditions]}


class Xor(Condition):
    """An odd number of conditions hold: of two, exactly one."""

    conditions: tuple[Condition, ...]

    def expression(self, schema: Schema) -> Expression:
        parts = [each.expression(schema) for each in self.conditions]
        return reduce(lambda one, other: call("not", call("=", one, other)), parts)

    def to_mapping(self) -> dict[str, Any]:
        return {"xor": [each.to_mapping() for each in self.conditions]}


class Not(Condition):
    """A condition does not hold."""

    condition: Condition

    def expression(self, schema: Schema) -> Expression:
        return call("not", self.condition.expression(schema))

    def to_mapping(self) -> dict[str, Any]:
        return {"not": self.condition.to_mapping()}


_GROUPS: dict[str, type[All] | type[Some] | type[Xor]] = {"all": All, "any": Some, "xor": Xor}


def condition_of(value: Any) -> Condition:
    """A condition from its form in files.

    Raises:
        ConfigError: saying what is wrong.
    """
    if isinstance(value, Condition):
        return value
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"a condition looks like {{column: lat, less: 40}}, got {shortened(value)}.")
    if "column" in value:
        return _test_of(value)
    key = next(iter(value), "")
    if len(value) != 1 or key not in (*_GROUPS, "not"):
        raise ConfigError(
            f"a condition has a column and a test, or one of all, any, xor and not, got {shortened(value)}."
        )
    if key == "not":
        return Not(condition=condition_of(value[key]))
    if not isinstance(value[key], list | tuple) or len(value[key]) == 0:
        raise ConfigError(f"{key!r} needs a list of conditions, got {shortened(value[key])}.")
    return _GROUPS[key](conditions=tuple(condition_of(each) for each in value[key]))


def _test_of(value: dict[str, Any]) -> Test:
    names = [key for key in value if key != "column"]
    if len(names) != 1 or names[0] not in TESTS or not isinstance(value["column"], str):
        near = did_you_mean(names[0], TESTS) if names else ""
        raise ConfigError(f"a condition on a column has one of {', '.join(TESTS)}, got {shortened(value)}.{near}")
    test, argument = names[0], value[names[0]]
    if test in ("in", "not_in"):
        if not isinstance(argument, list | tuple) or not argument:
            raise ConfigError(f"{test!r} needs a list of values, got {shortened(argument)}.")
        argument = tuple(argument)
    elif test == "is" and argument not in _STATES:
        raise ConfigError(f"'is' must be one of {', '.join(_STATES)}, got {shortened(argument)}.")
    elif test == "matches" and not isinstance(argument, str):
        raise ConfigError(f"'matches' needs a regular expression, got {shortened(argument)}.")
    elif isinstance(argument, dict):
        other = argument.get("column")
        if test not in _COMPARISONS or len(argument) != 1 or not isinstance(other, str):
            raise ConfigError(f"{test!r} compares with a value or with {{column: NAME}}, got {shortened(argument)}.")
    try:
        return Test(column=value["column"], test=test, value=argument)
    except ValidationError as error:
        raise ConfigError(str(error.errors()[0]["msg"])) from None


def _constant(column: Column, value: Any) -> Expression:
    """Numbers are compared as numbers: a column of whole ones has values below 2.5."""
    if value is None:
        raise ConfigError(f"column {column.name!r} cannot be compared with null; ask {{column: ..., is: missing}}.")
    if column.is_numeric and not (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63):
        return Constant(number(value, f"what column {column.name!r} is compared with"))
    if column.type in ("integer", "long"):
        return Cast(Constant(value), "bigint")
    return constant(column, value)


def _not_nan(column: Column) -> Expression:
    return call("not", call("isnan", Ref(column.name)))


def _comparable(one: Column, other: Column) -> bool:
    both_texts = one.type in TEXTS and other.type in TEXTS
    return one.type == other.type or both_texts or (one.is_numeric and other.is_numeric)


class column:  # noqa: N801  # it reads as a function: column("lat") < 40
    """Asks a column in Python: ``column("lat") < 40``, ``column("type") == "TOR"``, ``column("type").is_in("A", "B")``."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str):
        self._name = name

    def _test(self, test: str, value: Any) -> Test:
        return _test_of({"column": self._name, test: {"column": value._name} if isinstance(value, column) else value})

    def __lt__(self, value: Any) -> Condition:
        return self._test("less", value)

    def __le__(self, value: Any) -> Condition:
        return self._test("at_most", value)

    def __gt__(self, value: Any) -> Condition:
        return self._test("greater", value)

    def __ge__(self, value: Any) -> Condition:
        return self._test("at_least", value)

    def __eq__(self, value: Any) -> Condition:  # type: ignore[override]
        return self._test("equal", value)

    def __ne__(self, value: Any) -> Condition:  # type: ignore[override]
        return self._test("not_equal", value)

    def between(self, low: Any, high: Any) -> Condition:
        """At least ``low`` and at most ``high``."""
        return (self >= low) & (self <= high)

    def is_in(self, *values: Any) -> Condition:
        """One of some values."""
        return self._test("in", values)

    def is_not_in(self, *values: Any) -> Condition:
        """There, and none of some values."""
        return self._test("not_in", values)

    def matches(self, pattern: str) -> Condition:
        """A regular expression is found in the text."""
        return self._test("matches", pattern)

    def is_(self, state: str) -> Condition:
        """missing, invalid, valid, nan or infinite."""
        return self._test("is", state)


AnyCondition = Annotated[
    Condition, BeforeValidator(condition_of), PlainSerializer(lambda condition: condition.to_mapping())
]
"""For the fields of steps: takes and gives the form of files."""


__all__ = ["TESTS", "All", "AnyCondition", "Condition", "Not", "Some", "Test", "Xor", "column", "condition_of"]
