"""IDX files: the n-dimensional arrays in which MNIST and its relatives are published.

Source: Y. LeCun, "THE MNIST DATABASE", section "FILE FORMATS": two zero bytes, a type byte, the number of dimensions,
each dimension as a big-endian int32, then the values in C order, big-endian. Files may be compressed with gzip.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from firesteel.errors import FormatError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_MAX_ROW_BYTES = 1 << 30
_PIECE_BYTES = 8 << 20
"""Asked of a stream at once; Python allocates what is asked for, also where the file does not hold it."""


@dataclass(frozen=True)
class Header:
    """What an idx file says of itself.

    Attributes:
        dtype: of the values, native byte order.
        shape: all dimensions; the first counts the rows.
        offset: bytes before the first value.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@contextlib.contextmanager
def opened(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The plain stream of a file that may be compressed with gzip, told by its first two bytes."""
    magic = file.read(2)
    file.seek(0)
    if magic == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as plain:
            yield plain  # type: ignore[misc]
    else:
        yield file


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of a plain stream at its beginning.

    Raises:
        FormatError: if these are not the first bytes of an idx file.
    """
    start = _read_exactly(stream, 4, "header")
    if start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= _MAX_DIMENSIONS:
        raise FormatError(
            f"not an idx file: it begins with {start.hex(' ')};"
            " an idx file begins with 00 00, a type (08 09 0b 0c 0d 0e) and the number of dimensions."
        )
    dimensions = start[3]
    shape = struct.unpack(f">{dimensions}i", _read_exactly(stream, 4 * dimensions, "header"))
    dtype = np.dtype(_DTYPES[start[2]]).newbyteorder("=")
    header = Header(dtype, tuple(shape), 4 + 4 * dimensions)
    if any(size < 0 for size in shape) or header.row_bytes > _MAX_ROW_BYTES:
        raise FormatError(f"not a sound idx file: its dimensions are {tuple(shape)}.")
    return header


def read_rows(
    stream: IO[bytes], header: Header, *, start: int, stop: int, block_rows: int = 1024
) -> Iterator[np.ndarray]:
    """Read rows ``start <= row < stop`` in blocks.

    Args:
        stream: plain, positioned anywhere; a gzip stream is read through from its beginning.

    Yields:
        arrays of shape (at most block_rows, *header.shape[1:]), native byte order; fewer rows where they are large.

    Raises:
        FormatError: if the file ends before row ``stop``; after the last row also if it goes on, or if the checksum of
            gzip is wrong.
    """
    try:
        stream.seek(header.offset + start * header.row_bytes)
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError(f"idx file ends before row {start} of {header.rows}: {error}") from error
    big_endian = header.dtype.newbyteorder(">")
    block_rows = max(1, min(block_rows, _PIECE_BYTES // max(1, header.row_bytes)))
    for first in range(start, stop, block_rows):
        rows = min(block_rows, stop - first)
        data = _read_exactly(stream, rows * header.row_bytes, f"rows {first} to {first + rows} of {header.rows}")
        values = np.frombuffer(data, dtype=big_endian).reshape(rows, *header.shape[1:])
        yield values.astype(header.dtype, copy=False)
    if stop == header.rows:
        _check_end(stream, header)


def _read_exactly(stream: IO[bytes], count: int, what: str) -> bytes:
    pieces, missing = [], count
    try:
        while missing and (piece := stream.read(min(missing, _PIECE_BYTES))):
            pieces.append(piece)
            missing -= len(piece)
    except (EOFError, OSError, zlib.error) as error:  # a gzip file that is cut or damaged
        raise FormatError(f"idx file is damaged in its {what}: {error}") from error
    if missing:
        raise FormatError(
            f"idx file is cut: {what} needs {count} bytes, {count - missing} are there. Fetch the file again."
        )
    return b"".join(pieces)


def _check_end(stream: IO[bytes], header: Header) -> None:
    """Nothing may come after the last row; gzip compares its checksum only when it is asked for more."""
    try:
        more = stream.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError(f"idx file is damaged: {error}. Fetch the file again.") from error
    if more:
        raise FormatError(f"idx file is damaged: it goes on after the {header.rows} rows that its header announces.")
