"""What happens to each row of a batch: numbers drawn for a policy, independent of the batch that a row is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from firesteel.data.augmentation.operation import Geometric, Photometric, Shape
from firesteel.data.augmentation.policy import Policy
from firesteel.data.augmentation.streams import uniforms


@dataclass(frozen=True)
class Warp:
    """Geometric operations, as one: each pixel is interpolated once, however many operations there are.

    Attributes:
        rows: int64 of shape (k,): positions in the batch of the rows that change.
        matrices: float32 of shape (k, 3, 3), see :mod:`firesteel.data.augmentation.geometry`.
        outside: what is seen outside of the picture.
        interpolation: of the policy.
    """

    rows: np.ndarray
    matrices: np.ndarray
    outside: Literal["reflect", "edge", "black"]
    interpolation: Literal["bilinear", "bicubic", "nearest"]


@dataclass(frozen=True)
class Change:
    """One operation on pixels.

    Attributes:
        name: of the operation.
        rows: int64 of shape (k,): positions in the batch of the rows that change.
        parameters: arrays of shape (k, ...) by name.
    """

    name: str
    rows: np.ndarray
    parameters: dict[str, np.ndarray]


Stage = Warp | Change


def draw(policy: Policy, keys: np.ndarray, shape: Shape) -> list[Stage]:
    """What the policy does to each row.

    Args:
        policy: operations in order.
        keys: of the rows, uint64 of shape (rows,), see :mod:`firesteel.data.augmentation.streams`.
        shape: of a row.

    Returns:
        stages in order. What happens to a row depends on the policy, its key and the shape alone.
    """
    stages: list[Stage] = []
    pending: _Pending | None = None
    for number, operation in enumerate(policy.operations):
        u = uniforms(keys, number, 1 + operation.draws)
        rows = np.flatnonzero(u[:, 0] < operation.probability)
        if isinstance(operation, Geometric):
            # Also where no row of this batch wants it: into which warp the next operation goes must not depend on a batch.
            if pending is not None and not pending.takes(operation):
                stages += pending.stages(policy)
                pending = None
            pending = pending or _Pending(len(keys))
            pending.add(operation, rows, operation.matrices(u[rows, 1:], shape))
        elif isinstance(operation, Photometric):
            stages += pending.stages(policy) if pending is not None else []
            pending = None
            if len(rows):
                stages.append(Change(operation.name, rows, operation.parameters(u[rows, 1:], shape)))
    return stages + (pending.stages(policy) if pending is not None else [])


class _Pending:
    """Geometric operations that are to become one warp."""

    def __init__(self, rows: int):
        self._matrices = np.tile(np.eye(3), (rows, 1, 1))
        self._touched = np.zeros(rows, dtype=bool)
        self._outside: Literal["reflect", "edge", "black"] | None = None
        self._frame_kept = True

    def takes(self, operation: Geometric) -> bool:
        """What lies outside of the frame for the operation must be what lies outside of the picture."""
        return operation.outside is None or self._frame_kept

    def add(self, operation: Geometric, rows: np.ndarray, matrices: np.ndarray) -> None:
        self._outside = self._outside or operation.outside
        self._frame_kept = self._frame_kept and operation.keeps_frame
        self._matrices[rows] = self._matrices[rows] @ matrices
        self._touched[rows] = True

    def stages(self, policy: Policy) -> list[Stage]:
        rows = np.flatnonzero(self._touched)
        if not len(rows):
            return []
        return [Warp(rows, self._matrices[rows].astype(np.float32), self._outside or "edge", policy.interpolation)]
