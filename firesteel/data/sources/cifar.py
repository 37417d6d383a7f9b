"""CIFAR-10 and CIFAR-100 as they are published: binary files in a folder or in their archive."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from firesteel.data.sources.archives import Listing
from firesteel.data.sources.base import ArraySpec, Row, Source, even_slices, is_hidden
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.formats import cifar
from firesteel.formats.archives import Archive, Member, open_archive
from firesteel.specs import check_options
from firesteel.storage import Entry, Place

Run = tuple[int, int, int]
"""(number of the file, first record, last record + 1)."""

_PICKLED = (
    "{place} is the Python version of CIFAR, whose files are pickled. Firesteel does not read them: to unpickle a file is"
    " to run\nwhatever program somebody put into it. Fetch the binary version, cifar-10-binary.tar.gz or"
    " cifar-100-binary.tar.gz,\nfrom https://www.cs.toronto.edu/~kriz/cifar.html; it need not be unpacked."
)


_ARRAY = ArraySpec("uint8", cifar.SHAPE)


class CifarFile(NamedTuple):
    """One file of records.

    Attributes:
        name: of the file.
        size: bytes.
        member: where it lies in the archive; None in a folder.
    """

    name: str
    size: int
    member: Member | None = None


class _Found(NamedTuple):
    """All files of the place by name, and what is needed to read them."""

    files: dict[str, CifarFile]
    folder: Place
    archive: Entry | None
    streamed: bool
    entries: list[Entry]


@dataclass(frozen=True)
class CifarSource(Source):
    """``data_batch_*.bin`` and ``test_batch.bin``, or ``train.bin`` and ``test.bin``; rows are uint8 of shape (3, 32, 32).

    Attributes:
        place: the folder, or of an archive the archive.
        variant: CIFAR-10 or CIFAR-100.
        level: which labels CIFAR-100's are.
        files: with records.
        classes: names by label.
        archive: the archive that holds the files; None if they lie in a folder.
        streamed: the archive can only be read from its beginning.
        parts: see :meth:`Source.fingerprint_parts`.
    """

    place: Place
    variant: cifar.Variant
    level: cifar.Level
    files: tuple[CifarFile, ...]
    classes: tuple[str, ...] = field(repr=False)
    archive: Entry | None
    streamed: bool
    parts: tuple[Any, ...] = field(repr=False)
    array: ArraySpec = _ARRAY

    @classmethod
    def open(cls, place: Place, listings: Sequence[Listing] | None = None, **options: str) -> CifarSource:
        """Find the files and the names of the classes.

        Args:
            place: a folder, one of its files, or an archive.
            listings: of the archive; None if it is none.
            options: ``label_level``: fine (default) or coarse, of CIFAR-100.

        Raises:
            ConfigError: for a wrong option.
            DataError: if the files are not there, or are the Python version.
        """
        check_options("format cifar", options, ("label_level",))
        level = options.get("label_level", "fine")
        found = _in_folder(place) if listings is None else _in_archive(place, listings)
        if cifar.looks_pickled(list(found.files)):
            raise DataError(_PICKLED.format(place=place))
        data = [file for name, file in sorted(found.files.items()) if cifar.is_data_file(name)]
        variant = cifar.variant_of(list(found.files)) or _by_size(data)
        if not data or variant is None:
            raise DataError(
                f"{place} holds no CIFAR files. Expected data_batch_1.bin ... test_batch.bin (CIFAR-10), or train.bin and"
                " test.bin (CIFAR-100)."
            )
        if level not in ("fine", "coarse"):
            raise ConfigError(f"label_level must be fine or coarse, got {level!r}.")
        if level == "coarse" and variant is cifar.CIFAR10:
            raise ConfigError("label_level coarse is for CIFAR-100; CIFAR-10 has one label a picture.")
        if not place.is_dir() and listings is None:
            data = [file for file in data if file.name == place.name]
        parts = [[entry.path, entry.size, entry.modified] for entry in found.entries] + [[variant.name, level]]
        return cls(
            found.folder, variant, level, tuple(data), tuple(_class_names(found, variant, level)), found.archive,  # type: ignore[arg-type]
            found.streamed, tuple(parts),
        )  # fmt: skip

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return list(self.parts)

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        return sum(self._records(file) for file in self.files)

    def class_names(self) -> list[str]:
        return list(self.classes)

    def declared_splits(self) -> list[str]:
        return sorted({cifar.split_of(file.name) for file in self.files})

    def partitions(self, count: int) -> list[list[Run]]:
        whole = [(number, 0, self._records(file)) for number, file in enumerate(self.files)]
        if self.streamed:
            return [whole]
        if self.archive is not None:  # a member is read as a whole
            return [[run] for run in whole]
        return cut_runs([records for _, _, records in whole], count)

    def rows_of(self, partition: Sequence[Run], *, with_data: bool = True) -> Iterator[Row]:
        if self.archive is None:
            for number, start, stop in partition:
                with (self.place / self.files[number].name).open() as file:
                    yield from self._rows(file, number, start, stop, with_data)
            return
        with self.place.open() as file:
            archive = open_archive(file, self.archive.size)
            for number, start, stop in partition:
                yield from self._rows(self._member(archive, number), number, start, stop, with_data)

    def _member(self, archive: Archive, number: int) -> IO[bytes]:
        member = self.files[number].member
        assert member is not None, "files of an archive know where they lie in it"
        if member.problem is not None:
            raise FormatError(f"{self.place}: {member.name}: {member.problem}")
        try:
            return io.BytesIO(archive.read(member))
        except FormatError as error:
            raise FormatError(f"{self.place}: {member.name}: {error}") from error

    def _records(self, file: CifarFile) -> int:
        return -(-file.size // self.variant.record_bytes)

    def _rows(self, stream: IO[bytes], number: int, start: int, stop: int, with_data: bool) -> Iterator[Row]:
        file = self.files[number]
        stem, split = file.name.rpartition(".")[0], cifar.split_of(file.name)
        whole, cut = divmod(file.size, self.variant.record_bytes)
        record = start
        for label, pixels in cifar.read_records(stream, self.variant, self.level, start, min(stop, whole)):
            row_id = f"{stem}/{record:05d}"
            if label < len(self.classes):
                yield Row(row_id, pixels if with_data else b"", self.classes[label], split)
            else:
                yield Row(row_id, b"", None, split, problem=f"label {label}: there are {len(self.classes)} classes")
            record += 1
        if cut and stop > whole:
            yield Row(
                f"{stem}/{whole:05d}", b"", None, split, problem=f"cut record: {cut} bytes at the end of {file.name}"
            )


def cut_runs(rows: Sequence[int], count: int) -> list[list[Run]]:
    """About ``count`` partitions of equal numbers of rows over files of ``rows`` rows each."""
    starts = [sum(rows[:number]) for number in range(len(rows))]
    result = []
    for part in even_slices(sum(rows), count):
        runs = [
            (number, max(0, part.start - start), min(size, part.stop - start))
            for number, (start, size) in enumerate(zip(starts, rows))
        ]
        result.append([run for run in runs if run[1] < run[2]])
    return result


def is_cifar(names: Sequence[str]) -> bool:
    """Whether files of these names are CIFAR, also the version that is not read."""
    return cifar.variant_of(list(names)) is not None or cifar.looks_pickled(list(names))


def cifar_folder(members: Sequence[Member]) -> str | None:
    """The folder in an archive that holds CIFAR, also the version that is not read; None if there is none."""
    by_folder: dict[str, list[str]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    return next((folder for folder, names in by_folder.items() if is_cifar(names)), None)


def _in_folder(place: Place) -> _Found:
    folder = place if place.is_dir() else Place(place.uri.rpartition("/")[0])
    names = [name for name in folder.file_names() if not is_hidden(name)]
    wanted = [name for name in names if cifar.is_data_file(name) or name in _NAMES_FILES]
    entries = [next(iter((folder / name).files())) for name in wanted]
    entries = [Entry(name, entry.size, entry.modified) for name, entry in zip(wanted, entries)]
    sizes = {entry.path: entry.size for entry in entries}
    return _Found({name: CifarFile(name, sizes.get(name, 0)) for name in names}, folder, None, False, entries)


def _in_archive(place: Place, listings: Sequence[Listing]) -> _Found:
    if len(listings) > 1:
        raise DataError(f"{place} holds {len(listings)} archives. Give the archive of CIFAR itself.")
    listing, files = listings[0], {}
    folder = cifar_folder(listing.members)
    for member in listing.members:
        where, _, name = member.name.rpartition("/")
        if where == folder:
            files[name] = CifarFile(name, member.size, member)
    archive = place / listing.entry.path if listing.entry.path else place
    entry = Entry(archive.name, listing.entry.size, listing.entry.modified)
    return _Found(files, archive, entry, not listing.splittable, [entry])


_NAMES_FILES = (*cifar.CIFAR10.names_files, *cifar.CIFAR100.names_files)


def _by_size(data: Sequence[CifarFile]) -> cifar.Variant | None:
    """``train.bin`` without names beside it: whichever's records fill the files."""
    for variant in (cifar.CIFAR100, cifar.CIFAR10):
        if data and all(file.size and file.size % variant.record_bytes == 0 for file in data):
            return variant
    return None


def _class_names(found: _Found, variant: cifar.Variant, level: str) -> list[str]:
    """Names of the classes; their numbers where no file says them."""
    byte = variant.byte_of("coarse" if level == "coarse" else "fine")
    file = found.files.get(variant.names_files[byte])
    if file is None:
        return [str(number) for number in range(variant.classes[byte])]
    if file.member is None:
        data = (found.folder / file.name).read_bytes()
    else:
        assert found.archive is not None
        with found.folder.open() as stream:
            data = open_archive(stream, found.archive.size).read(file.member)
    names = cifar.read_names(data.decode("utf-8", "replace"))
    if len(names) != variant.classes[byte] or len(set(names)) != len(names):
        raise DataError(
            f"{file.name} of {found.folder} names {len(set(names))} classes; {variant.name} has {variant.classes[byte]}."
        )
    return names
