"""Operations that move pixels: names, ranges, and the matrices of rows."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from firesteel.data.augmentation import geometry
from firesteel.data.augmentation.operation import Geometric, Shape, between, bounded, choice

Border = Literal["crop", "reflect", "edge", "black"]


class _Bordered(Geometric):
    """A geometric operation by which the frame's corners would show what lies outside.

    Attributes:
        border: ``crop`` enlarges the picture until nothing from outside is seen, as Augmentor does; ``reflect``,
            ``edge`` and ``black`` say what is seen there.
    """

    border: Border = "crop"

    @property
    def outside(self) -> Literal["reflect", "edge", "black"] | None:
        return None if self.border == "crop" else self.border

    def _framed(self, matrices: np.ndarray) -> np.ndarray:
        return geometry.fitted(matrices) if self.border == "crop" else matrices


class Flip(Geometric):
    """Mirrors: left and right (``horizontal``), top and bottom (``vertical``), or one of the two (``random``)."""

    keeps_frame: ClassVar[bool] = True
    name: Literal["flip"] = "flip"
    axis: Literal["random", "horizontal", "vertical"] = "random"

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        horizontal = u[:, 0] < {"random": 0.5, "horizontal": 1.0, "vertical": 0.0}[self.axis]
        return geometry.mirror(np.where(horizontal, -1.0, 1.0), np.where(horizontal, 1.0, -1.0))


class Rotate90(Geometric):
    """Turns anticlockwise by one of ``degrees``, exactly; a picture that is not square is squeezed into its frame."""

    keeps_frame: ClassVar[bool] = True
    name: Literal["rotate90"] = "rotate90"
    degrees: tuple[Literal[90, 180, 270], ...] = Field(default=(90, 180, 270), min_length=1)

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        return geometry.turn(np.array(self.degrees)[choice(u[:, 0], len(self.degrees))] // 90)


class Rotate(_Bordered):
    """Turns by ``degrees`` from a range, anticlockwise where they are positive."""

    name: Literal["rotate"] = "rotate"
    degrees: bounded(-180, 180) = (-10.0, 10.0)  # type: ignore[valid-type]

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        return self._framed(geometry.rotation(between(u[:, 0], self.degrees), *shape[1:]))


class Shear(_Bordered):
    """Slides rows along x or columns along y (``axis``), by an angle of ``degrees``."""

    draws: ClassVar[int] = 2
    name: Literal["shear"] = "shear"
    degrees: bounded(-45, 45) = (-5.0, 5.0)  # type: ignore[valid-type]
    axis: Literal["random", "x", "y"] = "random"

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        along_x = u[:, 1] < {"random": 0.5, "x": 1.0, "y": 0.0}[self.axis]
        return self._framed(geometry.shear(between(u[:, 0], self.degrees), along_x, *shape[1:]))


class Skew(Geometric):
    """Perspective: one edge is stretched to both sides (a tilt), or one corner pulled out along x or y.

    Corners move outwards by up to ``magnitude`` of the longer edge, so that nothing from outside is seen. ``direction``
    random takes tilt, tilt_left_right, tilt_top_bottom and corner equally often, as Augmentor's ``skew``.
    """

    draws: ClassVar[int] = 3
    name: Literal["skew"] = "skew"
    magnitude: float = Field(default=1.0, gt=0, le=1)
    direction: Literal["random", "tilt", "tilt_left_right", "tilt_top_bottom", "corner"] = "random"

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        kinds = ["tilt", "tilt_left_right", "tilt_top_bottom", "corner"]
        kind = choice(u[:, 0], 4) if self.direction == "random" else np.full(len(u), kinds.index(self.direction))
        first, count = np.array([0, 0, 2, 4])[kind], np.array([4, 2, 2, 8])[kind]
        directions = _SKEWS[first + (u[:, 1] * count).astype(np.int64)]
        amount = (1.0 - u[:, 2]) * self.magnitude * max(shape[1:])  # pixels, never 0
        per_axis = 2.0 * amount[:, None] / np.array([shape[2], shape[1]])
        return geometry.perspective(geometry.stretched(directions * per_axis[:, None, :]))


def _skews() -> np.ndarray:
    """int of shape (12, 4, 2): which corners move which way; four tilts (left, right, top, bottom), then eight corners."""
    tilts = np.zeros((4, 4, 2))
    for number, (corners, axis) in enumerate([((0, 3), 1), ((1, 2), 1), ((0, 1), 0), ((2, 3), 0)]):
        tilts[number, list(corners), axis] = geometry.stretched(np.zeros((4, 2)))[list(corners), axis]
    pulls = np.zeros((8, 4, 2))
    for number in range(8):
        corner, axis = divmod(number, 2)
        pulls[number, corner, axis] = geometry.stretched(np.zeros((4, 2)))[corner, axis]
    return np.concatenate([tilts, pulls])


_SKEWS = _skews()


class Zoom(Geometric):
    """Enlarges by a ``factor`` around the centre, or around a point at random (``at``)."""

    draws: ClassVar[int] = 3
    name: Literal["zoom"] = "zoom"
    factor: bounded(1, 16) = (1.0, 1.6)  # type: ignore[valid-type]
    at: Literal["center", "random"] = "center"

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        part = 1.0 / between(u[:, 0], self.factor)
        centre = (2.0 * u[:, 1:] - 1.0) * (1.0 - part)[:, None] * (self.at == "random")
        return geometry.window(part, part, centre[:, 0], centre[:, 1])


class Crop(Geometric):
    """Adds ``padding`` pixels on each side and cuts out a frame of the old size at random; whole pixels."""

    draws: ClassVar[int] = 2
    name: Literal["crop"] = "crop"
    padding: int = Field(default=4, ge=1, le=1024)
    border: Literal["reflect", "edge", "black"] = "reflect"

    @property
    def outside(self) -> Literal["reflect", "edge", "black"] | None:
        return self.border

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        shift = choice(u, 2 * self.padding + 1) - self.padding
        ones = np.ones(len(u))
        return geometry.window(ones, ones, 2.0 * shift[:, 0] / shape[2], 2.0 * shift[:, 1] / shape[1])


class ResizedCrop(Geometric):
    """Cuts out a part of this share of the ``area`` and this ``ratio`` of width to height, enlarged to the frame.

    As "Going deeper with convolutions" (arXiv 1409.4842), the usual augmentation of ImageNet. A part that would be wider
    or higher than the picture is cut to it.
    """

    draws: ClassVar[int] = 4
    name: Literal["resized_crop"] = "resized_crop"
    area: bounded(0.01, 1) = (0.25, 1.0)  # type: ignore[valid-type]
    ratio: bounded(0.1, 10) = (0.75, 4 / 3)  # type: ignore[valid-type]

    def matrices(self, u: np.ndarray, shape: Shape) -> np.ndarray:
        area, ratio = between(u[:, 0], self.area), np.exp(between(u[:, 1], tuple(np.log(self.ratio))))
        square = shape[1] / shape[2]  # the ratio is one of pixels
        width, height = np.minimum(np.sqrt(area * ratio * square), 1.0), np.minimum(np.sqrt(area / ratio / square), 1.0)
        return geometry.window(width, height, (2 * u[:, 2] - 1) * (1 - width), (2 * u[:, 3] - 1) * (1 - height))
