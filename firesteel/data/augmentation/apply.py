"""Stages applied to batches of pictures, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from firesteel.data.augmentation.pixels import PIXELS
from firesteel.data.augmentation.stages import Change, Stage, Warp

_PADDING = {"reflect": "reflection", "edge": "border", "black": "zeros"}


@torch.no_grad()
def apply(stages: Sequence[Stage], images: Tensor) -> Tensor:
    """Augment a batch.

    Args:
        stages: see :func:`firesteel.data.augmentation.draw`.
        images: of shape (B, C, H, W), C of 1 or 3, values 0 to 255 of any dtype. Not changed.

    Returns:
        float32 of the same shape, values 0 to 255. A row's result does not depend on the others in its batch.
    """
    images = images.to(torch.float32, copy=True)
    for stage in stages:
        rows = torch.from_numpy(stage.rows).to(images.device, non_blocking=True)
        chosen = images if len(rows) == len(images) else images.index_select(0, rows)
        changed = _warped(stage, chosen) if isinstance(stage, Warp) else _changed(stage, chosen)
        images = changed if len(rows) == len(images) else images.index_copy_(0, rows, changed)
    return images


def as_bytes(images: Tensor) -> np.ndarray:
    """Augmented pictures as uint8, rounded to the nearest."""
    return images.round().to(torch.uint8).cpu().numpy()


def _warped(stage: Warp, images: Tensor) -> Tensor:
    grid = _grid(torch.from_numpy(stage.matrices).to(images.device, non_blocking=True), *images.shape[2:])
    warped = F.grid_sample(
        images, grid, mode=stage.interpolation, padding_mode=_PADDING[stage.outside], align_corners=False
    )
    return warped.clamp_(0, 255) if stage.interpolation == "bicubic" else warped


def _grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel comes from: (B, 3, 3) -> (B, height, width, 2).

    Sums of products, not a product of matrices: the bits of that depend on how many rows are in the batch.
    """
    x = ((2.0 * torch.arange(width, device=matrices.device) + 1.0) / width - 1.0)[None, None, :]
    y = ((2.0 * torch.arange(height, device=matrices.device) + 1.0) / height - 1.0)[None, :, None]
    m = matrices.reshape(-1, 9, 1, 1)
    depth = m[:, 6] * x + m[:, 7] * y + m[:, 8]
    return torch.stack(
        [(m[:, 0] * x + m[:, 1] * y + m[:, 2]) / depth, (m[:, 3] * x + m[:, 4] * y + m[:, 5]) / depth], dim=3
    )


def _changed(stage: Change, images: Tensor) -> Tensor:
    parameters = {
        name: torch.from_numpy(np.asarray(value, np.int64 if value.dtype.kind == "i" else np.float32)).to(
            images.device, non_blocking=True
        )
        for name, value in stage.parameters.items()
    }
    return PIXELS[stage.name](images, **parameters).clamp_(0, 255)
