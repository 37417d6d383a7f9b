"""Metrics and conditions of a user's own, good and bad, for tests that name them as ``tests.metrics:NAME``."""

from __future__ import annotations

from typing import Any

import numpy as np

from firesteel.evaluation.counts import Evaluation
from firesteel.training.conditions import Record


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


def at_loss(record: Record, loss: float) -> str | None:
    """A condition with a sentence."""
    if record.training_loss is not None and record.training_loss <= loss:
        return f"the loss is {record.training_loss}, low enough"
    return None


def after_evaluations(record: Record, number: int = 2) -> np.bool_:
    """A condition that looks at the history, and answers as numpy does."""
    return np.bool_(len(record.history) >= number)


def careless(record: Record) -> bool:
    """A condition that forgets that there is no evaluation at first."""
    return record.history[-1].scores["loss"] < 0.1


def counting(record: Record) -> int:
    """A condition that answers something else."""
    return record.step
