"""Steps that make sequences of rows, change them, and make rows of them again.

A sequence column holds a list in each row. All sequence columns of a row that ``to_sequence`` made are equally long.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field as PydanticField

from firesteel.errors import ConfigError
from firesteel.tables.expressions import SPARK_TYPES, Cast, Constant, Expression, Field, Over, Ref, call, choice, null
from firesteel.tables.plans import Aggregate, Explode, Operation, Output, Project, changed, kept
from firesteel.tables.reductions import check_direction, struct
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import Names, Step, made, new_name, order_of, typed
from firesteel.tables.steps.grouping import micros_of
from firesteel.tables.values import constant


class ToSequence(Step):
    """One row for each key; the other columns become sequences in the order of ``order_by``.

    Attributes:
        by: columns of the key.
        order_by: of the rows of a sequence, all rising or all falling (``-time``); rows that are equal come in the order of their
            other values.
        max_gap: begin another sequence of the same key where this long passes between two rows, as in ``30 minutes``; the first
            column of ``order_by`` is a time then, and rises.
    """

    positional: ClassVar[str | None] = "by"

    do: Literal["to_sequence"] = "to_sequence"
    by: Names
    order_by: Names
    max_gap: str | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        order = order_of(schema, self.order_by)
        falling = check_direction(order)
        keys = tuple(Output(typed(schema, name), Ref(name)) for name in self.by)
        values = [typed(schema, name) for name in schema.names if name not in self.by]
        if not values:
            raise ConfigError("no column would be left for the sequences: all are in the key.")
        before, extra = self._parts(schema) if self.max_gap else ((), ())
        rows = _unused(schema, "rows")
        fields = (*(Ref(each.column) for each in order), *(Ref(column.name) for column in values))
        collected = call("sort_array", call("collect_list", struct(fields)), not falling)
        outputs = [
            Output(_sequence_of(column), Field(Ref(rows), f"f{len(order) + i}")) for i, column in enumerate(values)
        ]
        grouped = Aggregate((*keys, *extra), (made(rows, "bytes", collected, sequence=True),))
        return (*before, grouped, Project((*keys, *outputs)))

    def _parts(self, schema: Schema) -> tuple[tuple[Operation, ...], tuple[Output, ...]]:
        """Number the parts of a key: how many gaps there are before a row."""
        assert self.max_gap is not None
        order = order_of(schema, self.order_by)
        typed(schema, order[0].column, "time")
        if order[0].descending:
            raise ConfigError(f"max_gap needs an order that rises: write {order[0].column}, not -{order[0].column}.")
        micros = call("unix_micros", Ref(order[0].column))
        waited = call("-", micros, Over(call("lag", micros), self.by, order))
        starts = Cast(call("coalesce", call(">", waited, micros_of(self.max_gap)), False), "int")
        gap, part = _unused(schema, "gap"), _unused(schema, "part")
        first = changed(schema, made(gap, "integer", starts))
        second = changed(schema, made(part, "long", Over(call("sum", Ref(gap)), self.by, order)))
        return (first, second), (made(part, "long", Ref(part)),)


class SequenceStep(Step):
    """A step that changes all sequence columns alike."""

    positional: ClassVar[str | None] = "length"

    def sequences(self, schema: Schema) -> list[Column]:
        """The columns.

        Raises:
            ConfigError: if there are none.
        """
        found = [column for column in schema.columns if column.sequence]
        if not found:
            raise ConfigError("no column holds sequences. Make some first with to_sequence.")
        return found


class TrimSequence(SequenceStep):
    """Keep the first or the last values of sequences that are longer."""

    do: Literal["trim_sequence"] = "trim_sequence"
    length: int
    keep: Literal["first", "last"] = "first"

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        _check_length(self.length)
        outputs = [Output(column, _trimmed(column, self.length, self.keep)) for column in self.sequences(schema)]
        return (changed(schema, *outputs),)


class FitSequence(SequenceStep):
    """Make all sequences equally long: keep the first or the last values of longer ones, fill shorter ones at the end.

    Attributes:
        length: of all sequences afterwards.
        keep: first or last.
        fill: column -> value; not given, numbers are filled with 0 and others with null.
    """

    do: Literal["fit_sequence"] = "fit_sequence"
    length: int
    keep: Literal["first", "last"] = "first"
    fill: dict[str, Any] = PydanticField(default_factory=dict)

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        _check_length(self.length)
        columns = self.sequences(schema)
        for name in self.fill:
            if not schema[name].sequence:
                raise ConfigError(f"fill: column {name!r} holds no sequences.")
        return (changed(schema, *(Output(column, self._fitted(column)) for column in columns)),)

    def _fitted(self, column: Column) -> Expression:
        single = column.model_copy(update={"sequence": False})
        filling = constant(single, self.fill.get(column.name, 0 if single.is_numeric else None))
        lacking = call("greatest", call("-", self.length, call("size", Ref(column.name))), 0)
        return call("concat", _trimmed(column, self.length, self.keep), call("array_repeat", filling, lacking))


class OffsetSequence(SequenceStep):
    """Move sequence columns against the others, as for a forecast.

    Attributes:
        columns: to move.
        offset: 1 puts each value one place later, -1 one earlier.
        edge: ``trim`` cuts all sequences to the places where there is something of all, ``missing`` keeps the lengths.
    """

    positional: ClassVar[str | None] = "columns"

    do: Literal["offset_sequence"] = "offset_sequence"
    columns: Names
    offset: int
    edge: Literal["trim", "missing"] = "trim"

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if self.offset == 0 or abs(self.offset) >= 1 << 31:
            raise ConfigError(f"offset must be a whole number other than 0, got {self.offset}.")
        columns = self.sequences(schema)
        for name in self.columns:
            if not schema[name].sequence:
                raise ConfigError(f"column {name!r} holds no sequences.")
        if self.edge == "missing":
            columns = [column for column in columns if column.name in self.columns]
        return (changed(schema, *(Output(column, self._moved(column)) for column in columns)),)

    def _moved(self, column: Column) -> Expression:
        value, distance = Ref(column.name), abs(self.offset)
        left = call("greatest", call("-", call("size", value), distance), 0)
        # What moves to later places loses its end, and what stays its beginning; the other way round it is the opposite.
        loses_end = (column.name in self.columns) == (self.offset > 0)
        rest = call("slice", value, 1 if loses_end else distance + 1, left)
        if self.edge == "trim":
            return rest
        nulls = call("array_repeat", null(SPARK_TYPES[column.type]), call("least", distance, call("size", value)))
        return call("concat", nulls, rest) if self.offset > 0 else call("concat", rest, nulls)


class SplitSequence(SequenceStep):
    """Cut sequences into pieces of at most ``length`` values, each in a row of its own. Empty sequences give no row.

    Attributes:
        length: of a piece.
        into: name of a new column with the number of the piece, from 0; None makes none.
    """

    do: Literal["split_sequence"] = "split_sequence"
    length: int
    into: str | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        _check_length(self.length)
        columns = self.sequences(schema)
        piece = new_name(schema, self.into) if self.into is not None else _unused(schema, "piece")
        last = Cast(call("floor", call("/", call("-", _longest(columns), 1), self.length)), "int")
        start = call("+", call("*", Ref(piece), self.length), 1)
        outputs = [
            Output(column, call("slice", Ref(column.name), start, self.length) if column.sequence else Ref(column.name))
            for column in schema.columns
        ]
        number = [made(piece, "integer", Ref(piece), min=0)] if self.into else []
        return (_places(columns, piece, last), Project((*outputs, *number)))


class FromSequence(SequenceStep):
    """One row for each place of the sequences. Empty sequences give no row; where one is shorter, its value is missing.

    Attributes:
        into: name of a new column with the place, from 0; None makes none.
    """

    positional: ClassVar[str | None] = "into"

    do: Literal["from_sequence"] = "from_sequence"
    into: str | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        columns = self.sequences(schema)
        place = new_name(schema, self.into) if self.into is not None else _unused(schema, "place")
        outputs = []
        for output in kept(schema):
            column = output.column
            if column.sequence:
                output = Output(column.model_copy(update={"sequence": False}), call("get", output.value, Ref(place)))
            outputs.append(output)
        number = [made(place, "integer", Ref(place), min=0)] if self.into else []
        return (_places(columns, place, call("-", _longest(columns), 1)), Project((*outputs, *number)))


def _places(columns: list[Column], name: str, last: Expression) -> Explode:
    """A row for each number from 0 to ``last``, if there is anything at all."""
    numbers = choice((call(">", _longest(columns), 0), call("sequence", 0, last)), otherwise=null("array<int>"))
    return Explode(numbers, Column(name=name, type="integer"))


def _longest(columns: list[Column]) -> Expression:
    sizes = [call("coalesce", call("size", Ref(column.name)), 0) for column in columns]
    return sizes[0] if len(sizes) == 1 else call("greatest", *sizes)


def _trimmed(column: Column, length: int, keep: str) -> Expression:
    start: Expression = Constant(1)
    if keep == "last":
        start = call("+", call("greatest", call("-", call("size", Ref(column.name)), length), 0), 1)
    return call("slice", Ref(column.name), start, length)


def _sequence_of(column: Column) -> Column:
    return column.model_copy(update={"sequence": True})


def _check_length(length: int) -> None:
    if not 1 <= length < 1 << 31:
        raise ConfigError(f"length must be at least 1, got {length}.")


def _unused(schema: Schema, name: str) -> str:
    """A name that no column has."""
    while name in schema:
        name = f"{name}_"
    return name


__all__ = [
    "FitSequence",
    "FromSequence",
    "OffsetSequence",
    "SplitSequence",
    "ToSequence",
    "TrimSequence",
]
