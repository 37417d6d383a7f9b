"""Metrics and conditions of a user's own, good and bad, for tests that name them as ``tests.metrics:NAME``."""

from __future__ import annotations

from typing import Any

import numpy as np

from firesteel.evaluation.counts import Evaluation


def geometric_mean(evaluation: Evaluation) -> float:
    """The geometric mean of the classes' recalls."""
    return float(np.prod([entry.recall for entry in evaluation.classes]) ** (1 / len(evaluation.classes)))


def error_rate(evaluation: Evaluation) -> np.floating[Any]:
    """The share of wrong rows, as numpy gives it."""
    return np.float32(1 - evaluation.accuracy)


def raising(evaluation: Evaluation) -> float:
    """A metric that cannot be computed."""
    return evaluation.rows / 0


def wordy(evaluation: Evaluation) -> str:
    """A metric of another kind."""
    return "good"


NUMBER = 3
