"""Figures of instants and dates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firesteel.analysis.content import Content
from firesteel.analysis.distribution import QUANTILES
from firesteel.analysis.numbers import NumberSummary


class TimeSummary(Content):
    """Of instants, to the microsecond. Figures are texts in ISO 8601; differences are in seconds.

    Args:
        dates: the values are days.
        zone: what stands behind an instant: ``Z`` for UTC, nothing for local times.
    """

    def __init__(self, *, dates: bool = False, zone: str = ""):
        self._dates, self._zone = dates, zone
        self._micros = NumberSummary(whole=True)

    def add(self, values: pa.Array) -> None:
        micros = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
        self._micros.add_numbers(pc.cast(micros, pa.int64()).to_numpy())

    def merge(self, other: TimeSummary) -> None:
        self._micros.merge(other._micros)

    def figures(self) -> dict[str, Any]:
        found, seconds = self._micros.figures(), 1e-6
        stdev = found["stdev"]
        histogram = found["histogram"]
        return {
            "min": self._text(found["min"]),
            "max": self._text(found["max"]),
            "mean": self._text(found["mean"]),
            "stdev_s": None if stdev is None else stdev * seconds,
            "count_min": found["count_min"],
            "count_max": found["count_max"],
            "unique": found["unique"],
            "quantiles": {
                str(each): self._text(found["quantiles"][str(each)]) for each in QUANTILES if found["quantiles"]
            },
            "histogram": {"edges": [self._text(edge) for edge in histogram["edges"]], "counts": histogram["counts"]},
            "approximate": found["approximate"],
        }

    def _text(self, micros: float | None) -> str | None:
        if micros is None:
            return None
        instant = np.datetime64(round(micros), "us")
        if self._dates:
            return str(instant.astype("datetime64[D]"))
        return str(np.datetime_as_string(instant, "s" if round(micros) % 1_000_000 == 0 else "us")) + self._zone
