"""Mean and standard deviation per channel, from sums that can be merged in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROWS_AT_A_TIME = 32
"""Rows that stay in the processor's cache while they are summed."""

_SUM_IN_16_BITS = 256
"""So many bytes sum up to less than 2**16."""


@dataclass
class ChannelSums:
    """Sums over the training rows.

    For uint8 the sums are integers, so that the result does not depend on how the rows were shared between tasks. For
    floating numbers the squares are those of the deviations from the mean, which stay exact where the mean is large
    against the deviation: coordinates, times, prices (Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm
    for computing sample variances", 1979, equation 2.1b).

    Attributes:
        count: values a channel.
        total: sum of the values, one a channel.
        squares: sum of their squares, or of those of their deviations, one a channel.
        centered: whether the squares are those of the deviations.
    """

    count: int
    total: list[int] | list[float]
    squares: list[int] | list[float]
    centered: bool = False

    @classmethod
    def of(cls, rows: np.ndarray) -> ChannelSums:
        """Sums of rows of shape (n, channels, ...); one-dimensional rows have one channel a column."""
        flat = rows.reshape(len(rows), rows.shape[1], -1)
        axes = (0, 2)
        if rows.dtype == np.uint8:
            total = np.zeros(flat.shape[1], dtype=np.uint64)
            squares = np.zeros(flat.shape[1], dtype=np.uint64)
            # Over the rows first, in numbers as short as hold the sums: that moves the least memory.
            for start in range(0, len(flat), _SUM_IN_16_BITS):
                block = flat[start : start + _SUM_IN_16_BITS]
                total += np.add.reduce(block, axis=0, dtype=np.uint16).sum(axis=1, dtype=np.uint64)
            for start in range(0, len(flat), _ROWS_AT_A_TIME):
                part = flat[start : start + _ROWS_AT_A_TIME]
                of_part = np.add.reduce(np.multiply(part, part, dtype=np.uint16), axis=0, dtype=np.uint32)
                squares += of_part.sum(axis=1, dtype=np.uint64)
            return cls(flat.shape[0] * flat.shape[2], total.tolist(), squares.tolist())
        wide = flat.astype(np.float64)
        count, total = flat.shape[0] * flat.shape[2], wide.sum(axes)
        centered = rows.dtype.kind == "f"
        wide -= (total / count if centered else np.zeros_like(total))[:, None]
        return cls(count, total.tolist(), (wide * wide).sum(axes).tolist(), centered)

    def __add__(self, other: ChannelSums) -> ChannelSums:
        count = self.count + other.count
        squares = [a + b for a, b in zip(self.squares, other.squares, strict=True)]
        if self.centered:
            weight = self.count * other.count / count
            apart = [a / self.count - b / other.count for a, b in zip(self.total, other.total)]
            squares = [square + difference * difference * weight for square, difference in zip(squares, apart)]
        return ChannelSums(count, [a + b for a, b in zip(self.total, other.total, strict=True)], squares, self.centered)

    def mean_and_std(self, scale: float = 1.0) -> tuple[list[float], list[float]]:
        """Mean and population standard deviation of ``value * scale``, one a channel."""
        mean = [total / self.count for total in self.total]
        if self.centered:
            return [value * scale for value in mean], [(square / self.count) ** 0.5 * scale for square in self.squares]
        # E[x^2] - E[x]^2 over a common denominator: exact for integers before the one division.
        variance = [
            max(0.0, (square * self.count - total * total) / (self.count * self.count))
            for total, square in zip(self.total, self.squares)
        ]
        return [value * scale for value in mean], [value**0.5 * scale for value in variance]
