"""Steps on texts, also of categorical columns, which hold plain texts afterwards. Missing in, missing out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Constant, Expression, Ref, call, choice
from firesteel.tables.plans import Operation, Output, Project, changed, kept
from firesteel.tables.schema import Schema
from firesteel.tables.steps.base import TEXTS, Names, Step, check_pattern, made, new_name, typed
from firesteel.tables.values import converted


class TextStep(Step):
    """A step that changes texts, each column in place; the columns hold texts afterwards."""

    columns: Names

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        self.check()
        outputs = []
        for name in self.columns:
            typed(schema, name, *TEXTS)
            outputs.append(made(name, "string", self.new_text(Ref(name))))
        return (changed(schema, *outputs),)

    def check(self) -> None:
        """Raise ConfigError if the step's own options are wrong."""

    @abstractmethod
    def new_text(self, text: Expression) -> Expression:
        """The new text."""


class Strip(TextStep):
    """Remove blanks and other white space at both ends."""

    do: Literal["strip"] = "strip"

    def new_text(self, text: Expression) -> Expression:
        return call("regexp_replace", text, r"(?U)^\s+|\s+\z", "")


class RemoveWhitespace(TextStep):
    """Remove all white space."""

    do: Literal["remove_whitespace"] = "remove_whitespace"

    def new_text(self, text: Expression) -> Expression:
        return call("regexp_replace", text, r"(?U)\s+", "")


class ChangeCase(TextStep):
    """Make texts ``lower`` or ``upper`` case."""

    do: Literal["change_case"] = "change_case"
    to: Literal["lower", "upper"]

    def new_text(self, text: Expression) -> Expression:
        return call(self.to, text)


class MapValues(TextStep):
    """Replace whole texts; those not in ``values`` stay, or become ``otherwise`` if that is given."""

    do: Literal["map_values"] = "map_values"
    values: dict[str, str]
    otherwise: str | None = None

    def check(self) -> None:
        if not self.values:
            raise ConfigError("values must map at least one text, as in values: {UNK: unknown}.")

    def new_text(self, text: Expression) -> Expression:
        # Missing texts are equal to none; `otherwise` must not make something of them.
        rest: Expression = text if self.otherwise is None else call("if", call("isnull", text), text, self.otherwise)
        return choice(*((call("=", text, old), new) for old, new in self.values.items()), otherwise=rest)


class Replace(TextStep):
    """Replace what regular expressions match, one after the other.

    Patterns are Java's; they must be sound in Python as well. ``$1`` in a replacement is the first group.
    """

    do: Literal["replace"] = "replace"
    patterns: dict[str, str]

    def check(self) -> None:
        if not self.patterns:
            raise ConfigError("patterns must map at least one regular expression, as in patterns: {'[0-9]+': '#'}.")
        for pattern, replacement in self.patterns.items():
            check_pattern(pattern, replacement)

    def new_text(self, text: Expression) -> Expression:
        for pattern, replacement in self.patterns.items():
            text = call("regexp_replace", text, pattern, replacement)
        return text


class Append(TextStep):
    """Put a text behind (``text``) or before (``before``)."""

    do: Literal["append"] = "append"
    text: str = ""
    before: str = ""

    def check(self) -> None:
        if not (self.text or self.before):
            raise ConfigError("give text (it stands behind) or before.")

    def new_text(self, text: Expression) -> Expression:
        return call("concat", self.before, text, self.text)


class Concatenate(Step):
    """Join the texts of columns in a new one; a row where one is missing becomes missing. Other types become texts."""

    do: Literal["concatenate"] = "concatenate"
    columns: Names
    into: str
    separator: str = ""

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        parts: list[Expression] = []
        for name in self.columns:
            parts += [Constant(self.separator), converted(typed(schema, name), "string")]
        return (changed(schema, made(new_name(schema, self.into), "string", call("concat", *parts[1:]))),)


class Length(Step):
    """How many characters a text has, or bytes a binary value; in place, or into a new column."""

    do: Literal["length"] = "length"
    columns: Names
    into: str | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if self.into is not None and len(self.columns) > 1:
            raise ConfigError(f"into is for one column, got {', '.join(self.columns)}.")
        if self.into is not None:
            new_name(schema, self.into)
        outputs = []
        for name in self.columns:
            typed(schema, name, *TEXTS, "bytes")
            outputs.append(made(self.into or name, "integer", call("length", Ref(name)), min=0))
        return (changed(schema, *outputs),)


class ListToSet(Step):
    """A text that lists values (``a,c``) becomes one boolean column for each value, named ``tags[a]``, or counts.

    Attributes:
        columns: texts.
        values: that are looked for; others are overlooked.
        delimiter: between the values; blanks around them do not matter.
        count: how often each is there, instead of whether.
    """

    do: Literal["list_to_set"] = "list_to_set"
    columns: Names
    values: tuple[str, ...]
    delimiter: str = ","
    count: bool = False

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if not self.delimiter or not self.values or len(set(self.values)) < len(self.values):
            raise ConfigError("list_to_set needs a delimiter and values that differ.")
        outputs: list[Output] = []
        for name in self.columns:
            typed(schema, name, *TEXTS)
        for output in kept(schema):
            outputs += self._outputs(output.column.name) if output.column.name in self.columns else [output]
        return (Project(tuple(outputs)),)

    def _outputs(self, name: str) -> list[Output]:
        quoted = "".join(rf"\{sign}" if not sign.isalnum() and sign.isascii() else sign for sign in self.delimiter)
        listed = call("split", call("trim", Ref(name)), rf"\s*{quoted}\s*")
        if not self.count:
            return [made(f"{name}[{each}]", "boolean", call("array_contains", listed, each)) for each in self.values]
        outputs = []
        for each in self.values:
            rest = call("size", call("array_remove", listed, each))
            number = call(
                "if", call("isnull", Ref(name)), Cast(Constant(None), "int"), call("-", call("size", listed), rest)
            )
            outputs.append(made(f"{name}[{each}]", "integer", number, min=0))
        return outputs


__all__ = [
    "Append",
    "ChangeCase",
    "Concatenate",
    "Length",
    "ListToSet",
    "MapValues",
    "RemoveWhitespace",
    "Replace",
    "Strip",
]
