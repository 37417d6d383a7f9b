"""What a user may say of a table: how it is read, what its columns are, and how they become a vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from firesteel.errors import ConfigError
from firesteel.specs import check_options, did_you_mean
from firesteel.tables.dialect import Dialect, RecordFormat
from firesteel.tables.encoding import ColumnEncoding, How
from firesteel.tables.schema import Column, Schema
from firesteel.tables.times import check_time

READING = ("header", "delimiter", "quote", "escape", "multiline", "charset", "null_values")
"""Options that say how the text of a table is read."""

_READING_OF = {"csv": READING, "tsv": READING, "json": ("multiline", "charset", "null_values")}
"""Those that a format has; texts that mean a missing value occur in all others, too."""

_HOW: dict[str, tuple[How, ...]] = {
    "string": ("onehot", "index"), "categorical": ("onehot", "index"), "integer": ("number",), "long": ("number",),
    "double": ("number",), "boolean": ("number",), "time": ("seconds", "parts", "cyclic"),
}  # fmt: skip
"""Type of a column -> how it can become places of the vector; the first is the default."""


class TableOptions(BaseModel):
    """What a user may say of a table.

    Attributes:
        columns: names, types and valid values of the columns; None finds the types out by reading all rows.
        header: whether CSV files begin with the names of their columns; without them the schema names them in order.
        delimiter: of CSV; None is a comma, and a tab for ``.tsv``.
        quote, escape, multiline, charset, null_values: see :class:`Dialect`.
        features: columns that the network sees; empty is all that have no other role.
        label: the class.
        id: names a row; without it a row is named by the hash of its features.
        group: rows of one group never lie in two splits.
        split_column: names the split of a row; without it rows are split at random.
        encode: column -> how; see :mod:`firesteel.tables.encoding`.
        learn_categories: strings become categories: this many of the most frequent of the training split, and one for all
            others. None refuses strings.
        missing: what a missing feature gives: ``quarantine`` (the row cannot be used), ``mean`` of the training split,
            a number, or ``category`` (a place of its own). By column, and under the empty name for all others; there
            ``mean`` and numbers are for numbers, and categories take a place of their own.
        process: the mapping of a transform process that is applied between reading and encoding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Schema | None = None
    header: bool = True
    delimiter: str | None = None
    quote: str = '"'
    escape: str = '"'
    multiline: bool = False
    charset: str = "utf-8"
    null_values: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    label: str | None = None
    id: str | None = None
    group: str | None = None
    split_column: str | None = None
    encode: dict[str, How] = Field(default_factory=dict)
    learn_categories: int | None = Field(default=None, ge=1, le=10_000)
    missing: dict[str, str | float] = Field(default_factory=dict)
    process: dict[str, Any] | None = None

    @field_validator("columns", mode="before")
    @classmethod
    def _read_schema(cls, value: Any) -> Any:
        return Schema.parse(value) if isinstance(value, str) else value

    @field_validator("delimiter", "quote", "escape", "charset")
    @classmethod
    def _check_dialect(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        try:
            return getattr(Dialect.model_validate({info.field_name: value}), str(info.field_name))
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    @field_validator("features", "null_values", mode="before")
    @classmethod
    def _read_names(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("encode", mode="before")
    @classmethod
    def _read_encode(cls, value: Any) -> Any:
        return _pairs("encode", value, required=True)

    @field_validator("missing", mode="before")
    @classmethod
    def _read_missing(cls, value: Any) -> Any:
        return _pairs("missing", [value] if isinstance(value, str | int | float) else value, required=False)

    @field_validator("missing")
    @classmethod
    def _check_missing(cls, value: dict[str, str | float]) -> dict[str, str | float]:
        return {name: _missing(how) for name, how in value.items()}

    @classmethod
    def reading(cls, given: Mapping[str, Any], kind: str, schema: Schema | None = None) -> TableOptions:
        """Of those that say how a table is read, and no more.

        Args:
            given: header, delimiter, quote, escape, multiline, charset, null_values, or some of them.
            kind: of the table, see :func:`check_reading`.
            schema: the columns.

        Raises:
            ConfigError: for one that is wrong, another, or one that such a table does not have.
        """
        from firesteel.training.job import checked

        check_options("reading a table", given, READING)
        check_reading(given, kind)
        options: TableOptions = checked(cls, {**given, "columns": schema})
        return options

    @property
    def roles(self) -> dict[str, str]:
        """Role -> column, of the columns that are no features."""
        roles = {"label": self.label, "id": self.id, "group": self.group, "split": self.split_column}
        return {role: name for role, name in roles.items() if name is not None}

    def dialect(self, format: RecordFormat, delimiter: str = ",") -> Dialect:
        """How text of a format is read; the delimiter is what such files have unless the user says another."""
        return Dialect(
            format=format, header=self.header, delimiter=self.delimiter or delimiter, quote=self.quote,
            escape=self.escape, multiline=self.multiline, charset=self.charset, null_values=self.null_values,
        )  # fmt: skip

    def feature_names(self, schema: Schema) -> tuple[str, ...]:
        """Columns that the network sees.

        Raises:
            ConfigError: if a column is not there, has two roles, or none is left.
        """
        for role, name in self.roles.items():
            _check_column(name, role, schema)
        for name in (*self.features, *self.encode, *(name for name in self.missing if name)):
            _check_column(name, "features", schema)
        taken = set(self.roles.values())
        names = self.features or tuple(name for name in schema.names if name not in taken)
        if self.label in names:
            raise ConfigError(f"column {self.label!r} is the label; it cannot be a feature as well.")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"feature {twice[0]!r} is named twice.")
        if not names:
            raise ConfigError(f"no column is left to be a feature: {schema} has only the {', '.join(taken)}.")
        for name in (*self.encode, *(name for name in self.missing if name)):
            if name not in names:
                raise ConfigError(f"column {name!r} is no feature; leave it out of encode and missing.")
        return names

    def encodings(self, schema: Schema) -> tuple[ColumnEncoding, ...]:
        """How each feature becomes places of the vector; what has to be learnt is still open.

        Raises:
            ConfigError: if a feature cannot become one as is asked for, or a time's format cannot be read.
        """
        for column in schema.each():
            if column.type == "time":
                check_time(column.format, column.timezone)
        return tuple(self._encoding(schema[name]) for name in self.feature_names(schema))

    def _encoding(self, column: Column) -> ColumnEncoding:
        allowed = _HOW.get(column.type, ())
        if not allowed or (column.type == "string" and not self.learn_categories):
            raise ConfigError(
                f"column {column.name!r} holds {'bytes' if column.type == 'bytes' else 'strings'}, which a network cannot see."
                + (
                    f"\nDeclare its values in the schema: '{column.name} categorical(A|B|C)', learn them with"
                    " --learn-categories 100 (in Python learn_categories=100), or leave it out with --features."
                    if column.type == "string"
                    else "\nLeave it out with --features."
                )
            )
        how = self.encode.get(column.name, allowed[0])
        if how not in allowed:
            raise ConfigError(
                f"column {column.name!r} is {column.type}: it can be encoded as {' or '.join(allowed)}, got {how!r}."
            )
        missing, number = self._missing_of(column)
        learnt = column.type == "string"
        plain = ColumnEncoding(column=column, how=how, categories=column.values, learnt=learnt, missing=missing)
        return plain.model_copy(update={"fill": (number,) * len(plain.places)}) if missing == "number" else plain

    def _missing_of(self, column: Column) -> tuple[Literal["quarantine", "mean", "number", "category"], float]:
        own, general = self.missing.get(column.name), self.missing.get("", "quarantine")
        is_category = column.type in ("string", "categorical")
        given = own if own is not None else general
        if own is None and is_category and general != "quarantine":
            given = "category"
        if own is None and not is_category and general == "category":
            given = "quarantine"
        if given == "category" and not is_category:
            raise ConfigError(
                f"column {column.name!r} is {column.type}: a missing value has no category. Use mean or a number."
            )
        if given != "quarantine" and given != "category" and is_category:
            raise ConfigError(
                f"column {column.name!r} is {column.type}: a missing value can be a category, got {given!r}."
            )
        if isinstance(given, float):
            if column.type == "time":
                raise ConfigError(f"column {column.name!r} is a time: a missing value can be the mean, got {given:g}.")
            return "number", given
        return given, 0.0  # type: ignore[return-value]


def check_reading(given: Iterable[str], kind: str) -> None:
    """Refuse options that say how a text is read where there is none, or another.

    Args:
        given: names of options, also such as have nothing to do with reading.
        kind: csv, tsv, json, parquet, sql, table, or rows (a DataFrame).

    Raises:
        ConfigError: naming the first.
    """
    allowed = _READING_OF.get(kind, ("null_values",))
    for name in given:
        if name in READING and name not in allowed:
            where = [each for each in ("csv", "tsv", "json") if name in _READING_OF[each]]
            named = {"sql": "a query", "table": "a table of Spark's catalogue", "rows": "a DataFrame"}.get(kind, kind)
            raise ConfigError(f"{name} is for {' and '.join(where)}; this is {named}. Leave it out.")


def _missing(how: str | float) -> str | float:
    if how in ("quarantine", "mean", "category"):
        return how
    try:
        number = float(how)
    except ValueError:
        number = float("nan")
    if not abs(number) < 3e38:
        raise ValueError(
            f"must be quarantine, mean, category or a number, got {how!r}.{did_you_mean(str(how), ('quarantine', 'mean', 'category'))}"
        )
    return number


def _pairs(what: str, value: Any, *, required: bool) -> Any:
    """``COLUMN=HOW`` texts as a mapping; ``HOW`` alone stands under the empty name."""
    if isinstance(value, Mapping) or not isinstance(value, Sequence | str):
        return value
    found: dict[str, Any] = {}
    for part in [value] if isinstance(value, str) else value:
        name, equals, how = str(part).rpartition("=")
        if required and not (equals and name):
            raise ValueError(f"{what} must be COLUMN=HOW, as in type=index, got {part!r}")
        if name in found:
            raise ValueError(f"{what} is given twice for {name or 'all columns'}")
        found[name] = how
    return found


def _check_column(name: str, role: str, schema: Schema) -> None:
    if name not in schema:
        raise ConfigError(
            f"there is no column {name!r} (wanted as {role}). There are {_some(schema.names)}.{did_you_mean(name, schema.names)}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])}, ... ({len(names)})"


__all__ = ["READING", "TableOptions", "check_reading"]
