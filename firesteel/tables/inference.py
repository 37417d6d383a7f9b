"""The types of columns that nobody has declared: the narrowest that all their values have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from firesteel.tables.parsing import count_wrong, parse_column
from firesteel.tables.schema import Column, Schema

_TRIED = ("integer", "long", "double", "boolean", "time")
"""In this order; a column of 0 and 1 holds integers."""

_ANY_DOUBLE = {"nan": True, "infinite": True}


@dataclass
class TypeVotes:
    """How many values of a column there are, and how many are not of a type.

    Attributes:
        values: that are not missing.
        wrong: type -> values that are not of it.
    """

    values: int = 0
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TRIED, 0))

    def __add__(self, other: TypeVotes) -> TypeVotes:
        return TypeVotes(self.values + other.values, {kind: self.wrong[kind] + other.wrong[kind] for kind in _TRIED})

    @property
    def type(self) -> str:
        """The narrowest that fits; ``string`` if there is no value."""
        fits = (kind for kind in _TRIED if self.values and not self.wrong[kind])
        return next(fits, "string")


def votes_of(columns: Mapping[str, pa.Array], null_values: Sequence[str]) -> dict[str, TypeVotes]:
    """What the texts of some rows say of their columns' types."""
    return {name: _votes(array, null_values) for name, array in columns.items()}


def _votes(array: pa.Array, null_values: Sequence[str]) -> TypeVotes:
    texts = parse_column(array, Column(name="any", type="string"), null_values).values.drop_null()
    return TypeVotes(len(texts), {kind: count_wrong(texts, kind) if len(texts) else 0 for kind in _TRIED})


def _column(name: str, kind: str) -> Column:
    """Nobody has forbidden anything: NaN is a double, which counts as missing where a number is needed."""
    return Column.model_validate({"name": name, "type": kind} | (_ANY_DOUBLE if kind == "double" else {}))


def schema_from_votes(
    parts: Iterable[Mapping[str, TypeVotes]], names: Sequence[str]
) -> tuple[Schema, dict[str, TypeVotes]]:
    """The schema of columns in the order of ``names``, and the votes of all rows."""
    total = {name: TypeVotes() for name in names}
    for part in parts:
        total = {name: votes + part[name] if name in part else votes for name, votes in total.items()}
    return Schema(columns=tuple(_column(name, total[name].type) for name in names)), total


__all__ = ["TypeVotes", "schema_from_votes", "votes_of"]
