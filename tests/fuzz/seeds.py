"""Sound files of every format, from which the fuzzer makes others."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from functools import cache

import bson
import numpy as np
from PIL import Image

from tests.archives import cifar10_files, tar_bytes, zip_bytes
from tests.conftest import picture
from tests.fuzz.models import MODELS

PICTURES = {f"{label}/{i}.png": picture(40 * i, (9, 7), format="PNG", seed=i) for label in "ab" for i in range(3)}


def _bson() -> list[bytes]:
    documents = [
        {"_id": i, "category_id": i % 3, "imgs": [{"picture": data}]} for i, data in enumerate(PICTURES.values())
    ]
    return [b"".join(map(bson.encode, documents)), bson.encode({"_id": "x", "category_id": 1.5, "imgs": []})]


def _idx() -> list[bytes]:
    values = np.random.default_rng(0).integers(0, 256, (20, 5, 4)).astype(np.uint8)
    plain = bytes([0, 0, 8, 3]) + struct.pack(">3i", *values.shape) + values.tobytes()
    floats = bytes([0, 0, 0x0D, 2]) + struct.pack(">2i", 4, 3) + np.arange(12, dtype=">f4").tobytes()
    return [plain, gzip.compress(plain), floats]


def _cifar() -> list[bytes]:
    return [cifar10_files(4)["data_batch_1.bin"]]


def _zip() -> list[bytes]:
    zip64 = io.BytesIO()
    with zipfile.ZipFile(zip64, "w") as archive, archive.open("a/1.png", "w", force_zip64=True) as member:
        member.write(PICTURES["a/1.png"])
    return [zip_bytes(PICTURES), zip_bytes(PICTURES, method=zipfile.ZIP_STORED), zip64.getvalue()]


def _tar() -> list[bytes]:
    long = {f"{'deep/' * 40}{name}": data for name, data in PICTURES.items()}
    return [
        tar_bytes(PICTURES),
        tar_bytes(long),
        tar_bytes(long, format=tarfile.PAX_FORMAT),
        tar_bytes(PICTURES, "w:gz"),
        tar_bytes(PICTURES, "w:bz2"),
        tar_bytes(PICTURES, "w:xz"),
    ]


def _image() -> list[bytes]:
    plain = [
        picture(90, (24, 18), format=format, seed=1) for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
    ]
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(plain[0])).save(out, "JPEG", exif=exif, progressive=True)
    return [
        *plain,
        out.getvalue(),
        picture(9, (16, 16), mode="L", seed=2),
        picture(9, (8, 8), mode="RGBA", format="PNG", seed=3),
    ]


_MAKERS = {"bson": _bson, "idx": _idx, "cifar": _cifar, "zip": _zip, "tar": _tar, "image": _image}
FORMATS = (*_MAKERS, *MODELS)


@cache
def seeds_of(format: str) -> list[bytes]:
    """Sound files of a format."""
    return (_MAKERS | MODELS)[format]()
