"""Values of a schema's types: constants that people write, texts that are read, and which values are valid.

Times are instants. What depends on a time zone is computed from the zone that the column names, never from the zone of
the Spark session, so a process gives the same result on every cluster.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from firesteel.documents import shortened
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.tables.expressions import (
    SPARK_TYPES,
    Call,
    Cast,
    Constant,
    Expression,
    Ref,
    call,
    choice,
    every,
    null,
)
from firesteel.tables.schema import Column, ColumnType

_WHOLE = {"integer": 31, "long": 63}
"""Types of whole numbers -> bits without the sign."""


# -- constants --------------------------------------------------------------------------------------------------------


def constant(column: Column, value: Any) -> Expression:
    """A value of the column's type, as people write it in a file.

    Raises:
        ConfigError: if it is none.
    """
    if value is None:
        return null(SPARK_TYPES[column.type])
    if column.sequence:
        raise _no_value(column, value, "there are no constants for sequences")
    if column.type in _WHOLE:
        return Cast(Constant(_whole(column, value)), SPARK_TYPES[column.type])
    if column.type == "double":
        return Constant(number(value, f"a value of column {column.name!r}"))
    if column.type == "boolean":
        if not isinstance(value, bool):
            raise _no_value(column, value, "expected true or false")
        return Constant(value)
    if column.type == "time":
        return call("timestamp_micros", Cast(Constant(_micros(column, value)), "bigint"))
    if column.type == "bytes" or not isinstance(value, str):
        raise _no_value(column, value, "expected a text" if column.type != "bytes" else "there are no constants of it")
    if column.type == "categorical" and value not in column.values:
        values = shortened(list(column.values))
        raise _no_value(column, value, f"its values are {values}.{did_you_mean(value, column.values)}".rstrip("."))
    return Constant(value)


def number(value: Any, what: str) -> float:
    """A number that somebody wrote.

    Raises:
        ConfigError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what} must be a number, got {shortened(value)}.")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{what} must be a number that 64 bits hold, got {shortened(value)}.") from None


def _whole(column: Column, value: Any) -> int:
    number(value, f"a value of column {column.name!r}")
    limit = 1 << _WHOLE[column.type]
    if not float(value).is_integer() or not -limit <= int(value) < limit:
        raise _no_value(column, value, f"expected a whole number of {_WHOLE[column.type] + 1} bits")
    return int(value)


def _micros(column: Column, value: Any) -> int:
    try:
        found = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", value))
    except (TypeError, ValueError):
        raise _no_value(column, value, "expected a time as in '2016-10-06 16:55:00'") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone(column.timezone))
    elapsed = found - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def zone(name: str) -> ZoneInfo:
    """A time zone.

    Raises:
        ConfigError: if there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{name!r} is no time zone. Examples: UTC, Europe/Madrid, America/Chicago.") from None


def _no_value(column: Column, value: Any, why: str) -> ConfigError:
    return ConfigError(f"{shortened(value)} is no value of column {column.name!r} ({column.type}): {why}.")


# -- texts ------------------------------------------------------------------------------------------------------------


def parsed(text: Expression, column: Column) -> Expression:
    """Text as the column's type; null where it is not of that type. Blanks around it do not matter."""
    if column.type in ("string", "categorical"):
        return text
    if column.type == "time":
        return parsed_time(text, column.format, column.timezone)
    if column.type == "bytes":
        return call("encode", text, "UTF-8")
    if column.type == "double":
        # Java's own form of numbers ("1d", "1f", "0x1p3") is nobody's data.
        plain = call(
            "rlike", text, r"^\s*[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|(?i:nan|inf|infinity))\s*$"
        )
        return choice((plain, Cast(text, "double")), otherwise=null("double"))
    return Cast(text, SPARK_TYPES[column.type])


def parsed_time(text: Expression, format: str | None, timezone: str) -> Expression:
    """Text as an instant.

    Args:
        text: to read.
        format: in Spark's datetime patterns; None is ISO 8601 with or without a time of day and a zone.
        timezone: of texts that name none.
    """
    zone(timezone)
    text = call("trim", text)
    if format is None:
        # Spark reads 16:55 and 16:55:00Z, but not 16:55Z.
        text = call("regexp_replace", text, r"([Tt ]\d{1,2}:\d{2})(?=\s*[A-Za-z+-])", "$1:00")
        local = call("concat", Cast(Cast(text, "timestamp_ntz"), "string"), f" {timezone}")
        named = call("rlike", text, r":\d.*([zZ]|[-+]\d|[A-Za-z]{3,})")
        return Cast(choice((named, text), otherwise=local), "timestamp")
    if re.search(r"[VzOXxZ]", re.sub(r"'[^']*'", "", format)):
        return call("try_to_timestamp", text, format)
    return call("try_to_timestamp", call("concat", text, f" {timezone}"), f"{format} VV")


_PATTERN = re.compile(r"'(?:[^']|'')*'|[A-Za-z]+|[^A-Za-z']+|'")


