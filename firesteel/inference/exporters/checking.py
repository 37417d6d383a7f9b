"""Does an exported file give what the network gives? And what does a quantised one lose?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch

from firesteel.errors import ModelError
from firesteel.inference.exporters.base import Run
from firesteel.inference.exporters.network import WholeNetwork
from firesteel.inference.exporters.rows import Rows

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest; other kernels sum in another order."""
_AT_A_TIME = 32
_SIZES = (1, 2, _AT_A_TIME)
"""Of the batches that are tried in any case."""


@dataclass(frozen=True)
class Check:
    """What came out on the same rows.

    Attributes:
        rows: how many.
        origin: where they are from.
        difference: largest of an output, relative to the largest output.
        agreement: share of the rows whose most probable class is the same.
        accuracy: of the network; None where classes are not known.
        exported_accuracy: of the file.
    """

    rows: int
    origin: str
    difference: float
    agreement: float
    accuracy: float | None
    exported_accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(network: WholeNetwork, run: Run, rows: Rows, dtype: str) -> Check:
    """Give both the same rows: one alone, two, and batches of 32, for which rows are repeated where there are few.

    Raises:
        ModelError: if the file cannot be run on them, or its results are no numbers of the right shape.
    """
    expected, found = [], []
    for batch in _batches(np.resize(rows.values, (max(len(rows), sum(_SIZES)), *rows.values.shape[1:])).astype(dtype)):
        with torch.inference_mode():
            expected.append(network(torch.from_numpy(batch)).numpy())
        try:
            result = run(batch)
        except Exception as error:  # of whatever runtime
            first = str(error).strip().splitlines()[:1]
            raise ModelError(f"the exported file cannot take {len(batch)} rows: {' '.join(first)[:300]}") from error
        if result.shape != expected[-1].shape or not np.isfinite(result).all():
            raise ModelError(f"the exported file gives {result.shape} with NaN or infinity, or of another shape.")
        found.append(result)
    return _compared(np.concatenate(expected), np.concatenate(found), rows)


def _compared(expected: np.ndarray, found: np.ndarray, rows: Rows) -> Check:
    difference = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-6))
    best, also = expected[: len(rows)].argmax(1), found[: len(rows)].argmax(1)
    accuracy = [None if rows.labels is None else float((each == rows.labels).mean()) for each in (best, also)]
    return Check(len(rows), rows.origin, difference, float((best == also).mean()), accuracy[0], accuracy[1])


def refuse_other_results(check: Check) -> None:
    """Raise ModelError if the file does not compute what the network does."""
    if not check.difference <= TOLERANCE:
        raise ModelError(
            f"the exported file gives other results than the network, by {check.difference:.2g} of the largest"
            f" ({TOLERANCE:g} is allowed), on {check.origin}. Nothing was written.\n"
            "Its forward may depend on values or on the size of the batch, which tracing does not see."
        )


def seconds_per_row(run: Run, rows: np.ndarray, *, at_least_s: float = 1.0) -> float:
    """Fastest of several passes over at most 32 rows."""
    batch, fastest, until = rows[:_AT_A_TIME], float("inf"), time.perf_counter() + at_least_s
    run(batch)
    while time.perf_counter() < until or fastest == float("inf"):
        began = time.perf_counter()
        run(batch)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest / len(batch)


def _batches(values: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for size in chain(_SIZES, repeat(_AT_A_TIME)):
        if start >= len(values):
            return
        yield values[start : start + size]
        start += size


__all__ = ["TOLERANCE", "Check", "compare", "refuse_other_results", "seconds_per_row"]
