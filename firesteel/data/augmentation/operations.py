"""The operations of a policy by name."""

from __future__ import annotations

from firesteel.data.augmentation.geometric import Crop, Flip, ResizedCrop, Rotate, Rotate90, Shear, Skew, Zoom
from firesteel.data.augmentation.operation import Operation
from firesteel.data.augmentation.photometric import (
    Blur,
    Brightness,
    ColorJitter,
    Contrast,
    Erase,
    Grey,
    Hue,
    Noise,
    Saturation,
)

_ALL: tuple[type[Operation], ...] = (
    Flip, Rotate90, Rotate, Shear, Skew, Zoom, Crop, ResizedCrop, Brightness, Contrast, Saturation, Hue, ColorJitter,
    Grey, Blur, Noise, Erase,
)  # fmt: skip

OPERATIONS: dict[str, type[Operation]] = {each.model_fields["name"].default: each for each in _ALL}
"""By name."""