def check_time_format(format: str) -> None:
    """Find out whether a pattern can be one of Spark's datetime patterns.

    Raises:
        ConfigError: naming the letter that is none.
    """
    for part in _PATTERN.findall(format):
        if part == "'":
            raise ConfigError(f"time format {format!r}: a quote is not closed.")
        wrong = next((letter for letter in part if letter.isalpha() and letter not in "GyMLdDQqEFahKkHmsSVzOXxZ"), None)
        if wrong and not part.startswith("'"):
            raise ConfigError(
                f"time format {format!r}: {wrong!r} is no letter of Spark's datetime patterns. Example: yyyy-MM-dd HH:mm:ss;"
                " text of its own stands in single quotes."
            )
    if not format.strip():
        raise ConfigError("a time format must not be empty. Example: yyyy-MM-dd HH:mm:ss.")


# -- times ------------------------------------------------------------------------------------------------------------


def wall_clock(instant: Expression, timezone: str) -> Expression:
    """What a clock in a zone shows, as ``timestamp_ntz``."""
    zone(timezone)
    micros = Cast(call("unix_micros", instant), "decimal(20,0)")
    # Adding an interval to an instant would go by the days of the session's zone; to a time without zone it is exact.
    since_epoch = call("make_dt_interval", 0, 0, 0, call("/", micros, 1_000_000))
    utc = call("+", Cast(Constant("1970-01-01 00:00:00"), "timestamp_ntz"), since_epoch)
    return utc if timezone == "UTC" else call("convert_timezone", "UTC", timezone, utc)


def iso_text(instant: Expression) -> Expression:
    """``2016-10-06T16:55:00Z``."""
    return call("concat", call("replace", Cast(wall_clock(instant, "UTC"), "string"), " ", "T"), "Z")


# -- conversions ------------------------------------------------------------------------------------------------------


def converted(column: Column, to: ColumnType) -> Expression:
    """A column's values as another type; null where a value has no counterpart there.

    Times are seconds since 1970 as numbers and ISO 8601 as text; numbers other than 0 are true.

    Raises:
        ConfigError: if no value has.
    """
    value: Expression = Ref(column.name)
    source = "string" if column.type == "categorical" else column.type
    if source == to:
        return value
    if source == "string":
        return parsed(value, Column(name=column.name, type=to))
    if "bytes" in (source, to):
        if {source, to} != {"bytes", "string"}:
            raise ConfigError(f"column {column.name!r}: {source} cannot become {to}. Only texts become bytes and back.")
        return call("try_validate_utf8", Cast(value, "string"))
    if "time" in (source, to):
        return _converted_time(column, value, source, to)
    if to == "boolean":
        return call("not", call("=", value, 0))
    return Cast(value, SPARK_TYPES[to])


def _converted_time(column: Column, value: Expression, source: str, to: str) -> Expression:
    if "boolean" in (source, to):
        raise ConfigError(f"column {column.name!r}: {source} cannot become {to}.")
    if to == "string":
        return iso_text(value)
    if to == "double":
        return call("/", Cast(call("unix_micros", value), "double"), 1e6)
    if source == "time":
        return Cast(call("unix_seconds", value), SPARK_TYPES[to])
    micros = call("try_multiply", Cast(value, "bigint"), Cast(Constant(1_000_000), "bigint"))
    if source == "double":
        micros = Cast(call("round", call("*", value, 1e6), 0), "bigint")  # type: ignore[assignment]
    return call("timestamp_micros", micros)


# -- validity ---------------------------------------------------------------------------------------------------------


def is_missing(column: Column) -> Expression:
    """Whether a value is null or an empty text."""
    absent = call("isnull", Ref(column.name))
    if column.sequence or column.type not in ("string", "categorical"):
        return absent
    return call("or", absent, call("=", Ref(column.name), ""))


def is_valid(column: Column) -> Expression:
    """Whether a value is there and allowed by the column's bounds; never null."""
    # Null only for a value that is null; then the first is false, and so are all together.
    return every(call("not", is_missing(column)), *_bounds(column))


def _bounds(column: Column) -> list[Call]:
    """What the schema demands of a value that is there. Of sequences nothing."""
    value = Ref(column.name)
    if column.sequence:
        return []
    found = []
    if column.type == "double" and not column.nan and not column.infinite:
        found.append(call("<", call("abs", value), float("inf")))  # to Spark NaN is greater than that
    elif column.type == "double" and not column.nan:
        found.append(call("not", call("isnan", value)))
    elif column.type == "double" and not column.infinite:
        found.append(call("not", call("=", call("abs", value), float("inf"))))
    if column.min is not None:
        found.append(call(">=", value, column.min))
    if column.max is not None:
        # NaN is greater than any number to Spark; whether it is valid says `nan`.
        found.append(call("or", call("<=", value, column.max), call("isnan", Cast(value, "double"))))
    if column.pattern is not None:
        found.append(call("rlike", value, rf"\A(?:{column.pattern})\z"))
    if column.type == "categorical":
        found.append(call("array_contains", Constant(list(column.values)), value))
    return found


__all__ = [
    "check_time_format",
    "constant",
    "converted",
    "is_missing",
    "is_valid",
    "iso_text",
    "number",
    "parsed",
    "parsed_time",
    "wall_clock",
    "zone",
]
