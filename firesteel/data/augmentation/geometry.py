"""Plane transforms as 3x3 matrices that say where each point of the result comes from.

Coordinates are (x, y) of the frame, -1 and 1 at its edges, y downwards. A matrix maps a point of the result to the point of
the picture that it shows, so that ``first @ second`` is ``first`` done before ``second``. All functions take one number a
row and give float64 of shape (rows, 3, 3).
"""

from __future__ import annotations

import numpy as np

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
"""Top left, top right, bottom right, bottom left."""


def linear(xx: np.ndarray, xy: np.ndarray, yx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """x = xx * x' + xy * y', y = yx * x' + yy * y'; numbers or one a row."""
    xx, xy, yx, yy = np.broadcast_arrays(xx, xy, yx, yy)
    matrices = np.zeros((len(xx), 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = xx, xy, yx, yy
    matrices[:, 2, 2] = 1.0
    return matrices


def window(width: np.ndarray, height: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The result shows the part of the picture of this width and height (1: all of it) around (x, y)."""
    matrices = linear(width, np.zeros(len(x)), np.zeros(len(x)), height)
    matrices[:, 0, 2], matrices[:, 1, 2] = x, y
    return matrices


def mirror(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-1 mirrors in a direction, 1 does not."""
    return linear(x, np.zeros(len(x)), np.zeros(len(x)), y)


def turn(quarters: np.ndarray) -> np.ndarray:
    """Anticlockwise by quarters; a picture that is not square is squeezed into its frame."""
    cos, sin = np.array([1.0, 0.0, -1.0, 0.0])[quarters], np.array([0.0, 1.0, 0.0, -1.0])[quarters]
    return linear(cos, -sin, sin, cos)


def rotation(degrees: np.ndarray, height: int, width: int) -> np.ndarray:
    """Anticlockwise around the centre, as Pillow's ``Image.rotate``."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return linear(cos, -sin * (height / width), sin * (width / height), cos)


def shear(degrees: np.ndarray, along_x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows of pixels slide along x by tan(degrees) a pixel of height, or columns along y."""
    slope = np.tan(np.radians(degrees))
    across = np.where(along_x, slope * (height / width), 0.0)
    down = np.where(along_x, 0.0, slope * (width / height))
    return linear(np.ones(len(slope)), across, down, np.ones(len(slope)))


def perspective(corners: np.ndarray) -> np.ndarray:
    """The picture's corners come to lie at ``corners``.

    Args:
        corners: float64 of shape (rows, 4, 2), in the order top left, top right, bottom right, bottom left.
    """
    # Eight equations for eight numbers a row, the ninth is 1: Heckbert, "Fundamentals of texture mapping", 1989, 2.2.3.
    x, y = corners[..., 0], corners[..., 1]
    equations = np.zeros((len(corners), 8, 8))
    for target, offset in ((0, 0), (1, 3)):
        rows = equations[:, 4 * target : 4 * target + 4]
        rows[..., offset], rows[..., offset + 1], rows[..., offset + 2] = x, y, 1.0
        rows[..., 6], rows[..., 7] = -_CORNERS[:, target] * x, -_CORNERS[:, target] * y
    wanted = np.broadcast_to(_CORNERS.T.reshape(8, 1), (len(corners), 8, 1))
    solved = np.linalg.solve(equations, wanted)[..., 0]
    return np.concatenate([solved, np.ones((len(corners), 1))], axis=1).reshape(-1, 3, 3)


def stretched(shifts: np.ndarray) -> np.ndarray:
    """Corners of the frame, moved by ``shifts`` of shape (rows, 4, 2)."""
    return _CORNERS + shifts


def fitted(matrices: np.ndarray) -> np.ndarray:
    """The same, enlarged around the centre until the result shows nothing from outside of the picture.

    For linear maps: the corners of the result are then the points that lie furthest out.
    """
    furthest = np.abs(matrices[:, :2, :2] @ _CORNERS.T).max(axis=(1, 2))
    scale = 1.0 / np.maximum(furthest, 1.0)
    return matrices * np.stack([scale, scale, np.ones(len(scale))], axis=1)[:, None, :]
