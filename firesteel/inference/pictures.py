"""Which pictures are meant: files, folders, archives and standard input, listed while they are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from firesteel.data.sources.base import is_hidden_path
from firesteel.errors import ConfigError, DataError, FormatError, StorageError
from firesteel.formats.archives import MAX_MEMBER_BYTES, Archive, Member, is_archive_name, open_archive, size_problem
from firesteel.formats.images import EXTENSIONS
from firesteel.storage import Place

STANDARD_INPUT = "-"
_READ_BYTES = 1 << 20
Name = str | os.PathLike[str] | Place

_EXTENSIONS = tuple({extension for extensions in EXTENSIONS.values() for extension in extensions})


@dataclass(frozen=True)
class Picture:
    """A picture that is not decoded yet.

    Attributes:
        name: as a person knows it: ``photos/a.jpg``; ``photos.zip:a.jpg`` in an archive; ``-`` from standard input.
        read: gives its bytes; raises StorageError or FormatError.
        held: bytes that it holds in memory already, because an archive is read from its beginning to its end.
    """

    name: str
    read: Callable[[], bytes]
    held: int = 0


class Pictures:
    """The pictures that names lead to, in order; nothing but names is held in memory.

    A file is taken as it is. Of a folder all pictures are taken, recursively and sorted, of an archive (zip, tar) in its
    order; what is no picture by its name (:data:`firesteel.formats.images.EXTENSIONS`) is left alone, and counted. ``-`` is
    one picture from standard input. A name that leads nowhere is a picture that cannot be read.

    Args:
        names: files, folders, archives; local or remote.
        stdin: what ``-`` is read from; None is the process's own.

    Attributes:
        left_alone: files in folders and archives that are no pictures, as far as the iteration has come.
    """

    def __init__(self, names: Iterable[Name], *, stdin: IO[bytes] | None = None):
        if isinstance(names, str | os.PathLike | Place):
            names = [names]
        self._names, self._stdin = names, stdin
        self.left_alone = 0

    def __iter__(self) -> Iterator[Picture]:
        for name in self._names:
            shown = name.uri if isinstance(name, Place) else os.fspath(name)
            try:
                yield from self._of(shown)
            except DataError as error:  # of an archive
                yield _unreadable(shown, FormatError(str(error).removeprefix(f"{Place.of(shown)}: ")))
            except StorageError as error:
                yield _unreadable(shown, error)

    def _of(self, name: str) -> Iterator[Picture]:
        if name == STANDARD_INPUT:
            stdin = self._stdin if self._stdin is not None else sys.stdin.buffer
            yield Picture(name, partial(_read_stream, stdin))
            return
        place = Place.of(name)
        # To ask an object store what a name is costs a request; what is called a picture is one.
        if is_picture_name(name) and not (place.is_local and os.path.isdir(place.uri)):
            yield Picture(name, partial(read_picture, place))
        elif not place.exists():
            yield _unreadable(name, StorageError("there is no such file"))
        elif place.is_dir():
            yield from self._of_folder(name, place)
        elif is_archive_name(name):
            yield from self._of_archive(name, place)
        else:
            yield Picture(name, partial(read_picture, place))

    def _of_folder(self, name: str, place: Place) -> Iterator[Picture]:
        found, before = 0, self.left_alone
        for entry in place.files():
            if is_hidden_path(entry.path):
                continue
            if not is_picture_name(entry.path):
                self.left_alone += 1
                continue
            found += 1
            yield Picture(f"{name.rstrip('/')}/{entry.path}", partial(read_picture, place / entry.path))
        if not found:
            yield _unreadable(name, FormatError(_no_pictures("folder", self.left_alone - before)))

    def _of_archive(self, name: str, place: Place) -> Iterator[Picture]:
        found, before = 0, self.left_alone
        with place.open() as file:
            size = place.size()
            members = list(open_archive(file, size).members())
            archive = open_archive(file, size)
            for member in members:
                if is_hidden_path(member.name):
                    continue
                if member.name and not is_picture_name(member.name):
                    self.left_alone += 1
                    continue
                found += 1
                yield _member(name, archive, member)
        if not found:
            yield _unreadable(name, FormatError(_no_pictures("archive", self.left_alone - before)))


def is_picture_name(name: str) -> bool:
    """Whether a file is called as pictures are."""
    return name.lower().endswith(_EXTENSIONS)


def names_from(file: str, *, stdin: IO[bytes] | None = None) -> Iterator[str]:
    """The names in a list, one a line, as they are read; empty lines are left out.

    Args:
        file: the list; ``-`` is standard input.
        stdin: what ``-`` is read from; None is the process's own.

    Raises:
        StorageError: if it cannot be read.
    """
    if file == STANDARD_INPUT:
        yield from _lines(stdin if stdin is not None else sys.stdin.buffer)
        return
    place = Place.of(file)
    if place.is_local and os.path.isdir(place.uri):
        raise ConfigError(
            f"a list of files is a text with one name a line; {file} is a folder. Name it as an argument."
        )
    with place.open() as opened:
        yield from _lines(opened)


def _lines(file: IO[bytes]) -> Iterator[str]:
    for line in iter(file.readline, b""):
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield name


def _member(archive_name: str, archive: Archive, member: Member) -> Picture:
    """A member, read now: what is compressed as a whole can only be read in its order."""
    name = f"{archive_name}:{member.name or f'@{member.offset}'}"
    if member.problem is not None:
        return _unreadable(name, FormatError(member.problem))
    try:
        data = archive.read(member)
    except (FormatError, StorageError) as error:
        return _unreadable(name, error)
    except OSError as error:
        return _unreadable(name, StorageError(f"cannot be read: {error}"))
    return Picture(name, lambda: data, len(data))


def _unreadable(name: str, error: FormatError | StorageError) -> Picture:
    def fail() -> bytes:
        raise error

    return Picture(name, fail)


def _no_pictures(what: str, others: int) -> str:
    return f"no picture in this {what}" + (f" ({others:,} other files)" if others else "")


def read_picture(place: Place) -> bytes:
    """The bytes of a file, not more than a picture can have.

    Raises:
        FormatError: if it is too large.
        StorageError: if it cannot be read.
    """
    if place.is_local:
        if not os.path.exists(place.uri):
            raise StorageError("there is no such file")
        if not os.path.isfile(place.uri):  # a pipe, or a device: its size is not known, and may have no end
            with place.open() as stream:
                return _read_stream(stream)
    problem = size_problem(place.size())
    if problem is not None:
        raise FormatError(problem)
    return place.read_bytes()


def _read_stream(stream: IO[bytes]) -> bytes:
    parts, size = [], 0
    while part := stream.read(_READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_MEMBER_BYTES:
            raise FormatError(f"too large: more than {MAX_MEMBER_BYTES} bytes are refused")
    return b"".join(parts)


__all__ = ["STANDARD_INPUT", "Name", "Picture", "Pictures", "is_picture_name", "names_from", "read_picture"]
