"""Steps that make one row of many: by a key, or by a key and stretches of time."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.tables.expressions import Cast, Constant, Order, Ref, call
from firesteel.tables.plans import Aggregate, Explode, Keep, Operation, Output, Project, kept
from firesteel.tables.reductions import Reduction
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import NamesOrNone, Step, new_name, order_of, typed
from firesteel.tables.steps.times import MICROS


class Group(Step):
    """One row for each key, with what the other columns become together. Missing keys are a key of their own.

    Attributes:
        by: columns of the key; none given makes one row of the whole table.
        values: name of a new column -> ``{reduce: sum, column: deaths}``.
        order_by: of the rows, for first, last and list; ``-time`` falls.
    """

    positional: ClassVar[str | None] = "by"

    do: Literal["group"] = "group"
    by: NamesOrNone = ()
    values: dict[str, Reduction]
    order_by: NamesOrNone = ()

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        keys = tuple(Output(typed(schema, name), Ref(name)) for name in self.by)
        return (Aggregate(keys, reduced(self.values, schema, order_of(schema, self.order_by))),)


class TimeWindow(Step):
    """One row for each key and stretch of time: tumbling windows, or sliding ones if ``every`` is less than ``size``.

    Windows begin at multiples of ``every`` since 1970-01-01 00:00 UTC. Rows without a time are left out.

    Attributes:
        time: column that says when.
        size: of a window, as in ``30 minutes``.
        every: from the beginning of one window to that of the next; None is ``size``.
        into: name of the column with the beginning of the window.
        by, values, order_by: as in ``group``.
    """

    positional: ClassVar[str | None] = None

    do: Literal["time_window"] = "time_window"
    time: str
    size: str
    every: str | None = None
    by: NamesOrNone = ()
    values: dict[str, Reduction]
    order_by: NamesOrNone = ()
    into: str = "window_start"

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        column = typed(schema, self.time, "time")
        size, every = micros_of(self.size), micros_of(self.every or self.size)
        if every > size:
            raise ConfigError(
                f"every must be at most size, else rows are lost between windows, got {self.every} and {self.size}."
            )
        start = Column(name=new_name(schema, self.into), type="time", timezone=column.timezone)
        keys = (*(Output(typed(schema, name), Ref(name)) for name in self.by), Output(start, Ref(start.name)))
        values = reduced(self.values, schema, order_of(schema, self.order_by))
        present = Keep(call("isnotnull", Ref(self.time)))
        return (present, *self._windows(schema, start, size, every), Aggregate(keys, values))

    def _windows(self, schema: Schema, start: Column, size: int, every: int) -> tuple[Operation, ...]:
        micros = call("unix_micros", Ref(self.time))
        newest = call("-", micros, call("pmod", micros, every))
        if every == size:
            return (Project((*kept(schema), Output(start, call("timestamp_micros", newest)))),)
        behind = call("-", micros, size)
        oldest = call("+", call("-", behind, call("pmod", behind, every)), every)
        number = Column(name=start.name, type="long")
        instant = Output(start, call("timestamp_micros", Ref(start.name)))
        return (
            Explode(call("sequence", oldest, newest, Cast(Constant(every), "bigint")), number),
            Project((*kept(schema), instant)),
        )


def reduced(values: dict[str, Reduction], schema: Schema, order: tuple[Order, ...]) -> tuple[Output, ...]:
    """The reduced columns.

    Raises:
        ConfigError: naming the one that is wrong.
    """
    if not values:
        raise ConfigError("values must name at least one new column, as in values: {rows: {reduce: rows}}.")
    return tuple(each.output(name, schema, order) for name, each in values.items())


def micros_of(text: str) -> int:
    """``30 minutes`` in microseconds.

    Raises:
        ConfigError: if it is no length of time.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*([a-z]+?)s?\s*", text)
    if match is None or f"{match[2]}s" not in MICROS or int(match[1]) == 0:
        near = did_you_mean(f"{match[2]}s", MICROS) if match else ""
        raise ConfigError(
            f"a length of time looks like '30 minutes', with one of {', '.join(MICROS)}, got {text!r}.{near}"
        )
    return int(match[1]) * MICROS[f"{match[2]}s"]


__all__ = ["Group", "TimeWindow", "micros_of", "reduced"]
