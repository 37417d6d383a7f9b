"""MNIST for the benchmarks: as arrays, and cut to its first rows."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def read_training_rows(folder: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``rows`` of the training set: uint8 of shape (rows, 1, 28, 28) and int64 of shape (rows,)."""
    images = np.frombuffer(_content(folder, "train-images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    labels = np.frombuffer(_content(folder, "train-labels-idx1-ubyte"), np.uint8, offset=8)
    return images[:rows].copy(), labels[:rows].astype(np.int64)


def write_training_rows(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write idx files for ``firesteel prepare``."""
    folder.mkdir()
    for name, array in [("train-images-idx3-ubyte", images[:, 0]), ("train-labels-idx1-ubyte", labels)]:
        header = struct.pack(f">BBBB{array.ndim}i", 0, 0, 0x08, array.ndim, *array.shape)
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())


def _content(folder: Path, name: str) -> bytes:
    packed = folder / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
