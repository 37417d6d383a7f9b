"""What every summary of a column's values can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pyarrow as pa


class Content(ABC):
    """Figures of the valid values of one column. Picklable: it travels from the tasks to the driver.

    Contract: parts that were added to summaries, which were then merged in any order, give the same figures as all
    values added to one (exactly where the figure is exact, to rounding for mean and variance).
    """

    @abstractmethod
    def add(self, values: pa.Array) -> None:
        """Take in values, none of which is null."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Take in what another summary of the same class holds; that one is not used any more afterwards."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """The figures: JSON values by name; ``approximate`` says of figures that are not exact by how much."""
