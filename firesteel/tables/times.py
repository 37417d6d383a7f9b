"""Times as text: ISO 8601, and Spark's datetime patterns, over whole Arrow columns at once.

Spark's patterns are those of Java's DateTimeFormatter (Spark documentation, "Datetime Patterns for Formatting and
Parsing"); the letters that are read here are y, M, d, H, h, m, s, S, a, E, X, x, Z and quoted text. A year of two digits
is 2000 to 2099, as there. Names of months and days are English.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.errors import ConfigError

TIME = pa.timestamp("us", "UTC")
"""What a column of times is in Arrow: microseconds since 1970 in UTC."""

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_ISO = re.compile(
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ](?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,9})?)?))?"
    r"(?P<zone>Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
)
_TOKEN = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letters>(?P<letter>[A-Za-z])(?P=letter)*)|(?P<other>[^A-Za-z'])")
_FIRST_YEAR, _LAST_YEAR = 1, 9999


def parse_times(text: pa.Array, format: str | None, timezone: str) -> pa.Array:
    """Instants of texts; null where a text is none.

    Args:
        text: strings, shape (N,).
        format: Spark's datetime pattern; None is ISO 8601, with or without a time of day and a zone.
        timezone: of times that name none.

    Returns:
        of type :data:`TIME`, shape (N,).

    Raises:
        ConfigError: if the format or the time zone is not known.
    """
    if format is None:
        found = pc.extract_regex(text, _ISO.pattern)
        parts = {name: pc.struct_field(found, [name]) for name in ("date", "clock", "zone")}
        digits = pc.replace_substring_regex(parts["date"], "-", "")
        fields = {
            "year": pc.utf8_slice_codeunits(digits, 0, 4),
            "month": pc.utf8_slice_codeunits(digits, 4, 6),
            "day": pc.utf8_slice_codeunits(digits, 6, 8),
            "hour": pc.utf8_slice_codeunits(parts["clock"], 0, 2),
            "minute": pc.utf8_slice_codeunits(parts["clock"], 3, 5),
            "second": pc.utf8_slice_codeunits(parts["clock"], 6, 8),
            "fraction": pc.utf8_slice_codeunits(parts["clock"], 9, 18),
            "zone": parts["zone"],
        }
        return _instants(fields, pc.is_valid(found), timezone)
    pattern = time_pattern(format)
    lowered = pc.utf8_lower(text) if pattern.ignores_case else text
    found = pc.extract_regex(lowered, pattern.regex)
    return _instants({name: pc.struct_field(found, [name]) for name in pattern.fields}, pc.is_valid(found), timezone)


@dataclass(frozen=True)
class TimePattern:
    """A datetime pattern as a regular expression with named groups.

    Attributes:
        regex: for RE2.
        fields: names of its groups: year, year2, month, month_name, day, hour, hour12, half, minute, second, fraction, zone.
        ignores_case: whether the text is lowered first.
    """

    regex: str
    fields: tuple[str, ...]
    ignores_case: bool


@lru_cache(maxsize=64)
def time_pattern(format: str) -> TimePattern:
    """Read a datetime pattern.

    Raises:
        ConfigError: if it is not one that can be read.
    """
    tokens = list(_TOKEN.finditer(format))
    if "".join(token[0] for token in tokens) != format:
        raise ConfigError(
            f"the time format {format!r} opens a quote and does not close it. Example: yyyy-MM-dd'T'HH:mm"
        )
    parts: list[str] = []
    fields: list[str] = []
    named = False
    for token in tokens:
        if token["letters"] is None:
            parts.append(re.escape(_literal(token)))
            continue
        field, regex = _field(token["letters"], format)
        named |= token["letters"][0] in "aE" or field == "month_name"
        parts.append(f"(?P<{field}>{regex})" if field else regex)
        fields += [field] if field else []
    twice = [field for field in fields if fields.count(field) > 1]
    if twice or not {"year", "year2"} & set(fields):
        raise ConfigError(
            f"the time format {format!r} must name the year, and nothing twice. Example: yyyy-MM-dd HH:mm:ss"
        )
    regex = "".join(part.lower() if named and not part.startswith("(?P") else part for part in parts)
    return TimePattern(f"^{regex}$", tuple(fields), named)


def _literal(token: re.Match[str]) -> str:
    if token["other"] is not None:
        return token["other"]
    return token["quoted"].replace("''", "'") or "'"


_NUMBERS = {"M": "month", "d": "day", "H": "hour", "h": "hour12", "m": "minute", "s": "second"}


def _field(letters: str, format: str) -> tuple[str, str]:
    """Name of the group and its expression, of a run of one letter."""
    letter, count = letters[0], len(letters)
    if letter in "yu":
        return ("year2", "[0-9]{2}") if count == 2 else ("year", "[0-9]{4}")
    if letter in "ML" and count >= 3:
        return "month_name", "(?:" + "|".join(_MONTHS) + ")[a-z]*"
    if letter in _NUMBERS and count <= 2:
        return _NUMBERS[letter], "[0-9]{2}" if count == 2 else "[0-9]{1,2}"
    if letter == "S" and count <= 9:
        return "fraction", f"[0-9]{{1,{count}}}"
    if letter == "a" and count == 1:
        return "half", "am|pm"
    if letter == "E":
        return "", _DAYS
    if letter in "XxZ":
        return "zone", "[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?"
    raise ConfigError(
        f"the time format {format!r} holds {letters!r}, which cannot be read.\n"
        "Letters that can: y M d H h m s S a E X x Z; other text stands in 'quotes'. Example: yyyy-MM-dd HH:mm:ss"
    )


def _instants(fields: dict[str, pa.Array], found: pa.Array, timezone: str) -> pa.Array:
    """Instants of the texts of their parts; null where there was no match or no such day."""

    def numbers(name: str, default: int) -> np.ndarray:
        if name not in fields:
            return np.full(len(found), default, np.int64)
        column = fields[name]
        filled = pc.if_else(pc.equal(pc.utf8_length(column), 0), None, column)
        return pc.fill_null(filled.cast(pa.int64()), default).to_numpy(zero_copy_only=False)

    year = numbers("year", 1970) if "year" in fields else 2000 + numbers("year2", 0)
    month = _month_numbers(fields["month_name"]) if "month_name" in fields else numbers("month", 1)
    day, hour = numbers("day", 1), numbers("hour", 0)
    valid = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    if "hour12" in fields:
        half = numbers("hour12", 12)
        valid &= (half >= 1) & (half <= 12)
        afternoon = pc.fill_null(pc.equal(fields["half"], "pm"), False) if "half" in fields else None
        hour = half % 12 + (0 if afternoon is None else 12 * afternoon.to_numpy(zero_copy_only=False))
    minute, second = numbers("minute", 0), numbers("second", 0)
    valid &= (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1)
    valid &= (hour < 24) & (minute < 60) & (second < 60)
    first = (np.clip(year, 1, 9999) - 1970).astype("M8[Y]").astype("M8[M]") + (np.clip(month, 1, 12) - 1)
    date = first.astype("M8[D]") + (day - 1)
    valid &= date.astype("M8[M]") == first  # the month has that day
    micros = _micros(fields.get("fraction"), len(found))
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros
    local = date.astype("M8[us]").astype(np.int64) + clock
    return _in_utc(local, valid, fields.get("zone"), timezone)


def _month_numbers(names: pa.Array) -> np.ndarray:
    short = pc.utf8_slice_codeunits(names, 0, 3)
    codes = pc.fill_null(pc.index_in(short, value_set=pa.array(_MONTHS)), 0)
    return codes.to_numpy(zero_copy_only=False).astype(np.int64) + 1


def _micros(fraction: pa.Array | None, count: int) -> np.ndarray:
    if fraction is None:
        return np.zeros(count, np.int64)
    padded = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(fraction, ""), 6, "0"), 0, 6)
    return padded.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _in_utc(local: np.ndarray, valid: np.ndarray, zone: pa.Array | None, timezone: str) -> pa.Array:
    naive = pa.array(local, pa.timestamp("us"), mask=~valid)
    try:
        # A time that is there twice (clocks go back) is the first; one that is not there is moved to the next there is.
        result = pc.assume_timezone(naive, timezone, ambiguous="earliest", nonexistent="latest").cast(TIME)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"there is no time zone {timezone!r}. Examples: UTC, Europe/Berlin.") from error
    if zone is None:
        return result
    zone = pc.fill_null(zone, "")
    named = pc.greater(pc.utf8_length(zone), 0).to_numpy(zero_copy_only=False)
    if not named.any():
        return result
    offsets = np.array([_offset_micros(text) for text in zone.to_pylist()], np.int64)
    with_zone = pa.array(local - offsets, pa.timestamp("us"), mask=~valid).cast(TIME)
    return pc.if_else(pa.array(named), with_zone, result)


@lru_cache(maxsize=256)
def _offset_micros(zone: str) -> int:
    if zone in ("", "Z", "z"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return (-1 if zone[0] == "-" else 1) * minutes * 60_000_000


def check_time(format: str | None, timezone: str) -> None:
    """Find out early whether texts can be read so.

    Raises:
        ConfigError: if not.
    """
    parse_times(pa.array(["2000-01-01"]), format, timezone)


__all__ = ["TIME", "TimePattern", "check_time", "parse_times", "time_pattern"]
