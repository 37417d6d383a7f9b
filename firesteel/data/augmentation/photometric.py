"""Operations that change pixels where they are: names, ranges, and the parameters of rows."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from firesteel.data.augmentation.operation import Photometric, Shape, between, bounded


class Brightness(Photometric):
    """Multiplies by a ``factor``: 0 is black, 1 leaves the picture as it is."""

    name: Literal["brightness"] = "brightness"
    factor: bounded(0, 8) = (0.8, 1.2)  # type: ignore[valid-type]

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        return {"factor": between(u[:, 0], self.factor)}


class Contrast(Brightness):
    """Moves pixels away from the picture's mean grey by a ``factor``: 0 is plain grey, 1 leaves it as it is."""

    name: Literal["contrast"] = "contrast"  # type: ignore[assignment]


class Saturation(Brightness):
    """Moves pixels away from their own grey by a ``factor``: 0 is a grey picture. Grey pictures stay as they are."""

    name: Literal["saturation"] = "saturation"  # type: ignore[assignment]


class Hue(Photometric):
    """Turns the colour circle by ``degrees`` (of 360). Grey pictures stay as they are."""

    name: Literal["hue"] = "hue"
    degrees: bounded(-180, 180) = (-18.0, 18.0)  # type: ignore[valid-type]

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        return {"degrees": between(u[:, 0], self.degrees)}


class ColorJitter(Photometric):
    """Brightness, contrast, saturation and hue, one after the other in this order (torchvision: in random order)."""

    draws: ClassVar[int] = 4
    name: Literal["color_jitter"] = "color_jitter"
    brightness: bounded(0, 8) = (0.8, 1.2)  # type: ignore[valid-type]
    contrast: bounded(0, 8) = (0.8, 1.2)  # type: ignore[valid-type]
    saturation: bounded(0, 8) = (0.8, 1.2)  # type: ignore[valid-type]
    hue: bounded(-180, 180) = (-18.0, 18.0)  # type: ignore[valid-type]

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        names = ("brightness", "contrast", "saturation", "hue")
        return {name: between(u[:, number], getattr(self, name)) for number, name in enumerate(names)}


class Grey(Photometric):
    """Takes the colour away; the picture keeps its channels."""

    name: Literal["grey"] = "grey"
    probability: float = Field(default=0.2, ge=0, le=1)

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        return {"factor": np.zeros(len(u))}


class Blur(Photometric):
    """A Gaussian of standard deviation ``sigma`` in pixels."""

    name: Literal["blur"] = "blur"
    sigma: bounded(0.05, 16) = (0.1, 1.5)  # type: ignore[valid-type]

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        radius = math.ceil(3 * self.sigma[1])
        offsets = np.arange(-radius, radius + 1)
        kernels = np.exp(-0.5 * (offsets / between(u[:, 0], self.sigma)[:, None]) ** 2)
        return {"kernel": kernels / kernels.sum(axis=1, keepdims=True)}


class Noise(Photometric):
    """Adds to each value a normal number of this ``deviation``, as a share of white."""

    draws: ClassVar[int] = 2
    name: Literal["noise"] = "noise"
    deviation: bounded(0, 1) = (0.0, 0.05)  # type: ignore[valid-type]

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        scale = 255.0 * between(u[:, 0], self.deviation)
        return {"noise": _normals(u[:, 1], shape) * scale[:, None, None, None].astype(np.float32)}


class Erase(Photometric):
    """Covers a rectangle of this share of the ``area``, with ``noise``, ``grey`` or ``black``.

    Zhong et al., "Random erasing data augmentation" (arXiv 1708.04896). A rectangle that would not fit is cut to the frame.
    """

    draws: ClassVar[int] = 5
    name: Literal["erase"] = "erase"
    probability: float = Field(default=0.5, ge=0, le=1)
    area: bounded(0.001, 1) = (0.02, 0.2)  # type: ignore[valid-type]
    ratio: bounded(0.05, 20) = (0.3, 3.3)  # type: ignore[valid-type]
    fill: Literal["noise", "grey", "black"] = "noise"

    def parameters(self, u: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
        _, height, width = shape
        area = between(u[:, 0], self.area) * height * width
        ratio = np.exp(between(u[:, 1], tuple(np.log(self.ratio))))
        high = np.clip(np.rint(np.sqrt(area / ratio)), 1, height).astype(np.int64)
        wide = np.clip(np.rint(np.sqrt(area * ratio)), 1, width).astype(np.int64)
        top, left = (u[:, 2] * (height - high + 1)).astype(np.int64), (u[:, 3] * (width - wide + 1)).astype(np.int64)
        box = np.stack([top, top + high, left, left + wide], axis=1)
        if self.fill == "noise":
            return {"box": box, "fill": (_normals(u[:, 4], shape) * 64 + 128).clip(0, 255)}
        return {"box": box, "fill": np.full((len(u), 1, 1, 1), 128.0 if self.fill == "grey" else 0.0, np.float32)}


def _normals(u: np.ndarray, shape: Shape) -> np.ndarray:
    """float32 of shape (rows, *shape), of a generator for each row."""
    return np.stack([np.random.default_rng(int(each * 2**53)).standard_normal(shape, np.float32) for each in u])
