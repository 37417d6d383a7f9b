"""Mean and standard deviation per channel, from sums that can be merged in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROWS_AT_A_TIME = 32
"""Rows that stay in the processor's cache while they are summed."""


@dataclass
class ChannelSums:
    """Sums over the training rows.

    For uint8 the sums are integers, so that the result does not depend on how the rows were shared between tasks.

    Attributes:
        count: values a channel.
        total: sum of the values, one a channel.
        squares: sum of their squares, one a channel.
    """

    count: int
    total: list[int] | list[float]
    squares: list[int] | list[float]

    @classmethod
    def of(cls, rows: np.ndarray) -> ChannelSums:
        """Sums of rows of shape (n, channels, ...); one-dimensional rows have one channel a column."""
        flat = rows.reshape(len(rows), rows.shape[1], -1)
        axes = (0, 2)
        if rows.dtype == np.uint8:
            total = np.zeros(flat.shape[1], dtype=np.uint64)
            squares = np.zeros(flat.shape[1], dtype=np.uint64)
            for start in range(0, len(flat), _ROWS_AT_A_TIME):
                part = flat[start : start + _ROWS_AT_A_TIME]
                total += np.add.reduce(part, axis=2, dtype=np.uint64).sum(axis=0)
                # The square of a byte fits into 16 bits: that moves the least memory.
                squares += np.add.reduce(np.multiply(part, part, dtype=np.uint16), axis=2, dtype=np.uint64).sum(axis=0)
            return cls(flat.shape[0] * flat.shape[2], total.tolist(), squares.tolist())
        wide = flat.astype(np.float64)
        return cls(flat.shape[0] * flat.shape[2], wide.sum(axes).tolist(), (wide * wide).sum(axes).tolist())

    def __add__(self, other: ChannelSums) -> ChannelSums:
        return ChannelSums(
            self.count + other.count,
            [a + b for a, b in zip(self.total, other.total, strict=True)],
            [a + b for a, b in zip(self.squares, other.squares, strict=True)],
        )

    def mean_and_std(self, scale: float = 1.0) -> tuple[list[float], list[float]]:
        """Mean and population standard deviation of ``value * scale``, one a channel."""
        mean = [total / self.count for total in self.total]
        # E[x^2] - E[x]^2 over a common denominator: exact for integers before the one division.
        variance = [
            max(0.0, (square * self.count - total * total) / (self.count * self.count))
            for total, square in zip(self.total, self.squares)
        ]
        return [value * scale for value in mean], [value**0.5 * scale for value in variance]
