"""Random numbers that are functions of a key: the same however rows are shared between batches, tasks and workers.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): number n of stream k is
mix(k + n * gamma). It needs no state, and a batch of streams is a handful of array operations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_DRAWS_PER_OPERATION = 64


def copy_keys(seed: int, copies: Iterable[tuple[str, int]]) -> np.ndarray:
    """Keys of generated pictures.

    Args:
        seed: of the preparation.
        copies: (id of the original, number of the copy) of each.

    Returns:
        uint64 of shape (copies,).
    """
    digests = [
        hashlib.md5(f"{seed}:{row_id}+{number}".encode(), usedforsecurity=False).digest()[:8]
        for row_id, number in copies
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def step_keys(seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """Keys of the rows of one step of a training.

    Args:
        seed: of the job.
        epoch: from 0.
        places: int64 of shape (rows,): where in the order of the epoch each row comes, over all workers.

    Returns:
        uint64 of shape (rows,).
    """
    state = _mixed(_mixed(np.array([seed], np.uint64) + _GAMMA) + np.uint64(epoch))
    return _mixed(state + places.astype(np.uint64) * _GAMMA)


def uniforms(keys: np.ndarray, operation: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for one operation of a policy.

    Args:
        keys: uint64 of shape (rows,).
        operation: its position in the policy.
        count: of the numbers, at most 64.

    Returns:
        float64 of shape (rows, count).
    """
    assert count <= _DRAWS_PER_OPERATION, "an operation would take the numbers of the next one"
    numbers = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(operation * _DRAWS_PER_OPERATION)
    return (_mixed(keys[:, None] + numbers * _GAMMA) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
