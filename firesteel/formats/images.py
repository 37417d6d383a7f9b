"""Encoded pictures to arrays of one size.

JPEG goes through libjpeg-turbo (simplejpeg), which decodes straight to a fraction of the size (the scaled inverse DCT)
when the result is to be small; this is 1.6 times as fast as Pillow's draft mode on 180x180 product pictures. Every
other format, and every JPEG that libjpeg-turbo refuses for its colour space, goes through Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from firesteel.errors import FormatError
from firesteel.formats.jpeg_segments import JPEG_MAGIC, jpeg_may_be_turned
from firesteel.formats.pillow import announced, not_a_picture, opened, plain, refuse_giants

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

_MOST_WAITING_BYTES = 1 << 20
"""Pictures that are larger once they are decoded are resized at once, not together with others."""


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
    (decoded,) = decode_all((data,), spec)
    if isinstance(decoded, FormatError):
        raise decoded
    return decoded


def decode_all(pictures: Sequence[bytes], spec: ImageSpec) -> list[Decoded | FormatError]:
    """The same of many pictures, bit for bit, and what is wrong with those that are none.

    Pictures that their decoder leaves at one size are resized together: a call of Pillow costs as much as the resizing of
    a small picture. Memory: at most 1 MB a picture.
    """
    found: list[Decoded | FormatError] = []
    for data in pictures:
        try:
            found.append(_decode(data, spec))
        except FormatError as error:
            found.append(error)
    return _all_resized(found, spec)


def resize_all(pictures: Sequence[bytes], shape: tuple[int, ...], spec: ImageSpec) -> list[Decoded | FormatError]:
    """The same of pictures that are no files but pixels.

    Args:
        pictures: uint8 of (channels, height, width) in C order.
        shape: that.
        spec: what they become.
    """
    channels, height, width = shape
    found: list[Decoded | FormatError] = []
    for data in pictures:
        if len(data) != height * width * channels:
            found.append(FormatError(f"array of {len(data)} bytes, expected {height * width * channels}"))
            continue
        pixels = np.frombuffer(data, np.uint8).reshape(shape).transpose(1, 2, 0)
        if channels != spec.channels:
            pixels = _array(
                _image(np.ascontiguousarray(pixels)).convert("L" if channels == 3 else "RGB"), spec.channels
            )
        found.append(Decoded(_little(np.ascontiguousarray(pixels), spec), (height, width, channels)))
    return _all_resized(found, spec)


def _all_resized(found: list[Decoded | FormatError], spec: ImageSpec) -> list[Decoded | FormatError]:
    """The pictures in the size of ``spec``, those of one size together."""
    waiting: dict[tuple[int, ...], list[int]] = {}
    for position, decoded in enumerate(found):
        if isinstance(decoded, FormatError):
            continue
        if decoded.pixels.shape[:2] != (spec.height, spec.width):
            waiting.setdefault(decoded.pixels.shape, []).append(position)
    for positions in waiting.values():
        members = [found[position] for position in positions]
        resized = _resized([member.pixels for member in members], spec)  # type: ignore[union-attr]
        for position, member, pixels in zip(positions, members, resized):
            found[position] = Decoded(pixels, member.original)  # type: ignore[union-attr]
    return found


def _decode(data: bytes, spec: ImageSpec) -> Decoded:
    """A picture with the channels of ``spec``, of its size or a larger one that takes little memory."""
    if not data:
        raise FormatError("empty: 0 bytes")
    try:
        pixels, original = _decode_jpeg(data, spec) if data.startswith(JPEG_MAGIC) else _decode_any(data, spec)
    except FormatError:
        raise
    # Pillow's plug-ins answer damaged files with almost any exception (OSError, SyntaxError, struct.error, KeyError...).
    except Exception as error:
        raise not_a_picture(data, error) from error
    return Decoded(pixels, original)


def _resized(pictures: list[np.ndarray], spec: ImageSpec) -> Iterable[np.ndarray]:
    """Pictures of one shape (h, w, channels) in the size of ``spec``.

    Pillow resizes first the width and then the height, with whole numbers between (Resample.c, ImagingResampleInner): rows know
    nothing of each other at first, nor columns then. So many pictures, one below the other and then side by side, have
    the bits that each would have alone.
    """
    height, width, channels = pictures[0].shape
    if len(pictures) == 1:
        image = _image(pictures[0]).resize((spec.width, spec.height), Image.Resampling.BILINEAR)
        return [_array(image, channels)]
    count = len(pictures)
    column = np.concatenate(pictures)  # (count * height, width, channels)
    if width != spec.width:
        image = _image(column).resize((spec.width, count * height), Image.Resampling.BILINEAR)
        column = _array(image, channels)
    row = column.reshape(count, height, spec.width, channels).transpose(1, 0, 2, 3)  # (height, count, width, channels)
    if height != spec.height:
        image = _image(np.ascontiguousarray(row).reshape(height, count * spec.width, channels))
        row = _array(image.resize((count * spec.width, spec.height), Image.Resampling.BILINEAR), channels)
        row = row.reshape(spec.height, count, spec.width, channels)
    planes = np.ascontiguousarray(row.transpose(1, 3, 0, 2))  # (count, channels, height, width)
    return planes.transpose(0, 2, 3, 1)


def _image(pixels: np.ndarray) -> Image.Image:
    """(height, width, 1 or 3) as a picture of Pillow; for less than Image.fromarray costs."""
    height, width, channels = pixels.shape
    mode = "L" if channels == 1 else "RGB"
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)


def _array(image: Image.Image, channels: int) -> np.ndarray:
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)


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


def _decode_jpeg(data: bytes, spec: ImageSpec) -> tuple[np.ndarray, tuple[int, int, int]]:
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
    return _little(pixels, spec), (height, width, 1 if colorspace == "Gray" else 3)


def _decode_any(data: bytes, spec: ImageSpec) -> tuple[np.ndarray, tuple[int, int, int]]:
    with opened(data) as picture:
        refuse_giants(picture.height, picture.width)
        original = announced(picture)  # before the draft mode, which changes size and mode
        mode = "L" if spec.channels == 1 else "RGB"
        if picture.format == "JPEG":
            picture.draft(mode, (spec.width, spec.height))
        return _little(_array(plain(picture, mode), spec.channels), spec), original


def _little(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """The same, resized already if it is too large to wait for others."""
    return pixels if pixels.nbytes <= _MOST_WAITING_BYTES else next(iter(_resized([pixels], spec)))
