"""What an operation of a policy is.

Geometric operations give a matrix a row, see :mod:`firesteel.data.augmentation.geometry`; the others give parameters for
the function of their name in :mod:`firesteel.data.augmentation.pixels`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Shape = tuple[int, int, int]
"""(channels, height, width)."""


def bounded(least: float, most: float) -> Any:
    """The type of a range [lowest, highest] within bounds."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if not (all(map(math.isfinite, value)) and least <= value[0] <= value[1] <= most):
            raise ValueError(f"must be [lowest, highest] within {least:g} and {most:g}, got {list(value)}")
        return value

    return Annotated[tuple[float, float], AfterValidator(check)]


def between(u: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Numbers of the range, of numbers in [0, 1)."""
    return bounds[0] + u * (bounds[1] - bounds[0])


def choice(u: np.ndarray, count: int) -> np.ndarray:
    """int64 in 0 .. count - 1, of numbers in [0, 1)."""
    return (u * count).astype(np.int64)


class Operation(BaseModel, ABC):
    """One operation.

    Attributes:
        name: of the operation.
        probability: that it happens to a row.
        draws: uniform numbers that it takes for a row, besides the one that decides whether it happens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    draws: ClassVar[int] = 1

    name: str
    probability: float = Field(default=1.0, ge=0, le=1)


class Geometric(Operation):
    """An operation that moves pixels.

    Attributes:
        keeps_frame: whether its result shows exactly what the picture shows.
    """

    keeps_frame: ClassVar[bool] = False

    @abstractmethod
    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        """Where the result comes from: float64 of shape (rows, 3, 3).

        Args:
            u: uniform numbers in [0, 1), float64 of shape (rows, draws).
            shape: of a picture.
        """

    @property
    def outside(self) -> Literal["reflect", "edge", "black"] | None:
        """What lies outside of the picture; None if nothing of it is seen."""
        return None


class Photometric(Operation):
    """An operation that changes pixels where they are."""

    @abstractmethod
    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        """Arrays of shape (rows,) or (rows, ...) by name; arguments as for :meth:`Geometric.matrices`."""
