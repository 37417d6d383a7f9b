"""All steps by their names, and a step from its lines in a file."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from firesteel.documents import shortened
from firesteel.errors import ConfigError
from firesteel.specs import check_options, did_you_mean
from firesteel.tables.steps import (
    categories,
    columns,
    filters,
    grouping,
    maths,
    missing,
    normalize,
    sequences,
    strings,
    times,
    windows,
)
from firesteel.tables.steps.base import Step

FAMILIES: dict[str, tuple[type[Step], ...]] = {
    "columns": (
        columns.Select, columns.Drop, columns.Rename, columns.Reorder, columns.Duplicate, columns.AddConstant,
    ),
    "rows": (filters.KeepRows, filters.DropRows, filters.DropInvalid),
    "missing and wrong values": (
        missing.FillMissing, missing.ReplaceInvalid, missing.ReplaceWhere, missing.CopyWhere,
    ),
    "numbers": (
        maths.Maths, maths.Combine, maths.Function, normalize.Normalize, categories.Bucketize, categories.FirstDigit,
    ),
    "types and categories": (
        categories.CastTo, categories.StringToCategorical, categories.CategoricalToInteger,
        categories.IntegerToCategorical, categories.OneHot, categories.IntegerToOneHot, categories.FromOneHot,
    ),
    "texts": (
        strings.Strip, strings.RemoveWhitespace, strings.ChangeCase, strings.MapValues, strings.Replace, strings.Append,
        strings.Concatenate, strings.Length, strings.ListToSet,
    ),
    "times": (times.StringToTime, times.ShiftTime, times.TimeBetween, times.DeriveTime),
    "groups and windows": (grouping.Group, grouping.TimeWindow, windows.Moving, windows.SortedRank),
    "sequences": (
        sequences.ToSequence, sequences.TrimSequence, sequences.FitSequence, sequences.OffsetSequence,
        sequences.SplitSequence, sequences.FromSequence,
    ),
}  # fmt: skip
"""What a family is about -> its steps."""

STEPS: dict[str, type[Step]] = {
    kind.model_fields["do"].default: kind for family in FAMILIES.values() for kind in family
}
"""Name in files -> step."""


def step_of(value: Any) -> Step:
    """A step from its form in files: ``{"do": "drop", "columns": ["a"]}``.

    Raises:
        ConfigError: saying what is wrong.
    """
    if isinstance(value, Step):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("do"), str):
        raise ConfigError(f"a step looks like {{do: drop, columns: [a, b]}}, got {shortened(value)}.")
    kind = STEPS.get(value["do"])
    if kind is None:
        name = value["do"]
        raise ConfigError(
            f"there is no step {name!r}.{did_you_mean(name, STEPS)} All steps are in docs/transform-tables.md."
        )
    return _made(kind, {key: each for key, each in value.items() if key != "do"})


def step_from_call(name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Step:
    """A step from the arguments of a call: those without a name are the step's columns, or what it is about.

    Raises:
        ConfigError: saying what is wrong.
    """
    kind = STEPS[name]
    if not positional:
        return _made(kind, named)
    field = kind.positional
    if field is None:
        raise ConfigError(f"{name} takes arguments by name only: {', '.join(_fields(kind))}.")
    if field in named:
        raise ConfigError(f"{name}: {field} is given twice.")
    value: Any = positional[0] if len(positional) == 1 else positional
    return _made(kind, {field: value, **named})


def _made(kind: type[Step], fields: dict[str, Any]) -> Step:
    name = kind.model_fields["do"].default
    check_options(f"step {name}", fields, _fields(kind))
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(_message(kind, error)) from None


def _fields(kind: type[Step]) -> list[str]:
    return [field for field in kind.model_fields if field != "do"]


def _message(kind: type[Step], error: ValidationError) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{field} is missing; needed are {', '.join(name for name in _fields(kind) if kind.model_fields[name].is_required())}."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message if field in ("columns", "where") else f"{field}: {message}"
    where = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    if first["type"] == "literal_error":
        return f"{where} must be one of {first['ctx']['expected']}, got {shortened(first['input'])}."
    return f"{where}: {message[0].lower()}{message[1:]}, got {shortened(first['input'])}."


def _is_type_name(part: Any) -> bool:
    """Whether pydantic names a member of a union here, which is nothing to the user."""
    return part in ("int", "float", "str", "bool")


def required_and_optional(kind: type[Step]) -> tuple[list[str], list[str]]:
    """Names of the fields of a step that must be given, and of those that may."""
    fields = _fields(kind)
    required = [name for name in fields if kind.model_fields[name].is_required()]
    return required, [name for name in fields if name not in required]


__all__ = ["FAMILIES", "STEPS", "required_and_optional", "step_from_call", "step_of"]
