"""What the exporters of all formats have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from firesteel.errors import ModelError
from firesteel.inference.exporters.network import WholeNetwork

Run = Callable[[np.ndarray], np.ndarray]
"""Raw rows (B, *shape) -> float32 (B, K)."""

EXAMPLE_ROWS = 3
"""Of what a network is traced with: 0, 1 and 2 may be special sizes."""


class Exporter(ABC):
    """One format.

    Attributes:
        name: of the format.
        suffixes: that files have; the first is the usual one.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def check(self) -> None:
        """Raise ResourceError if a package is missing."""

    @abstractmethod
    def write(self, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str) -> None:
        """Write a file.

        Args:
            network: to export.
            example: (EXAMPLE_ROWS, *shape) of the input's dtype.
            about: JSON values, kept in the file: labels, input, output, preparation.
            path: local.

        Raises:
            ModelError: if the network cannot be represented.
        """

    @abstractmethod
    def load(self, path: str, network: WholeNetwork) -> Run:
        """What the file gives, read again by what others read it with."""


def not_exportable(name: str, error: Exception) -> ModelError:
    """What a tracer says of a network that it cannot follow, as one of ours."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelError(
        f"the network cannot be exported as {name}: {type(error).__name__}: {first[:300]}\n"
        "Its forward must be of tensor operations alone, for any number of rows; safetensors takes every network's weights."
    )


__all__ = ["EXAMPLE_ROWS", "Exporter", "Run", "not_exportable"]
