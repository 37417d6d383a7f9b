"""Tar archives, plain or as a stream: their headers in one pass, each member by its own range of bytes.

Headers are decoded by Python's ``tarfile.TarInfo``. The walk from header to header is ours: ``tarfile`` takes a damaged
header for the end of the archive and says nothing, and believes any length. Here the next sound header is looked for,
and what lies between is one damaged region. Archives that were appended to each other are read on behind an end mark.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

from firesteel.errors import FormatError
from firesteel.formats.archives import Archive, Member, name_problem, size_problem
from firesteel.formats.compression import ForwardStream

_BLOCK = 512
_MAX_EXTENSION_BYTES = 1 << 20  # of a long name or pax header; GNU tar's own limit is of that order
_MAGIC = slice(257, 262)
_GNU_SPARSE_IS_EXTENDED = 482
_SPARSE_IS_EXTENDED = 504
_PAX_RECORD = re.compile(rb"(\d{1,9}) ")


class TarArchive(Archive):
    """A tar file.

    Args:
        stream: positioned at the beginning; a compressed one only goes forward.
        size: bytes; None for a compressed one, whose members are read in order.
    """

    def __init__(self, stream: ForwardStream, size: int | None):
        self._stream, self._size = stream, size
        self.splittable = size is not None

    def members(self) -> Iterator[Member]:
        return _Walk(self._stream, self._size).members()

    def read(self, member: Member) -> bytes:
        self._stream.seek(member.offset)
        data = self._stream.read(member.size)
        if len(data) != member.size:
            raise FormatError(f"cut member: {member.size} bytes announced, {len(data)} there")
        return data


class _Walk:
    """One pass over the headers."""

    def __init__(self, stream: ForwardStream, size: int | None):
        self._stream, self._size = stream, size
        self._position = 0
        self._held: tuple[int, bytes] = (-1, b"")  # a block read already: streams do not go back
        self._globals: dict[str, str] = {}
        self._extra: dict[str, str] = {}  # said by extension headers of the member to come

    def members(self) -> Iterator[Member]:
        if _header(self._block(0)) is None:
            raise FormatError("not a tar archive: it does not begin with a header of one")
        try:
            yield from self._walk()
        except FormatError as error:  # a compressed stream that is cut or damaged: nothing behind can be reached
            yield Member("", self._position, 0, f"cannot be read: {error} (from byte {self._position} on)")

    def _walk(self) -> Iterator[Member]:
        while len(block := self._block(self._position)) == _BLOCK:
            if block.count(0) == _BLOCK:
                self._position += _BLOCK
                continue
            member = self._member(self._position, block)
            if member is not None:
                yield member
        if block.strip(b"\0"):
            yield Member("", self._position, 0, f"cut at the end: a header of {len(block)} bytes")

    def _member(self, begin: int, block: bytes) -> Member | None:
        """What the header at ``begin`` says; None for folders and for headers that only extend the next one."""
        info = _header(block)
        if info is None or not self._fits(begin, info.size):
            return self._damaged(begin, "damaged header" if info is None else f"garbage length: {info.size}")
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *_LONG):
            return self._extended(begin, info)
        extra, self._extra = self._globals | self._extra, {}
        size = _number(extra.get("size"), info.size)
        if not self._fits(begin, size):
            return self._damaged(begin, f"garbage length: {size}")
        data = begin + _BLOCK + self._sparse_bytes(begin, block, info)
        self._position = data + _padded(size if _has_data(info) else 0)
        if info.isdir():
            return None
        name = extra.get("path", info.name).replace("\\", "/")
        name = name[2:] if name.startswith("./") else name
        return Member(name, data, size, _problem(info, extra, name, size), size)

    def _extended(self, begin: int, info: tarfile.TarInfo) -> Member | None:
        if info.size > _MAX_EXTENSION_BYTES:
            return self._damaged(begin, f"garbage length: a header of {info.size} bytes")
        self._stream.seek(begin + _BLOCK)
        data = self._stream.read(info.size)
        self._position = begin + _BLOCK + _padded(info.size)
        if info.type in _LONG:
            text = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            self._extra["path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"] = text
        elif info.type == tarfile.XGLTYPE:
            self._globals |= _pax_records(data)
        else:
            self._extra |= _pax_records(data)
        return None

    def _damaged(self, begin: int, reason: str) -> Member:
        """A region without a sound header, up to the next one."""
        self._extra = {}
        position = begin + _BLOCK
        while len(block := self._block(position)) == _BLOCK:
            if block[_MAGIC] == b"ustar" and (info := _header(block)) is not None and self._fits(position, info.size):
                break
            position += _BLOCK
        else:
            position += len(block)  # less than a block, at the end
        self._position = position
        return Member("", begin, 0, f"{reason} ({position - begin} bytes from byte {begin} on)")

    def _block(self, position: int) -> bytes:
        if self._held[0] != position:
            self._stream.seek(position)
            self._held = position, self._stream.read(_BLOCK)
        return self._held[1]

    def _fits(self, begin: int, size: int) -> bool:
        return size >= 0 and (self._size is None or begin + _BLOCK + size <= self._size)

    def _sparse_bytes(self, begin: int, block: bytes, info: tarfile.TarInfo) -> int:
        """Bytes of the further maps that a sparse file of GNU tar puts between its header and its data."""
        more, count = info.type == tarfile.GNUTYPE_SPARSE and block[_GNU_SPARSE_IS_EXTENDED], 0
        while more:
            count += _BLOCK
            block = self._block(begin + count)
            more = len(block) == _BLOCK and block[_SPARSE_IS_EXTENDED]
        return count


_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return None


def _has_data(info: tarfile.TarInfo) -> bool:
    """Links and devices have a size at most in their header."""
    return info.isreg() or info.type not in tarfile.SUPPORTED_TYPES


def _problem(info: tarfile.TarInfo, extra: dict[str, str], name: str, size: int) -> str | None:
    if problem := name_problem(name):
        return problem
    if info.issym() or info.islnk():
        return "a link: links in archives are not followed"
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extra):
        return "a sparse file: such members are not read"
    if not info.isreg():
        return "not a regular file"
    return size_problem(size)


def _pax_records(data: bytes) -> dict[str, str]:
    """``LENGTH KEY=VALUE\\n`` one behind the other; what comes after a damaged record is left out."""
    records = {}
    position = 0
    while match := _PAX_RECORD.match(data, position):
        end = position + int(match[1])
        key, equals, value = data[match.end() : end - 1].partition(b"=")
        if not equals or end <= match.end() or data[end - 1 : end] != b"\n":
            break
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position = end
    return records


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,19}", text) else default


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
