"""Generated pictures, as a preparation makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firesteel.data.augmentation.policy import Policy
from firesteel.data.augmentation.stages import draw
from firesteel.data.augmentation.streams import copy_keys


@dataclass(frozen=True)
class Original:
    """A picture: its id, and uint8 pixels of shape (channels, height, width)."""

    id: str
    pixels: np.ndarray


def generate(policy: Policy, copies: Sequence[tuple[Original, int]], seed: int) -> np.ndarray:
    """Generate pictures. Each depends on the policy, the seed, its original and its number alone.

    Args:
        policy: operations.
        copies: (original, number of the copy, from 1) of each; the originals are of one shape.
        seed: of the preparation.

    Returns:
        uint8 of shape (copies, channels, height, width).
    """
    import torch

    from firesteel.data.augmentation.apply import apply, as_bytes

    pixels = np.stack([original.pixels for original, _ in copies])
    keys = copy_keys(seed, [(original.id, number) for original, number in copies])
    return as_bytes(apply(draw(policy, keys, pixels.shape[1:]), torch.from_numpy(pixels)))


__all__ = ["Original", "generate"]
