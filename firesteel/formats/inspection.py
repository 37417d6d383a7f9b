"""A picture as it is: size, mode, format, frames, and pixels that are not resized, for analysis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from firesteel.errors import FormatError
from firesteel.formats.jpeg_segments import JPEG_MAGIC, jpeg_may_be_turned
from firesteel.formats.pillow import announced, not_a_picture, opened, plain, refuse_giants

FULL_EDGE = 512
"""JPEGs whose shorter edge is at least twice this are decoded at a half, a quarter or an eighth of their size."""


class Inspected(NamedTuple):
    """One picture.

    Attributes:
        image: its pixels: mode ``L`` if it is grey, else ``RGB``; turned as the camera says; transparent pixels white.
        height, width: as its header says, turned as the camera says.
        mode: Pillow's name: L, RGB, RGBA, P, CMYK, I;16, 1, ...
        format: Pillow's name: JPEG, PNG, ...; ``raw`` for an array.
        frames: more than one if it is animated or has several pages.
    """

    image: Image.Image
    height: int
    width: int
    mode: str
    format: str
    frames: int = 1


def inspect(data: bytes) -> Inspected:
    """Decode a picture without changing its size.

    Raises:
        FormatError: if the bytes are not a picture, are cut, or announce too many pixels.
    """
    if not data:
        raise FormatError("empty: 0 bytes")
    try:
        if data.startswith(JPEG_MAGIC) and not jpeg_may_be_turned(data):
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
            refuse_giants(height, width)
            if colorspace not in ("CMYK", "YCCK"):
                return _inspect_jpeg(data, height, width, grey=colorspace == "Gray")
        return _inspect_any(data)
    except FormatError:
        raise
    # Pillow's plug-ins answer damaged files with almost any exception.
    except Exception as error:
        raise not_a_picture(data, error) from error


def inspect_array(pixels: np.ndarray) -> Inspected:
    """The same of uint8 pixels of shape (1 or 3, height, width)."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return Inspected(image, image.height, image.width, image.mode, "raw")


def _inspect_jpeg(data: bytes, height: int, width: int, *, grey: bool) -> Inspected:
    pixels = simplejpeg.decode_jpeg(
        data, "GRAY" if grey else "RGB", min_height=min(height, FULL_EDGE), min_width=min(width, FULL_EDGE), strict=True
    )
    image = Image.fromarray(pixels[:, :, 0] if grey else pixels)
    return Inspected(image, height, width, "L" if grey else "RGB", "JPEG")


def _inspect_any(data: bytes) -> Inspected:
    with opened(data) as picture:
        refuse_giants(picture.height, picture.width)
        height, width, channels = announced(picture)
        mode, kind, frames = picture.mode, picture.format or "unknown", getattr(picture, "n_frames", 1)
        return Inspected(plain(picture, "L" if channels == 1 else "RGB"), height, width, mode, kind, frames)
