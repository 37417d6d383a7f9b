"""Folders of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firesteel.data.sources.base import SPLIT_NAMES, is_hidden, is_hidden_path
from firesteel.data.sources.labels import FolderLabels, class_name, make_labels, printable
from firesteel.data.sources.pictures import Item, PictureSource
from firesteel.errors import DataError, FormatError, StorageError
from firesteel.formats.archives import size_problem
from firesteel.storage import Entry, Place


@dataclass(frozen=True)
class ImageFolderSource(PictureSource):
    """``SOURCE/CLASS/any/depth/picture.jpg`` or ``SOURCE/{train,test,validation}/CLASS/...``; or labels from elsewhere.

    Every file that is not hidden is a record: one that is no picture ends in quarantine, with its path.
    """

    @classmethod
    def open(cls, place: Place, **options: str) -> ImageFolderSource:
        """List the folder.

        Args:
            place: the folder.
            options: see :func:`firesteel.data.sources.labels.make_labels`.

        Raises:
            DataError: if it holds no class folders and the labels come from nowhere else, or no file gets a label.
        """
        if not place.is_dir():
            raise DataError(f"{place} is not a folder. Expected class folders: {place}/CLASS/picture.jpg")
        top = [name for name in place.folders() if not is_hidden(name)]
        own_split = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
        entries = list(place.files())
        files = [entry for entry in entries if not is_hidden_path(entry.path)]
        notes = _hidden_note(len(entries) - len(files))
        if "labels" in options:
            table = Place.of(options["labels"])
            files = [entry for entry in files if place / entry.path != table]
        labels = make_labels(options, [entry.path for entry in files], place, own_split=own_split)
        announced = _announced(place, top, own_split, len(files)) if isinstance(labels, FolderLabels) else []
        parts = [*files, *([said] if (said := labels.fingerprint()) else [])]
        return cls(
            place, tuple(Item(printable(entry.path), entry, *labels.of(entry.path)) for entry in files),
            tuple(parts), sum(entry.size for entry in files), tuple(announced),
            tuple(notes + labels.notes()),
        )  # fmt: skip

    def _bytes_of(self, items: Sequence[Item]) -> Iterator[bytes | FormatError | StorageError]:
        for item in items:
            entry: Entry = item.where
            problem = size_problem(entry.size)
            try:
                yield FormatError(problem) if problem else (self.place / entry.path).read_bytes()
            except StorageError as error:
                yield error


def _announced(place: Place, top: Sequence[str], own_split: bool, num_files: int) -> list[str]:
    """The classes by the folders, also by empty ones."""
    classes = set(top)
    if own_split:
        classes = {name for split in top for name in (place / split).folders() if not is_hidden(name)}
    if not classes:
        raise DataError(
            f"{place} holds no class folders ({num_files} files lie in it directly).\n"
            "Expected one folder a class: SOURCE/CLASS/picture.jpg, or SOURCE/train/CLASS/... and SOURCE/test/CLASS/...\n"
            "Labels that stand elsewhere: --labels FILE.csv or --label-pattern REGEX."
        )
    return sorted({class_name(name) for name in classes})


def _hidden_note(hidden: int) -> list[str]:
    return [f"{hidden} hidden files (names that begin with a dot, Thumbs.db) were left alone"] if hidden else []
