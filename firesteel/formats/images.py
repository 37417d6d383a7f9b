"""Encoded pictures to arrays of one size.

JPEG goes through libjpeg-turbo (simplejpeg), which decodes straight to a fraction of the size (the scaled inverse DCT)
when the result is to be small; this is 1.6 times as fast as Pillow's draft mode on 180x180 product pictures. Every
other format, and every JPEG that libjpeg-turbo refuses for its colour space, goes through Pillow.
"""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from firesteel.errors import FormatError

# Pillow logs what it finds wrong with a file. The reason is in the exception; without a handler it would be printed.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 100_000_000
"""Larger pictures are refused: a small file that announces a giant picture is an attack or a mistake."""

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),  # what some cameras write: a JPEG with further ones behind it
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
    "ICO": (".ico",),
}
"""Extensions by Pillow's name of the format, the usual one first."""

JPEG_MAGIC = b"\xff\xd8\xff"


@dataclass(frozen=True)
class ImageSpec:
    """What every picture of a dataset is turned into.

    Attributes:
        height: pixels.
        width: pixels.
        channels: 1 (grey) or 3 (RGB).
    """

    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as torch wants it."""
        return (self.channels, self.height, self.width)


class Decoded(NamedTuple):
    """One picture.

    Attributes:
        pixels: uint8 of shape (height, width, channels).
        original: (height, width, channels) before it was changed; for a JPEG, as its header says.
    """

    pixels: np.ndarray
    original: tuple[int, int, int]


def probe(data: bytes) -> tuple[int, int, int]:
    """(height, width, channels) of a picture from its header; channels is 1 or 3.

    Raises:
        FormatError: if the bytes are not a picture.
    """
    try:
        with opened(data) as image:
            return announced(image)
    except FormatError:
        raise
    except Exception as error:
        raise not_a_picture(data, error) from error


def format_of(data: bytes) -> str:
    """Pillow's name of the format of a picture, by its content: JPEG, PNG, GIF, ...

    Raises:
        FormatError: if the bytes are not a picture.
    """
    if not data:
        raise FormatError("empty: 0 bytes")
    try:
        with opened(data) as image:
            return str(image.format)
    except FormatError:
        raise
    except Exception as error:
        raise not_a_picture(data, error) from error


def decode(data: bytes, spec: ImageSpec) -> Decoded:
    """Decode a picture, bring it to the channels and the size of ``spec``.

    The whole picture is squeezed into the size (aspect ratio is not kept), with antialiasing. The orientation that a
    camera wrote into the picture is applied. Transparent pixels become white.

    Raises:
        FormatError: if the bytes are not a picture, are cut, or announce more than MAX_PIXELS.
    """
    if not data:
        raise FormatError("empty: 0 bytes")
    try:
        image, original = _decode_jpeg(data, spec) if data.startswith(JPEG_MAGIC) else _decode_any(data, spec)
        if image.size != (spec.width, spec.height):
            image = image.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    except FormatError:
        raise
    # Pillow's plug-ins answer damaged files with almost any exception (OSError, SyntaxError, struct.error, KeyError...).
    except Exception as error:
        raise not_a_picture(data, error) from error
    return Decoded(pixels.reshape(spec.height, spec.width, spec.channels), original)


def encode_jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """Encode uint8 pixels of shape (height, width, 1 or 3) as JPEG without chroma subsampling."""
    colorspace = "GRAY" if pixels.shape[2] == 1 else "RGB"
    subsampling = "Gray" if pixels.shape[2] == 1 else "444"
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colorspace, subsampling))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels of shape (height, width, 1 or 3) as PNG, without loss."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)).save(out, "PNG")
    return out.getvalue()


def _decode_jpeg(data: bytes, spec: ImageSpec) -> tuple[Image.Image, tuple[int, int, int]]:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    refuse_giants(height, width)
    if colorspace in ("CMYK", "YCCK") or jpeg_may_be_turned(data):
        return _decode_any(data, spec)
    pixels = simplejpeg.decode_jpeg(
        data,
        "GRAY" if spec.channels == 1 else "RGB",
        fastdct=True,
        fastupsample=True,
        min_height=spec.height,
        min_width=spec.width,
        strict=True,
    )
    return Image.fromarray(pixels[:, :, 0] if spec.channels == 1 else pixels), (
        height,
        width,
        1 if colorspace == "Gray" else 3,
    )


def _decode_any(data: bytes, spec: ImageSpec) -> tuple[Image.Image, tuple[int, int, int]]:
    with opened(data) as picture:
        refuse_giants(picture.height, picture.width)
        original = announced(picture)  # before the draft mode, which changes size and mode
        mode = "L" if spec.channels == 1 else "RGB"
        if picture.format == "JPEG":
            picture.draft(mode, (spec.width, spec.height))
        return plain(picture, mode), original


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


def jpeg_may_be_turned(data: bytes) -> bool:
    """True if the EXIF block of a JPEG says another orientation than upright (cheap look at the first 64 KiB)."""
    at = data.find(b"Exif\0\0", 0, 65536)
    if at == -1:
        return False
    order = ">" if data[at + 6 : at + 8] == b"MM" else "<"
    tag = struct.pack(order + "HHI", 0x0112, 3, 1)
    found = data.find(tag, at, at + 65536)
    return found != -1 and struct.unpack_from(order + "H", data.ljust(found + 10, b"\0"), found + 8)[0] not in (0, 1)


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
