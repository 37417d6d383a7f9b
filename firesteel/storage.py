"""A place on storage: one URI, and what can be done there.

Local paths go through the operating system; every other scheme (``s3://``, ``hdfs://``, ``gs://``, ``abfs://``,
``memory://``) goes through fsspec, whose drivers are separate packages (s3fs, gcsfs, adlfs; pyarrow brings hdfs).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from firesteel.drivers import DRIVER_PACKAGES, advice_for, filesystem_and_path, first_line, make_dirs, replacing_remote
from firesteel.errors import StorageError


class Entry(NamedTuple):
    """One file of a listing.

    Attributes:
        path: relative to the place that was listed, with ``/`` between its parts.
        size: bytes.
        modified: what the storage says of the last change (nanoseconds, a date or an etag), as text; empty if unknown.
    """

    path: str
    size: int
    modified: str


@dataclass(frozen=True)
class Place:
    """A file or folder on storage.

    Attributes:
        uri: an absolute local path, or a URI with a scheme.
    """

    uri: str

    @classmethod
    def of(cls, where: str | os.PathLike[str] | Place) -> Place:
        """Make a place of a path, a URI or a place; relative local paths become absolute."""
        if isinstance(where, Place):
            return where
        text = os.fspath(where)
        if text.startswith("file://"):
            text = text[len("file://") :]
        scheme, separator, path = text.partition("://")
        if separator:
            return cls(f"{scheme}://{path.rstrip('/')}")
        return cls(os.path.abspath(os.path.expanduser(text)))

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri

    @property
    def name(self) -> str:
        return self.uri.rstrip("/").rpartition("/")[2]

    def __truediv__(self, relative: str) -> Place:
        return Place(f"{self.uri}/{relative}")

    def __str__(self) -> str:
        return self.uri

    # -- looking -------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        with self._answering("look at"):
            return os.path.exists(self.uri) if self.is_local else bool(self._filesystem.exists(self._path))

    def is_dir(self) -> bool:
        with self._answering("look at"):
            return os.path.isdir(self.uri) if self.is_local else bool(self._filesystem.isdir(self._path))

    def size(self) -> int:
        """Bytes of this file."""
        with self._answering("read"):
            return os.path.getsize(self.uri) if self.is_local else int(self._filesystem.size(self._path))

    def is_empty_or_missing(self) -> bool:
        """True if nothing is here that a new dataset or run could overwrite."""
        if not self.exists():
            return True
        return self.is_dir() and next(iter(self.files()), None) is None

    def is_inside(self, other: Place) -> bool:
        """True if this is ``other`` or lies below it; links of a local file system are followed."""
        own, folder = (os.path.realpath(p.uri) if p.is_local else p.uri.rstrip("/") for p in (self, other))
        return own == folder or own.startswith(folder.rstrip("/") + "/")

    def files(self) -> Iterator[Entry]:
        """Every file below this folder, or this file alone (then with an empty path); sorted by path.

        A folder that several links lead to is listed once, under the first name; hidden files are included.
        """
        yield from sorted(self._walk(), key=lambda entry: entry.path)

    def folders(self) -> list[str]:
        """Names of the folders directly below this one, sorted; also those that hold nothing."""
        with self._answering("list"):
            if self.is_local:
                return sorted(item.name for item in os.scandir(self.uri) if item.is_dir())
            items = self._filesystem.ls(self._path, detail=True)
        return sorted(item["name"].rstrip("/").rpartition("/")[2] for item in items if item["type"] == "directory")

    def file_names(self) -> list[str]:
        """Names of the files directly below this folder, sorted; hidden ones are included."""
        with self._answering("list"):
            if self.is_local:
                return sorted(item.name for item in os.scandir(self.uri) if not item.is_dir())
            items = self._filesystem.ls(self._path, detail=True)
        names = (item["name"].rpartition("/")[2] for item in items if item["type"] != "directory")
        return sorted(name for name in names if name)  # object stores may hold an empty file in the folder's name

    def _walk(self) -> Iterator[Entry]:
        with self._answering("list"):
            if not self.is_local:
                found = self._filesystem.find(self._path, detail=True)
                for path, info in found.items():
                    changed = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
                    relative = path[len(self._path.rstrip("/")) :].lstrip("/")
                    yield Entry(relative, int(info["size"] or 0), str(changed or ""))
            elif os.path.isfile(self.uri):
                status = os.stat(self.uri)
                yield Entry("", status.st_size, str(status.st_mtime_ns))
            else:
                yield from _walk_local(self.uri, "", set())

    # -- reading -------------------------------------------------------------------------------------------------

    def open(self) -> IO[bytes]:
        """Open this file for reading, seekable."""
        with self._answering("read"):
            if self.is_local:
                return open(self.uri, "rb", buffering=1 << 20)
            return self._filesystem.open(self._path, "rb")

    def read_bytes(self) -> bytes:
        with self._answering("read"):
            if self.is_local:
                with open(self.uri, "rb", buffering=0) as file:
                    return file.read()
            return bytes(self._filesystem.cat_file(self._path))

    def read_text(self) -> str:
        return self.read_bytes().decode("utf-8")

    # -- writing -------------------------------------------------------------------------------------------------

    def make_dirs(self) -> None:
        with self._answering("write to"):
            if self.is_local:
                os.makedirs(self.uri, exist_ok=True)
            else:
                make_dirs(self._filesystem, self._path)

    def write_bytes(self, data: bytes, *, durable: bool = True) -> None:
        """Write a whole file so that a reader sees either the old one or the new one, never a part.

        Args:
            data: of the file.
            durable: wait until it is on the disk, so that it is whole also after a loss of power.
        """
        with self.writing(durable=durable) as file:
            file.write(data)

    def write_text(self, text: str) -> None:
        self.write_bytes(text.encode("utf-8"))

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[IO[bytes]]:
        """Open a file that appears under its name only if the block ends well; otherwise nothing is left of it."""
        with self._answering("write"):
            if self.is_local:
                with _replacing_local(self.uri, durable) as file:
                    yield file
            else:
                with replacing_remote(self._filesystem, self._path) as file:
                    yield file

    @contextlib.contextmanager
    def writing_path(self) -> Iterator[str]:
        """The same for libraries that write to a path of the local file system."""
        with self._answering("write"), contextlib.ExitStack() as stack:
            if self.is_local:
                path = stack.enter_context(_replacing_local_path(self.uri))
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="firesteel-"))
                path = os.path.join(folder, "file")
            yield path
            if not self.is_local:
                with open(path, "rb") as written, self.writing() as file:
                    shutil.copyfileobj(written, file, 1 << 22)

    def delete(self) -> None:
        """Remove this file or folder with all that is in it; nothing happens if it is not there."""
        with self._answering("delete"):
            if not self.exists():
                return
            if not self.is_local:
                self._filesystem.rm(self._path, recursive=True)
            elif os.path.isdir(self.uri) and not os.path.islink(self.uri):
                shutil.rmtree(self.uri)
            else:
                os.unlink(self.uri)

    def move(self, target: Place) -> None:
        """Give this file or folder another name on the same storage, where nothing lies yet."""
        with self._answering("move"):
            if self.is_local:
                os.makedirs(os.path.dirname(target.uri), exist_ok=True)
                os.rename(self.uri, target.uri)
            else:
                self._filesystem.mv(self._path, target._path, recursive=True)

    # -- machinery -----------------------------------------------------------------------------------------------

    @property
    def _filesystem(self) -> Any:
        return filesystem_and_path(self.uri)[0]

    @property
    def _path(self) -> str:
        return filesystem_and_path(self.uri)[1]

    @contextlib.contextmanager
    def _answering(self, action: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise storage_error(f"cannot {action} {self.uri}", error) from error
        except Exception as error:
            # Drivers raise errors of their own for missing credentials, wrong endpoints and refused requests.
            if self.is_local or type(error).__module__.partition(".")[0] not in DRIVER_PACKAGES:
                raise
            raise StorageError(
                f"cannot {action} {self.uri}: {first_line(error)}.{advice_for(self.uri, error)}"
            ) from error


def storage_error(what: str, error: OSError) -> StorageError:
    """A StorageError that keeps the cause's errno and says what to do about the common ones."""
    advice = {
        errno.ENOSPC: " Free space there or choose another place.",
        errno.EDQUOT: " The quota is used up; free space or choose another place.",
        errno.EACCES: " The user that runs this process needs permission.",
        errno.ENOENT: " Check the path; on a cluster every worker must see it.",
    }.get(error.errno or 0, "")
    reason = os.strerror(error.errno) if error.errno else first_line(error)
    result = StorageError(f"{what}: {reason}.{advice}")
    result.errno = error.errno
    return result


def safe_relative(path: str) -> bool:
    """True if a path that came from data stays inside the folder it is joined to."""
    parts = Path(path).parts
    return bool(parts) and not os.path.isabs(path) and ".." not in parts and "\0" not in path


def _walk_local(root: str, prefix: str, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    status = os.stat(root)
    if (status.st_dev, status.st_ino) in seen:  # a link that leads back
        return
    seen.add((status.st_dev, status.st_ino))
    for item in sorted(os.scandir(root), key=lambda item: item.name):
        relative = f"{prefix}{item.name}"
        if item.is_dir():
            yield from _walk_local(item.path, f"{relative}/", seen)
            continue
        try:
            status = item.stat()
        except FileNotFoundError:  # a dangling link, or a file deleted while we look: the reader will say so
            yield Entry(relative, 0, "")
            continue
        yield Entry(relative, status.st_size, str(status.st_mtime_ns))


@contextlib.contextmanager
def _replacing_local(path: str, durable: bool) -> Iterator[IO[bytes]]:
    with _replacing_local_path(path, durable) as temporary, open(temporary, "xb") as file:
        yield file


@contextlib.contextmanager
def _replacing_local_path(path: str, durable: bool = True) -> Iterator[str]:
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
