"""Compressed streams (gzip, bzip2, xz), read forward in bounded memory and with a bounded expansion."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, Protocol

from firesteel.errors import FormatError

MAX_EXPANSION = 250
"""Times its size that a compressed stream may grow, once it is beyond FREE_BYTES: more is a bomb, not pictures."""

FREE_BYTES = 1 << 30

_MAX_XZ_MEMORY = 256 << 20  # bytes; `xz -9` needs 65 MiB, a hostile header asks for 4 GiB
_PIECE_BYTES = 1 << 20
_ERRORS = (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, MemoryError)


class ForwardStream(Protocol):
    """What can be read and, at least forward, be positioned: an open file, or :class:`Decompressed`."""

    def read(self, count: int, /) -> bytes: ...

    def seek(self, position: int, /) -> Any: ...


class _Gzip:
    """zlib with the interface of the other two."""

    def __init__(self) -> None:
        self._inner, self._tail = zlib.decompressobj(31), b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._tail + data, max_length)
        self._tail = self._inner.unconsumed_tail
        return out


_MAKERS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY),
}


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is compressed with gzip, bzip2 or xz."""
    return any(head.startswith(magic) for magic in _MAKERS)


class Decompressed:
    """The plain bytes of a compressed file; several streams one behind the other count as one.

    Args:
        file: compressed, positioned at its beginning.
    """

    def __init__(self, file: IO[bytes]):
        head = file.read(6)
        file.seek(0)
        self._file = file
        self._make = next(make for magic, make in _MAKERS.items() if head.startswith(magic))
        self._inner = self._make()
        self._buffer, self._position, self._consumed, self._produced = b"", 0, 0, 0
        self._ended = False

    def read(self, count: int) -> bytes:
        """``count`` bytes, fewer at the end.

        Raises:
            FormatError: if the stream is cut or damaged, or expands beyond MAX_EXPANSION.
        """
        pieces, missing = [], count
        while missing and (self._buffer or self._fill()):
            piece, self._buffer = self._buffer[:missing], self._buffer[missing:]
            pieces.append(piece)
            missing -= len(piece)
        self._position += count - missing
        return b"".join(pieces)

    def seek(self, position: int) -> int:
        """Go forward, by reading.

        Raises:
            ValueError: if the position lies behind.
        """
        if position < self._position:
            raise ValueError(f"a compressed stream at {self._position} cannot go back to {position}")
        while self._position < position and self.read(min(_PIECE_BYTES, position - self._position)):
            pass
        return self._position

    def _fill(self) -> bool:
        """Get some plain bytes into the buffer; False at the end."""
        try:
            while not self._buffer and not self._ended:
                self._step()
        except FormatError:
            raise
        except _ERRORS as error:
            raise FormatError(f"compressed data is damaged: {error}. Fetch the file again.") from error
        self._produced += len(self._buffer)
        if self._produced > FREE_BYTES + MAX_EXPANSION * self._consumed:
            raise FormatError(f"decompression bomb: {self._consumed} bytes became more than {self._produced}")
        return bool(self._buffer)

    def _step(self) -> None:
        data = b""
        if self._inner.eof:
            data = self._inner.unused_data.lstrip(b"\0")
            while not data and (more := self._next_bytes()):
                data = more.lstrip(b"\0")  # what fills up a block of a tape
            if not data:
                self._ended = True
                return
            self._inner = self._make()
        elif self._inner.needs_input:
            data = self._next_bytes()
            if not data:
                self._buffer = self._inner.decompress(b"", _PIECE_BYTES)
                if not self._buffer and not self._inner.eof:
                    raise FormatError("compressed data is cut: its end is missing. Fetch the file again.")
                return
        self._buffer = self._inner.decompress(data, _PIECE_BYTES)

    def _next_bytes(self) -> bytes:
        data = self._file.read(_PIECE_BYTES)
        self._consumed += len(data)
        return data
