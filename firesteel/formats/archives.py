"""Archives of files: their members, listed once, and the bytes of each, read in place and never written to disk."""

from __future__ import annotations

import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, NamedTuple

MAX_MEMBER_BYTES = 256 << 20
"""A larger member is not read: its size is looked at before memory is taken for it."""

_NAME = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)


class Member(NamedTuple):
    """One file in an archive, or a region that cannot be read as one.

    Attributes:
        name: with ``/`` between its parts; empty for a damaged region.
        offset: where it begins in the archive (bytes): of a tar its data, of a zip its header.
        size: unpacked bytes.
        problem: why it cannot be used; None if, so far, it can.
        packed: bytes in the archive.
        method: of compression, zip's number; 0 is stored.
        checksum: CRC-32 of the unpacked bytes; None if the archive knows none.
    """

    name: str
    offset: int
    size: int
    problem: str | None = None
    packed: int = 0
    method: int = 0
    checksum: int | None = None


class Archive(ABC):
    """An open archive.

    Attributes:
        splittable: members can be read in any order; else only in that of the archive.
    """

    splittable = True

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """Every file and every damaged region, in the order of the archive; folders are left out.

        Raises:
            FormatError: if this is no such archive at all.
        """

    @abstractmethod
    def read(self, member: Member) -> bytes:
        """The unpacked bytes of a member without a problem.

        Raises:
            FormatError: if it is cut, damaged or not of the announced size.
        """


def is_archive_name(name: str) -> bool:
    """Whether a file is called as archives that we read are: .zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, ..."""
    return bool(_NAME.search(name))


def archive_stem(name: str) -> str:
    """The name without what says that it is an archive."""
    return _NAME.sub("", name)


def open_archive(file: IO[bytes], size: int) -> Archive:
    """Open what the first bytes say it is: a zip, else a tar, plain or compressed with gzip, bzip2 or xz.

    Args:
        file: seekable, positioned anywhere.
        size: bytes of the file.
    """
    from firesteel.formats.compression import Decompressed, is_compressed
    from firesteel.formats.tar import TarArchive
    from firesteel.formats.zip import ZipArchive

    file.seek(0)
    head = file.read(512)
    # A zip may have something else in front; a tar may have a zip at its end.
    if head.startswith(b"PK") or (head[257:262] != b"ustar" and zipfile.is_zipfile(file)):
        return ZipArchive(file, size)
    file.seek(0)
    if is_compressed(head):
        return TarArchive(Decompressed(file), None)
    return TarArchive(file, size)


def kind_problem(mode: int) -> str | None:
    """Why a file of this Unix mode is not read; None for a regular one and where there is no mode."""
    kind = stat.S_IFMT(mode)
    if kind in (0, stat.S_IFREG):
        return None
    return "a link: links in archives are not followed" if kind == stat.S_IFLNK else "not a regular file"


def name_problem(name: str) -> str | None:
    """Why a member of this name is not used; nothing is written under it, but nobody honest calls a picture so."""
    parts = name.split("/")
    if not name or name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        return f"unsafe name: {name[:80]!r} leaves the archive"
    return None


def size_problem(size: int) -> str | None:
    """Why a member of this size is not read."""
    if size > MAX_MEMBER_BYTES:
        return f"too large: {size} bytes announced, more than {MAX_MEMBER_BYTES} are refused"
    return None
