"""What the columns of a table hold: names in order, types, and which values are valid.

::

    Schema().string("county").categorical("type", ["TOR", "WIND", "HAIL"]).double("lat", min=-90, max=90)
    Schema.parse("county string, type categorical(TOR|WIND|HAIL), lat double")
    Schema.parse("storms.yaml")

    # storms.yaml
    county: string
    type: {type: categorical, values: [TOR, WIND, HAIL]}
    lat: {type: double, min: -90, max: 90}

A value is *missing* if the field is empty or null, *invalid* if it is not of the column's type or not allowed by the
column's bounds, else *valid*. Immutable; the methods that add columns return a new schema.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator

from firesteel.documents import dump_yaml, read_document, shortened
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.storage import Place

ColumnType = Literal["string", "integer", "long", "double", "categorical", "time", "boolean", "bytes"]
"""integer has 32 bits, long 64; time is an instant, to the microsecond; categorical is one of a list of texts."""

TYPES: tuple[str, ...] = get_args(ColumnType)

_BOUNDS = {
    "min": ("integer", "long", "double"), "max": ("integer", "long", "double"), "nan": ("double",), "infinite": ("double",),
    "pattern": ("string",), "values": ("categorical",), "format": ("time",), "timezone": ("time",),
}  # fmt: skip
"""Fields of a column -> the types that have them."""


class Column(BaseModel):
    """One column.

    Attributes:
        name: of the column.
        type: see :data:`ColumnType`.
        min, max: smallest and largest valid number.
        nan: whether NaN is valid. infinite: whether infinity is.
        pattern: regular expression that the whole of a valid text matches.
        values: of a categorical column; the position is its number.
        format: of times as text, in Spark's datetime patterns (``yyyyMMdd-HHmm``); None is ISO 8601.
        timezone: of times that name none.
        sequence: whether each value is a list of values of the type, in order. In texts and files: ``double[]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: ColumnType
    min: float | None = None
    max: float | None = None
    nan: bool = False
    infinite: bool = False
    pattern: str | None = None
    values: tuple[str, ...] = ()
    format: str | None = None
    timezone: str = "UTC"
    sequence: bool = False

    @model_validator(mode="after")
    def _check(self) -> Column:
        if not self.name.strip() or self.name != self.name.strip():
            raise ValueError(f"a column needs a name without blanks around it, got {self.name!r}")
        for field in self.model_fields_set - {"name", "type", "sequence"}:
            types = _BOUNDS[field]
            if self.type not in types and getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(f"column {self.name}: {field} is for {' and '.join(types)}, not for {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"column {self.name}: min must be at most max, got {self.min:g} and {self.max:g}")
        if self.type == "categorical":
            if not self.values:
                raise ValueError(f"column {self.name}: a categorical column needs its values")
            twice = [value for value in self.values if self.values.count(value) > 1]
            if twice or "" in self.values:
                raise ValueError(f"column {self.name}: values must differ and not be empty, got {twice[:1] or ['']}")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"column {self.name}: pattern {self.pattern!r}: {error}") from None
        return self

    @property
    def is_numeric(self) -> bool:
        """Whether each value is a number."""
        return self.type in ("integer", "long", "double") and not self.sequence

    def __str__(self) -> str:
        """As in the text form of a schema."""
        name = self.name if re.fullmatch(r"\w+", self.name) else f"`{self.name.replace('`', '``')}`"
        kind = self.type + "[]" * self.sequence
        if self.type == "categorical":
            return f"{name} {kind}({'|'.join(self.values)})"
        return f"{name} {kind}({self.format})" if self.format else f"{name} {kind}"


