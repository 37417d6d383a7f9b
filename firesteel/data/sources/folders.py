"""Class folders of pictures."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from firesteel.data.sources.base import SPLIT_NAMES, Row, Source, even_slices, is_hidden
from firesteel.errors import DataError, StorageError
from firesteel.storage import Entry, Place


@dataclass(frozen=True)
class ImageFolderSource(Source):
    """``SOURCE/CLASS/any/depth/picture.jpg`` or ``SOURCE/{train,test,validation}/CLASS/...``.

    Every file that is not hidden is a record: one that is no picture ends in quarantine, with its path.
    """

    place: Place
    files: tuple[Entry, ...] = field(repr=False)
    own_split: bool
    folders: tuple[str, ...] = field(repr=False)
    hidden: int = 0

    @classmethod
    def open(cls, place: Place) -> ImageFolderSource:
        """List the folder.

        Raises:
            DataError: if it holds no class folders.
        """
        if not place.is_dir():
            raise DataError(f"{place} is not a folder. Expected class folders: {place}/CLASS/picture.jpg")
        top = [name for name in place.folders() if not is_hidden(name)]
        own_split = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
        if own_split:
            classes = {name for split in top for name in (place / split).folders() if not is_hidden(name)}
        else:
            classes = set(top)
        entries = list(place.files())
        visible = [entry for entry in entries if not any(is_hidden(part) for part in entry.path.split("/"))]
        if not classes:
            raise DataError(
                f"{place} holds no class folders ({len(visible)} files lie in it directly).\n"
                "Expected one folder a class: SOURCE/CLASS/picture.jpg, or SOURCE/train/CLASS/... and SOURCE/test/CLASS/..."
            )
        return cls(place, tuple(visible), own_split, tuple(sorted(classes)), len(entries) - len(visible))

    def fingerprint_parts(self) -> list[list[Any]]:
        return [[entry.path, entry.size, entry.modified] for entry in self.files]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files)

    def class_names(self) -> list[str]:
        return sorted({_class_name(name) for name in self.folders})

    def declared_splits(self) -> list[str]:
        return (
            sorted({SPLIT_NAMES[entry.path.split("/")[0].lower()] for entry in self.files if "/" in entry.path})
            if (self.own_split)
            else []
        )

    def notes(self) -> list[str]:
        return [f"{self.hidden} hidden files (names that begin with a dot, Thumbs.db) were left alone"] * bool(
            self.hidden
        )

    def partitions(self, count: int) -> list[Any]:
        return [self.files[part] for part in even_slices(len(self.files), count)]

    def rows_of(self, partition: Sequence[Entry], *, with_data: bool = True) -> Iterator[Row]:
        for entry in partition:
            yield self._row(entry, with_data)

    @property
    def rows(self) -> int:
        return len(self.files)

    def sample(self, count: int) -> Iterator[Row]:
        step = max(1, len(self.files) // count)
        yield from self.rows_of(self.files[::step][:count])

    def _row(self, entry: Entry, with_data: bool) -> Row:
        row_id, parts = _printable(entry.path), entry.path.split("/")
        split = SPLIT_NAMES[parts.pop(0).lower()] if self.own_split and len(parts) > 1 else None
        if len(parts) < 2:
            return Row(row_id, b"", split=split, problem="not in a class folder")
        label = _class_name(parts[0])
        if not with_data:
            return Row(row_id, b"", label, split)
        try:
            return Row(row_id, (self.place / entry.path).read_bytes(), label, split)
        except StorageError as error:
            return Row(row_id, b"", label, split, problem=_printable(f"cannot be read: {error}"))


def _class_name(folder: str) -> str:
    # macOS stores accents as separate characters; the same class from two machines must be one class.
    return unicodedata.normalize("NFC", _printable(folder))


def _printable(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8, which Python keeps as lone surrogates, are written as \\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
