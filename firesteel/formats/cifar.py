"""CIFAR-10 and CIFAR-100 in their binary version: records of one or two label bytes and a picture of 3x32x32 bytes.

Source: A. Krizhevsky, "The CIFAR-10 and CIFAR-100 datasets" (www.cs.toronto.edu/~kriz/cifar.html), section "Binary version":
CIFAR-10 is <1 x label><3072 x pixel>, CIFAR-100 <1 x coarse label><1 x fine label><3072 x pixel>; pixels are the red, the
green and the blue plane, each 32x32 in row order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal, NamedTuple

from firesteel.errors import FormatError

SHAPE = (3, 32, 32)
PIXEL_BYTES = 3 * 32 * 32

Level = Literal["fine", "coarse"]

_BLOCK_RECORDS = 256
_FILE = re.compile(r"(data_batch_\d+|test_batch|train|test)\.bin", re.IGNORECASE)
_PICKLES = re.compile(r"(data_batch_\d+|test_batch|batches\.meta)|(train|test|meta)")


@dataclass(frozen=True)
class Variant:
    """CIFAR-10 or CIFAR-100.

    Attributes:
        name: as people call it.
        label_bytes: in front of each picture; the last is the fine label.
        names_files: the files with the class names, by the byte they belong to.
        classes: how many there are, by byte.
    """

    name: str
    label_bytes: int
    names_files: tuple[str, ...]
    classes: tuple[int, ...]

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + PIXEL_BYTES

    def byte_of(self, level: Level) -> int:
        """Which label byte holds this level; CIFAR-10 has one only."""
        return 0 if level == "coarse" else self.label_bytes - 1


CIFAR10 = Variant("CIFAR-10", 1, ("batches.meta.txt",), (10,))
CIFAR100 = Variant("CIFAR-100", 2, ("coarse_label_names.txt", "fine_label_names.txt"), (20, 100))


class Record(NamedTuple):
    """One picture: its label byte, and uint8 of shape (3, 32, 32) as 3072 bytes."""

    label: int
    pixels: bytes


def variant_of(names: list[str]) -> Variant | None:
    """Which CIFAR a folder with files of these names holds; None if it is none."""
    files = {name.lower() for name in names if _FILE.fullmatch(name)}
    if any("batch" in name for name in files):
        return CIFAR10
    return CIFAR100 if files and any(name in CIFAR100.names_files for name in names) else None


def is_data_file(name: str) -> bool:
    """Whether a file of this name holds records."""
    return bool(_FILE.fullmatch(name))


def split_of(name: str) -> str:
    """``test`` for ``test_batch.bin`` and ``test.bin``, else ``train``."""
    return "test" if name.lower().startswith("test") else "train"


def looks_pickled(names: list[str]) -> bool:
    """Whether files of these names are the Python version, whose records are pickled."""
    found = [match for name in names if (match := _PICKLES.fullmatch(name))]
    return any(match[1] for match in found) or {match[2] for match in found} >= {"train", "test", "meta"}


def read_names(text: str) -> list[str]:
    """Class names, one a line; empty lines are left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_records(file: IO[bytes], variant: Variant, level: Level, start: int, stop: int) -> Iterator[Record]:
    """Records ``start <= record < stop`` of a file.

    Args:
        file: seekable, positioned anywhere.
        variant: which CIFAR.
        level: which of the label bytes is taken.

    Raises:
        FormatError: if the file ends before record ``stop``.
    """
    width, which = variant.record_bytes, variant.byte_of(level)
    file.seek(start * width)
    for first in range(start, stop, _BLOCK_RECORDS):
        count = min(_BLOCK_RECORDS, stop - first)
        block = file.read(count * width)
        for at in range(0, len(block) - width + 1, width):
            yield Record(block[at + which], block[at + variant.label_bytes : at + width])
        if len(block) < count * width:
            raise FormatError(f"CIFAR file is cut: it ends in record {first + len(block) // width} of {stop}")
