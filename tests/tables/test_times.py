"""Times as text."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.tables.times import parse_times

UTC = dt.timezone.utc


def parsed(text: str, format: str | None = None, timezone: str = "UTC") -> dt.datetime | None:
    """One text as an instant."""
    return parse_times(pa.array([text]), format, timezone)[0].as_py()


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), st.sampled_from(["T", " "]))
def test_iso_is_read_as_python_writes_it(moment: dt.datetime, between: str) -> None:
    assert parsed(moment.isoformat(between)) == moment.replace(tzinfo=UTC)
    zone = dt.timezone(dt.timedelta(hours=-5, minutes=-30))
    assert parsed(moment.replace(tzinfo=zone).isoformat(between)) == moment.replace(tzinfo=zone)


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)))
def test_patterns_are_read_as_strftime_writes_them(moment: dt.datetime) -> None:
    minute = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    assert parsed(moment.strftime("%y%m%d-%H%M"), "yyMMdd-HHmm") == minute
    assert parsed(moment.strftime("%b %d, %Y %I:%M %p"), "MMM d, yyyy h:mm a") == minute
    assert parsed(moment.strftime("%A %d.%m.%Y 'at' %H:%M:%S.%f"), "EEEE dd.MM.yyyy '''at''' HH:mm:ss.SSSSSS") == (
        moment.replace(tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2024-13-01",
        "2024-00-01",
        "2024-01-32",
        "2024-01-01T24:00",
        "20240101",
        "0000-01-01",
        "now",
        "2024-1-1",
    ],
)
def test_what_is_no_time_is_null(text: str) -> None:
    assert parsed(text) is None


def test_times_without_a_zone_are_of_the_columns_zone() -> None:
    assert parsed("2024-07-01 12:00", timezone="Europe/Berlin") == dt.datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert parsed("2024-07-01T12:00Z", timezone="Europe/Berlin") == dt.datetime(2024, 7, 1, 12, tzinfo=UTC)
    # Clocks go forward at 2:00: a time that is not there becomes the next there is; back at 3:00: the first of two.
    assert parsed("2024-03-31 02:30", timezone="Europe/Berlin") == dt.datetime(2024, 3, 31, 1, tzinfo=UTC)
    assert parsed("2024-10-27 02:30", timezone="Europe/Berlin") == dt.datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("yyyy-QQ", "'QQ', which cannot be read"),
        ("HH:mm", "must name the year"),
        ("yyyy 'x", "opens a quote"),
        ("yyyy yyyy", "twice"),
    ],
)
def test_formats_that_cannot_be_read_are_refused(format: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed("x", format)
    with pytest.raises(ConfigError, match="no time zone 'Mars/Base'"):
        parsed("2024-01-01", None, "Mars/Base")
