"""Picture files through Pillow: opened within bounds, turned upright, with one way to say what is wrong."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from firesteel.errors import FormatError

# Pillow logs what it finds wrong with a file. The reason is in the exception; without a handler it would be printed.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 100_000_000
"""Larger pictures are refused: a small file that announces a giant picture is an attack or a mistake."""


def plain(picture: Image.Image, mode: str) -> Image.Image:
    """The first frame as ``L`` or ``RGB``: turned as the camera says, 16 bits scaled to 8, transparent pixels white."""
    image: Image.Image = ImageOps.exif_transpose(picture)
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16-bit grey: Pillow would clip at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    elif "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = _on_white(image.convert("RGBA"))
    return image.convert(mode)


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """A picture whose pixels are not read yet; PostScript is refused, and what Pillow warns of stays inside."""
    with warnings.catch_warnings():
        # Damaged EXIF, odd palettes, also found while pixels are read: what matters raises.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "EPS":
                raise FormatError("PostScript is not read: it is a program, which Pillow would let Ghostscript run")
            yield image


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _is_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;16")


def announced(image: Image.Image) -> tuple[int, int, int]:
    """(height, width, channels) as the header says, turned as the camera says; channels is 1 or 3."""
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    height, width = image.size if turned else image.size[::-1]
    return height, width, 1 if _is_grey(image.mode) else 3


def refuse_giants(height: int, width: int) -> None:
    """Raise FormatError for more than MAX_PIXELS."""
    if height * width > MAX_PIXELS:
        raise FormatError(f"giant picture: {width}x{height} pixels announced, more than {MAX_PIXELS} are refused")


def not_a_picture(data: bytes, error: Exception) -> FormatError:
    """What a decoder's exception says, as one of ours."""
    if isinstance(error, UnidentifiedImageError):
        return FormatError(f"not a picture: {len(data)} bytes that begin with {data[:8].hex(' ') or 'nothing'}")
    text: Any = str(error).strip().splitlines()
    return FormatError(f"damaged picture: {text[0] if text else type(error).__name__}")


__all__ = ["MAX_PIXELS", "announced", "not_a_picture", "opened", "plain", "refuse_giants"]
