"""Counts that workers can add up, and the metrics made of their sum.

Metrics come from summed counts only: the mean of batch means is wrong as soon as batches differ in size. Formulas are
those of scikit-learn 1.x (``precision_recall_fscore_support(average="macro", zero_division=0)``): a class that is
neither present nor predicted does not take part in the mean, a class without a prediction has precision 0, a class
without a row has recall 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class ClassificationCounts:
    """What is counted over rows. Add two to merge them.

    Attributes:
        confusion: int64 of shape (K, K); rows are true classes, columns predicted ones.
        top5: rows whose class is among the five most probable (or among all, if there are fewer).
        loss_sum: sum of the rows' losses.
    """

    confusion: np.ndarray
    top5: int = 0
    loss_sum: float = 0.0

    @classmethod
    def zero(cls, num_classes: int) -> ClassificationCounts:
        return cls(np.zeros((num_classes, num_classes), dtype=np.int64))

    def __add__(self, other: ClassificationCounts) -> ClassificationCounts:
        return ClassificationCounts(
            self.confusion + other.confusion, self.top5 + other.top5, self.loss_sum + other.loss_sum
        )

    @property
    def rows(self) -> int:
        return int(self.confusion.sum())

    def to_json(self) -> dict[str, Any]:
        """Sparse: only cells that are not 0, for thousands of classes."""
        true, predicted = np.nonzero(self.confusion)
        return {
            "classes": len(self.confusion),
            "cells": [true.tolist(), predicted.tolist(), self.confusion[true, predicted].tolist()],
            "top5": self.top5,
            "loss_sum": self.loss_sum,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ClassificationCounts:
        counts = cls.zero(value["classes"])
        true, predicted, cells = value["cells"]
        counts.confusion[true, predicted] = cells
        counts.top5, counts.loss_sum = value["top5"], value["loss_sum"]
        return counts


@dataclass(frozen=True)
class ClassMetrics:
    """One class: its name, rows (support), and how well it was found; None for a class without rows and predictions."""

    label: str
    rows: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a split.

    Attributes:
        rows: evaluated.
        loss: mean cross-entropy.
        accuracy: share of rows whose most probable class is theirs.
        top5: share of rows whose class is among the five most probable.
        precision, recall, f1: macro means over the classes that are present or predicted.
        classes: one entry a class, in label order.
        confusion: int64 of shape (K, K); rows are true classes, columns predicted ones.
    """

    rows: int
    loss: float
    accuracy: float
    top5: float
    precision: float
    recall: float
    f1: float
    classes: list[ClassMetrics]
    confusion: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel evaluate --json`` prints."""
        return {
            "rows": self.rows,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "top5": self.top5,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "classes": [vars(entry) for entry in self.classes],
            "confusion": self.confusion.tolist(),
        }


def metrics_of(counts: ClassificationCounts, labels: list[str]) -> Evaluation:
    """Turn summed counts into metrics. There must be at least one row."""
    confusion, rows = counts.confusion, counts.rows
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    taking_part = (support + predicted) > 0
    classes = [
        ClassMetrics(label, int(n), int(p), float(pr), float(rc), float(f))
        for label, n, p, pr, rc, f in zip(labels, support, predicted, precision, recall, f1)
    ]
    return Evaluation(
        rows=rows,
        loss=counts.loss_sum / rows,
        accuracy=float(hits.sum() / rows),
        top5=counts.top5 / rows,
        precision=float(precision[taking_part].mean()),
        recall=float(recall[taking_part].mean()),
        f1=float(f1[taking_part].mean()),
        classes=classes,
        confusion=confusion,
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part), dtype=np.float64), where=whole > 0)
