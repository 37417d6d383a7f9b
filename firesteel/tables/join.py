"""Two tables side by side: which rows belong together, and the columns that come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from firesteel.errors import ConfigError
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import typed


def _as_pairs(value: Any) -> Any:
    if isinstance(value, str):
        return {value: value}
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return {name: name for name in value}
    return value


class Join(BaseModel):
    """How two tables are joined.

    Attributes:
        on: names of the columns that must be equal: one, a list, or left name -> right name.
        how: ``inner`` keeps rows that have a partner, ``left`` also those of the left table that have none, ``right`` those of the
            right one, ``full`` all. What a missing partner would have given is missing.
        suffix: behind the names of the right table's columns that the left one has, too; None refuses such names.
        match_missing: whether a key that is missing equals one that is missing. SQL says no, pandas says yes.

    The key stands in the result once, under the left name, first; then the other columns of the left table, then those of
    the right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Annotated[dict[str, str], BeforeValidator(_as_pairs)]
    how: Literal["inner", "left", "right", "full"] = "inner"
    suffix: str | None = None
    match_missing: bool = False

    def __init__(self, on: str | list[str] | tuple[str, ...] | Mapping[str, str], how: str = "inner", **options: Any):
        """Check the options.

        Raises:
            ConfigError: if one is wrong.
        """
        try:
            BaseModel.__init__(self, on=on, how=how, **options)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}.") from None
        if not self.on:
            raise ConfigError("a join needs at least one column that must be equal, as in on='county'.")

    def schema_after(self, left: Schema, right: Schema) -> Schema:
        """The columns that come out.

        Raises:
            ConfigError: if a key is not there, keys are of different types, or a name would be there twice.
        """
        keys = [self._key(typed(left, one), typed(right, other)) for one, other in self.on.items()]
        rest = [column for column in left.columns if column.name not in self.on]
        names = {column.name for column in (*keys, *rest)}
        for column in right.columns:
            if column.name in self.on.values():
                continue
            rest.append(self._renamed(column, names))
            names.add(rest[-1].name)
        return Schema.from_columns((*keys, *rest))

    def _renamed(self, column: Column, taken: set[str]) -> Column:
        if column.name not in taken:
            return column
        if not self.suffix:
            raise ConfigError(
                f"both tables have a column {column.name!r}. Rename or drop one of them, join on it, or give a suffix:"
                f" suffix='_right' makes {column.name + '_right'!r} of that of the right table."
            )
        name = f"{column.name}{self.suffix}"
        if name in taken:
            raise ConfigError(
                f"with suffix {self.suffix!r} column {name!r} would be there twice. Choose another suffix."
            )
        return Column(**(column.model_dump() | {"name": name}))

    def _key(self, left: Column, right: Column) -> Column:
        """The key's column in the result: of the wider type, and with the categories of both."""
        kinds = {left.type, right.type}
        if left.type == right.type == "categorical":
            values = left.values + tuple(value for value in right.values if value not in left.values)
            return Column(name=left.name, type="categorical", values=values)
        if len(kinds) == 1:
            return left if left == right or self.how == "left" else Column(name=left.name, type=left.type)
        if kinds == {"integer", "long"}:
            return Column(name=left.name, type="long")
        if kinds == {"string", "categorical"}:
            return Column(name=left.name, type="string")
        raise ConfigError(
            f"key {left.name!r} is {left.type} on the left and {right.name!r} {right.type} on the right. Cast one of them first."
        )


__all__ = ["Join"]
