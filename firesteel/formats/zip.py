"""Zip archives: the directory at the end is read once, then each member by its own range of bytes.

The directory is read by Python's ``zipfile``, which knows zip64 and archives with something in front of them. Members are
read here, because ``zipfile`` would read the whole directory again in every task.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header) and 4.4.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from firesteel.errors import FormatError
from firesteel.formats.archives import Archive, Member, kind_problem, name_problem, size_problem

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1
_MAX_OVERHEAD = 1 << 20  # bytes by which deflated data may be larger than plain data
_UNIX = 3

# What zipfile answers damaged directories with, beside its own error.
_DIRECTORY_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, EOFError, MemoryError,
)  # fmt: skip


class ZipArchive(Archive):
    """A zip file; stored and deflated members are read."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._size = file, size

    def members(self) -> Iterator[Member]:
        try:
            with zipfile.ZipFile(self._file) as archive:
                listed = sorted(archive.infolist(), key=lambda info: info.header_offset)
        except _DIRECTORY_ERRORS as error:
            raise FormatError(
                f"not a sound zip archive: {error}. Its directory lies at its end: was it fetched whole?"
            ) from error
        for info in listed:
            name = info.filename.replace("\\", "/")
            if not name.endswith("/"):
                yield Member(
                    name, info.header_offset, info.file_size, self._problem(info, name), info.compress_size,
                    info.compress_type, info.CRC,
                )  # fmt: skip

    def read(self, member: Member) -> bytes:
        self._file.seek(member.offset)
        head = self._file.read(_LOCAL_HEADER.size)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
            raise FormatError("damaged member: no header where the directory says")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head)
        self._file.seek(member.offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)
        packed = self._file.read(member.packed)
        if len(packed) != member.packed:
            raise FormatError(f"cut member: {member.packed} bytes announced, {len(packed)} there")
        data = packed if member.method == _STORED else _inflated(packed, member.size)
        if len(data) != member.size:
            raise FormatError(f"damaged member: {member.size} bytes announced, other than that unpacked")
        if member.checksum is not None and zlib.crc32(data) != member.checksum:
            raise FormatError("damaged member: its checksum is wrong")
        return data

    def _problem(self, info: zipfile.ZipInfo, name: str) -> str | None:
        kind = kind_problem(info.external_attr >> 16) if info.create_system == _UNIX else None
        problem = name_problem(name) or kind or size_problem(info.file_size)
        if problem is not None:
            return problem
        if info.flag_bits & _ENCRYPTED:
            return "encrypted member: passwords are not supported"
        if info.compress_type not in (_STORED, _DEFLATED):
            return f"compression not read: method {info.compress_type}; stored and deflated members are"
        if info.compress_size > info.file_size + _MAX_OVERHEAD:
            return f"damaged member: {info.file_size} bytes in {info.compress_size}"
        if not 0 <= info.header_offset <= self._size - info.compress_size:
            return f"cut member: it would end beyond the {self._size} bytes of the archive"
        return None


def _inflated(packed: bytes, size: int) -> bytes:
    try:
        # One byte more than announced tells a bomb, and no more is unpacked.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error as error:
        raise FormatError(f"damaged member: {error}") from error
