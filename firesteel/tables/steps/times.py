"""Steps on times. A time is an instant; what a calendar or a clock shows of it depends on a time zone that is named."""

from __future__ import annotations

from typing import ClassVar, Literal

from firesteel.errors import ConfigError
from firesteel.tables.expressions import Cast, Constant, Expression, Ref, call
from firesteel.tables.plans import Operation, Output, changed
from firesteel.tables.schema import Column, Schema
from firesteel.tables.steps.base import TEXTS, Names, Step, made, new_name, typed
from firesteel.tables.values import check_time_format, parsed_time, wall_clock

Unit = Literal["microseconds", "milliseconds", "seconds", "minutes", "hours", "days", "weeks"]
"""A day is 24 hours, a week 7 days, always."""

MICROS: dict[str, int] = {
    "microseconds": 1, "milliseconds": 1_000, "seconds": 1_000_000, "minutes": 60_000_000, "hours": 3_600_000_000,
    "days": 86_400_000_000, "weeks": 604_800_000_000,
}  # fmt: skip
"""Unit -> microseconds."""

Part = Literal[
    "year", "quarter", "month", "week", "day", "day_of_year", "weekday", "hour", "minute", "second", "millisecond"
]
"""``week`` and ``weekday`` are those of ISO 8601: weeks begin on Monday, which is 1."""

_PARTS: dict[str, tuple[str, int, int]] = {
    "year": ("year", -290_000, 300_000), "quarter": ("quarter", 1, 4), "month": ("month", 1, 12), "week": ("weekofyear", 1, 53),
    "day": ("day", 1, 31), "day_of_year": ("dayofyear", 1, 366), "weekday": ("weekday", 1, 7), "hour": ("hour", 0, 23),
    "minute": ("minute", 0, 59), "second": ("second", 0, 59), "millisecond": ("", 0, 999),
}  # fmt: skip
"""Part -> function of Spark SQL, smallest and largest value."""


class StringToTime(Step):
    """Read times from texts, in place; what is none becomes missing.

    Attributes:
        columns: texts.
        format: Spark's datetime pattern, such as ``yyyyMMdd-HHmm``; None is ISO 8601.
        timezone: of texts that name none.
    """

    do: Literal["string_to_time"] = "string_to_time"
    columns: Names
    format: str | None = None
    timezone: str = "UTC"

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        if self.format is not None:
            check_time_format(self.format)
        outputs = []
        for name in self.columns:
            typed(schema, name, *TEXTS)
            read = parsed_time(Ref(name), self.format, self.timezone)
            outputs.append(made(name, "time", read, timezone=self.timezone))
        return (changed(schema, *outputs),)


class ShiftTime(Step):
    """Add an amount of time, in place; a negative amount goes back."""

    do: Literal["shift_time"] = "shift_time"
    columns: Names
    amount: int
    unit: Unit

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        micros = self.amount * MICROS[self.unit]
        if abs(micros) >= 1 << 63:
            raise ConfigError(f"{self.amount} {self.unit} are more than any two times are apart.")
        outputs = []
        for name in self.columns:
            column = typed(schema, name, "time")
            later = call("try_add", call("unix_micros", Ref(name)), Cast(Constant(micros), "bigint"))
            outputs.append(made(name, "time", call("timestamp_micros", later), timezone=column.timezone))
        return (changed(schema, *outputs),)


class TimeBetween(Step):
    """How long it is from one time to another, into a new column (double); negative if ``end`` comes first."""

    positional: ClassVar[str | None] = None

    do: Literal["time_between"] = "time_between"
    start: str
    end: str
    unit: Unit
    into: str

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        for name in (self.start, self.end):
            typed(schema, name, "time")
        micros = call("try_subtract", call("unix_micros", Ref(self.end)), call("unix_micros", Ref(self.start)))
        value = call("/", Cast(micros, "double"), float(MICROS[self.unit]))
        return (changed(schema, made(new_name(schema, self.into), "double", value)),)


class DeriveTime(Step):
    """Parts of a time, into new columns.

    Attributes:
        column: the time.
        parts: name of a new column -> year, month, hour, ...
        timezone: of the calendar and the clock; None is that of the column.
    """

    positional: ClassVar[str | None] = "column"

    do: Literal["derive_time"] = "derive_time"
    column: str
    parts: dict[str, Part]
    timezone: str | None = None

    def plan(self, schema: Schema) -> tuple[Operation, ...]:
        column = typed(schema, self.column, "time")
        if not self.parts:
            raise ConfigError("parts must name at least one new column, as in parts: {hour_of_day: hour}.")
        clock = wall_clock(Ref(self.column), self.timezone or column.timezone)
        return (
            changed(schema, *(self._output(schema, name, part, column, clock) for name, part in self.parts.items())),
        )

    def _output(self, schema: Schema, name: str, part: str, column: Column, clock: Expression) -> Output:
        function, low, high = _PARTS[part]
        if part == "millisecond":
            value: Expression = call(
                "floor", call("/", call("pmod", call("unix_micros", Ref(column.name)), 1_000_000), 1000)
            )
            value = Cast(value, "int")
        else:
            value = call(function, clock)
        if part == "weekday":
            value = call("+", value, 1)
        bounds = {} if part == "year" else {"min": low, "max": high}
        return made(new_name(schema, name), "integer", value, **bounds)


__all__ = ["MICROS", "DeriveTime", "Part", "ShiftTime", "StringToTime", "TimeBetween", "Unit"]