class Schema(BaseModel):
    """The columns of a table, in order.

    Attributes:
        columns: at most one of a name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """Take the form of files, too: a mapping from names to types."""
        if not isinstance(value, dict) or isinstance(value.get("columns"), tuple):
            return value
        return {"columns": tuple(_column_of(name, each) for name, each in value.items())}

    @model_validator(mode="after")
    def _check(self) -> Schema:
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise ValueError(f"column {name!r} is there twice")
            seen.add(name)
        return self

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return self.to_mapping()

    # -- building ----------------------------------------------------------------------------------------------------

    def string(self, *names: str, pattern: str | None = None) -> Schema:
        """With columns of texts."""
        return self._with(names, type="string", pattern=pattern)

    def integer(self, *names: str, min: float | None = None, max: float | None = None) -> Schema:
        """With columns of whole numbers of 32 bits."""
        return self._with(names, type="integer", min=min, max=max)

    def long(self, *names: str, min: float | None = None, max: float | None = None) -> Schema:
        """With columns of whole numbers of 64 bits."""
        return self._with(names, type="long", min=min, max=max)

    def double(
        self, *names: str, min: float | None = None, max: float | None = None, nan: bool = False, infinite: bool = False
    ) -> Schema:
        """With columns of floating numbers of 64 bits."""
        return self._with(names, type="double", min=min, max=max, nan=nan, infinite=infinite)

    def categorical(self, name: str, values: Sequence[str]) -> Schema:
        """With a column that holds one of some texts."""
        return self._with((name,), type="categorical", values=tuple(values))

    def time(self, *names: str, format: str | None = None, timezone: str = "UTC") -> Schema:
        """With columns of instants."""
        return self._with(names, type="time", format=format, timezone=timezone)

    def boolean(self, *names: str) -> Schema:
        """With columns of truth values."""
        return self._with(names, type="boolean")

    def bytes(self, *names: str) -> Schema:
        """With columns of bytes."""
        return self._with(names, type="bytes")

    def _with(self, names: Sequence[str], **fields: Any) -> Schema:
        try:
            return Schema(columns=(*self.columns, *(Column(name=name, **fields) for name in names)))
        except ValidationError as error:
            raise ConfigError(_first_of(error)) from None

    @classmethod
    def from_columns(cls, columns: Iterable[Column]) -> Schema:
        """Of columns, in order.

        Raises:
            ConfigError: if two have one name.
        """
        try:
            return cls(columns=tuple(columns))
        except ValidationError as error:
            raise ConfigError(_first_of(error)) from None

    # -- reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str | os.PathLike[str] | Schema) -> Schema:
        """Read ``NAME TYPE, NAME TYPE(...), ...``, or a ``.yaml`` or ``.json`` file.

        In parentheses: the values of a categorical column, between ``|``; the format of times. A name with blanks stands
        in backquotes.

        Raises:
            ConfigError: saying what is wrong.
        """
        if isinstance(text, Schema):
            return text
        if not isinstance(text, str) or re.fullmatch(r"\S+\.(yaml|yml|json)", text.strip(), re.IGNORECASE):
            place = Place.of(text)
            try:
                return cls.of(read_document(place, "a schema file", example="lat: double"))
            except ConfigError as error:
                raise ConfigError(str(error) if str(place) in str(error) else f"{place}: {error}") from None
        columns: dict[str, Any] = {}
        for part in _PART.split(text.strip().rstrip(",")):
            found = _COLUMN.fullmatch(part.strip())
            if found is None:
                raise ConfigError(f"expected NAME TYPE, as in 'lat double, type categorical(TOR|HAIL)', got {part!r}.")
            name, kind, inside = found["plain"] or found["quoted"].replace("``", "`"), found["type"], found["inside"]
            if name in columns:
                raise ConfigError(f"column {name!r} is there twice")
            columns[name] = {"type": kind}
            if inside is not None:
                columns[name] |= {"values": inside.split("|")} if kind.startswith("categorical") else {"format": inside}
        return cls.of(columns)

    @classmethod
    def of(cls, columns: dict[str, Any]) -> Schema:
        """From the form of files: ``{"lat": "double", "type": {"type": "categorical", "values": ["TOR", "HAIL"]}}``.

        Raises:
            ConfigError: saying what is wrong.
        """
        if not columns:
            raise ConfigError("a schema needs at least one column, as in 'lat double'.")
        try:
            return cls(columns=tuple(_column_of(name, each) for name, each in columns.items()))
        except ValidationError as error:
            raise ConfigError(_first_of(error)) from None

    def to_mapping(self) -> dict[str, Any]:
        """What :meth:`of` reads: JSON values."""
        return {column.name: _short_form(column) for column in self.columns}

    def to_yaml(self) -> str:
        """What :meth:`parse` reads from a file."""
        return dump_yaml(self.to_mapping())

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))

    # -- asking ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Column:
        """One column.

        Raises:
            ConfigError: if there is none of that name; it says which there are.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(
            f"there is no column {name!r}. There are {_some(self.names)}.{did_you_mean(name, self.names)}"
        )

    def each(self) -> Iterator[Column]:
        """The columns in order."""
        return iter(self.columns)


_PART = re.compile(r",(?![^(]*\))(?=(?:[^`]*`[^`]*`)*[^`]*$)")
"""Commas outside of parentheses and backquotes."""

_COLUMN = re.compile(
    r"(?:(?P<plain>[^\s`]+)|`(?P<quoted>(?:[^`]|``)+)`)\s+(?P<type>\w+(?:\[\])?)(?:\((?P<inside>.*)\))?", re.DOTALL
)


def _column_of(name: str, value: Any) -> Column:
    """From the form of files.

    Raises:
        ConfigError: saying what is wrong.
    """
    fields = {"type": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise ConfigError(
            f"column {name}: expected a type, as in 'double' or {{type: double, min: 0}}, got {shortened(value)}."
        )
    kind = fields["type"].removesuffix("[]")
    if kind not in TYPES:
        raise ConfigError(
            f"column {name}: type must be one of {', '.join(TYPES)}, got {kind!r}.{did_you_mean(kind, TYPES)}"
        )
    unknown = next((key for key in fields if key not in _BOUNDS and key != "type"), None)
    if unknown is not None:
        have = [key for key, types in _BOUNDS.items() if kind in types]
        raise ConfigError(
            f"column {name}: a {kind} column has no {unknown!r}. It has: {', '.join(have) or 'none'}."
            f"{did_you_mean(unknown, have)}"
        )
    try:
        return Column(name=name, **(fields | {"type": kind}), sequence=kind != fields["type"])
    except ValidationError as error:
        raise ConfigError(_first_of(error)) from None


def _short_form(column: Column) -> Any:
    fields = column.model_dump(mode="json", exclude={"name", "sequence"}, exclude_defaults=True)
    fields["type"] += "[]" * column.sequence
    return fields["type"] if len(fields) == 1 else fields


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("columns",))
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where and first["type"] != "value_error" else message


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])}, ... ({len(names)})"


__all__ = ["TYPES", "Column", "ColumnType", "Schema"]
