"""What prediction gives: classes of a row, and what became of each of many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one row, the most probable first.

    Attributes:
        labels: class names.
        probabilities: of the same classes.
    """

    labels: list[str]
    probabilities: list[float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]


@dataclass(frozen=True)
class Outcome:
    """What became of one picture, or of one row of a table.

    Attributes:
        place: of a picture its name (:class:`firesteel.inference.pictures.Picture`); of a row ``rows.csv:12`` (the number of
            the line, from 1), ``rows.parquet:row 12``, or ``row 12``.
        prediction: None if it cannot be used.
        problem: why it cannot; else None.
    """

    place: str
    prediction: Prediction | None
    problem: str | None


@dataclass(frozen=True)
class Embedded:
    """What became of one picture whose feature vector was wanted.

    Attributes:
        place: its name.
        vector: float32 of shape (F,); None if the picture cannot be used.
        problem: why it cannot; else None.
    """

    place: str
    vector: np.ndarray | None
    problem: str | None


__all__ = ["Embedded", "Outcome", "Prediction"]
