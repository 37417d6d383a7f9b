"""Count, mean and sum of squared deviations, of parts that are merged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Of some numbers.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979. Sums
    of squares, which lose all digits where the mean is large beside the deviation, are never formed.

    Attributes:
        count: of the numbers.
        mean: of them; 0 if there are none.
        squares: sum of the squared deviations from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Of finite numbers of shape (n,)."""
        if not len(values):
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean(dtype=np.float64))
            deviations = values - mean
            return cls(len(values), mean, float(np.dot(deviations, deviations)))

    def __add__(self, other: Moments) -> Moments:
        if not self.count or not other.count:
            return self if self.count else other
        count, distance = self.count + other.count, other.mean - self.mean
        mean = self.mean + distance * (other.count / count)
        between = distance * distance * (self.count * (other.count / count))
        return Moments(count, mean, self.squares + other.squares + between)

    @property
    def variance(self) -> float | None:
        """Of the sample (n - 1); None for fewer than two numbers."""
        return self.squares / (self.count - 1) if self.count > 1 else None

    @property
    def stdev(self) -> float | None:
        """Of the sample (n - 1); None for fewer than two numbers."""
        return None if self.variance is None else self.variance**0.5
