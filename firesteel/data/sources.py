"""Sources: places that hold labelled pictures or arrays, read in parallel as Arrow batches of one schema.

A source knows three things: what it consists of (for the fingerprint), how to cut itself into partitions that many
tasks can read, and how to read one partition. It knows nothing of Spark; ``firesteel.spark.sources`` offers each as a
Spark data source, and ``prepare`` reads it in Spark tasks or local processes.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, NamedTuple

import pyarrow as pa

from firesteel.errors import ConfigError, DataError, FormatError, StorageError
from firesteel.formats import bson as bson_format
from firesteel.formats import idx
from firesteel.specs import check_options
from firesteel.storage import Entry, Place

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the source; for a broken record its place
        ("group", pa.string()),  # rows of one group (the pictures of one product) never lie in two splits
        ("label", pa.string()),  # class name; null if there is none
        ("split", pa.string()),  # the split that the source itself names; null if it names none
        ("data", pa.binary()),  # an encoded picture, or the raw bytes of an array; of a broken record its first bytes
        ("problem", pa.string()),  # null, or why this record cannot be used
    ]
)
"""The rows that every source yields. One row is one picture or array."""

BATCH_BYTES = 4 << 20
"""A batch is closed when its data exceeds this; bounds the memory of a reader."""

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
"""Folder names that are taken for a split of the source's own, and the name each split gets."""


@dataclass(frozen=True)
class ArraySpec:
    """Rows that are raw arrays, not encoded pictures.

    Attributes:
        dtype: numpy name, for example ``uint8`` or ``float32``.
        shape: of one row.
    """

    dtype: str
    shape: tuple[int, ...]


class Row(NamedTuple):
    """One row of :data:`SCHEMA`; ``group`` None means the id."""

    id: str
    data: bytes
    label: str | None = None
    split: str | None = None
    group: str | None = None
    problem: str | None = None


class Source(ABC):
    """One source. Immutable and picklable, so that it travels to the tasks.

    Contract: the same partition, read twice, yields the same rows in the same order; each row of the source is in
    exactly one partition; a record that cannot be read is yielded with its problem, never left out.
    """

    place: Place
    array: ArraySpec | None = None
    """Set if the rows are raw arrays."""

    @abstractmethod
    def fingerprint_parts(self) -> list[list[Any]]:
        """What the source consists of: (path, size, modified) of each file, JSON-able, sorted."""

    @abstractmethod
    def partitions(self, count: int) -> list[Any]:
        """About ``count`` picklable partitions, fewer if there is less to share."""

    @abstractmethod
    def rows_of(self, partition: Any, *, with_data: bool = True) -> Iterator[Row]:
        """Yield the rows of one partition.

        Args:
            partition: one of :meth:`partitions`.
            with_data: False leaves ``data`` empty and, where that is cheaper, does not read the pictures at all.
        """

    def read(self, partition: Any, *, with_data: bool = True) -> Iterator[pa.RecordBatch]:
        """The rows of one partition as batches of :data:`SCHEMA`, each of about BATCH_BYTES at most."""
        yield from _batches(self.rows_of(partition, with_data=with_data))

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes of all files of the source."""

    @property
    def rows(self) -> int | None:
        """Number of rows, where the listing tells it; else None."""
        return None

    def sample(self, count: int) -> Iterator[Row]:
        """About ``count`` rows from which size and channels of the pictures are guessed; the same at every call."""
        raise NotImplementedError

    def class_names(self) -> list[str]:
        """Classes that the source announces by itself (its folders), also those without a row."""
        return []

    def declared_splits(self) -> list[str]:
        """Splits that the source brings itself; empty if it brings none."""
        return []

    def notes(self) -> list[str]:
        """What a person should know of this source: ignored files, empty class folders."""
        return []


# -- class folders of images ----------------------------------------------------------------------------------------


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
        top = [name for name in place.folders() if not _is_hidden(name)]
        own_split = bool(top) and all(name.lower() in SPLIT_NAMES for name in top)
        if own_split:
            classes = {name for split in top for name in (place / split).folders() if not _is_hidden(name)}
        else:
            classes = set(top)
        entries = list(place.files())
        visible = [entry for entry in entries if not any(_is_hidden(part) for part in entry.path.split("/"))]
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
        return [self.files[part] for part in _even_slices(len(self.files), count)]

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


# -- BSON dumps -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BsonSource(Source):
    """A BSON dump of product records: ``{_id, category_id, imgs: [{picture: binary}, ...]}``.

    Each picture is a row; the pictures of one record share its label and never lie in two splits.

    Attributes:
        id_field: names the record.
        label_field: names its class; any scalar, used as text.
        picture_field: path to the picture; ``imgs.picture`` goes through each element of the array ``imgs``.
    """

    place: Place
    file: Entry
    id_field: str = "_id"
    label_field: str = "category_id"
    picture_field: str = "imgs.picture"

    @cached_property
    def _picture_path(self) -> list[str]:
        return self.picture_field.split(".")

    @classmethod
    def open(cls, place: Place, **fields: str) -> BsonSource:
        """Look at the file.

        Raises:
            DataError: if it is missing or empty.
        """
        if not place.exists() or place.is_dir():
            raise DataError(f"{place} is not a file. Expected a BSON dump.")
        entry = next(iter(place.files()))
        if entry.size == 0:
            raise DataError(f"{place} is empty (0 bytes). Expected a BSON dump.")
        check_options("format bson", fields, ("id_field", "label_field", "picture_field"))
        return cls(place, entry, **fields)

    def fingerprint_parts(self) -> list[list[Any]]:
        return [
            [self.place.name, self.file.size, self.file.modified],
            [self.id_field, self.label_field, self.picture_field],
        ]

    @property
    def size_bytes(self) -> int:
        return self.file.size

    def partitions(self, count: int) -> list[bson_format.Chunk]:
        chunk_bytes = max(1, -(-self.file.size // count))
        with self.place.open() as file:
            return list(bson_format.split(file, self.file.size, chunk_bytes=chunk_bytes))

    def rows_of(self, partition: bson_format.Chunk, *, with_data: bool = True) -> Iterator[Row]:
        with self.place.open() as file:
            for item in bson_format.read(file, self.file.size, partition):
                yield from self._rows(item, with_data=with_data)

    def sample(self, count: int) -> Iterator[Row]:
        yield from itertools.islice(self.rows_of(bson_format.Chunk(0, self.file.size)), count)

    def _rows(self, item: bson_format.Record | bson_format.Broken, *, with_data: bool) -> list[Row]:
        if isinstance(item, bson_format.Broken):
            return [Row(f"{self.place.name}@{item.offset}", item.head, problem=f"{item.reason} ({item.size} bytes)")]
        document = item.document
        name = str(document.get(self.id_field, f"@{item.offset}"))
        label = document.get(self.label_field)
        pictures = _find(document, self._picture_path)
        if not pictures:
            return [Row(name, b"", problem=f"record has no {self.picture_field}")]
        rows = []
        for number, picture in enumerate(pictures):
            row_id = name if number == 0 else f"{name}_{number}"
            problem = None
            if label is None or isinstance(label, dict | list):
                problem = f"record has no {self.label_field}"
            elif not isinstance(picture, bytes):
                problem = f"{self.picture_field} is {type(picture).__name__}, not binary"
            data = picture if (with_data or problem) and isinstance(picture, bytes) else b""
            rows.append(Row(row_id, data, None if problem else str(label), None, name, problem))
        return rows


def _find(document: Any, path: list[str]) -> list[Any]:
    """The values that a path leads to, through each element of arrays on the way."""
    found = [document]
    for key in path:
        found = _flat([value[key] for value in found if isinstance(value, dict) and key in value])
    return found


def _flat(values: list[Any]) -> list[Any]:
    """The values, with the elements of arrays (and of arrays in them) in place of the arrays."""
    flat = []
    for value in values:
        if isinstance(value, list):
            flat += _flat(value)
        else:
            flat.append(value)
    return flat


# -- idx arrays -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdxPair:
    """One file of arrays and the file of their labels."""

    images: str
    labels: str
    split: str | None
    rows: int


@dataclass(frozen=True)
class IdxSource(Source):
    """A folder with ``train-images-idx3-ubyte[.gz]``, ``train-labels-idx1-ubyte[.gz]`` and the same for ``t10k``.

    Any ``NAME-images*`` with a ``NAME-labels*`` beside it is a pair; ``train`` and ``t10k`` (or ``test``) are splits.
    """

    place: Place
    files: tuple[Entry, ...]
    pairs: tuple[IdxPair, ...]
    array: ArraySpec

    @classmethod
    def open(cls, place: Place) -> IdxSource:
        """Find the pairs and read their headers.

        Raises:
            DataError: if there is no pair, or the two files of a pair do not agree.
        """
        folder, wanted = (place, None) if place.is_dir() else (_parent(place), place.name)
        listed = (entry for entry in folder.files() if "/" not in entry.path and not _is_hidden(entry.path))
        entries = {entry.path: entry for entry in listed}
        found = []
        for name in entries:
            match = re.fullmatch(r"(.*?)[-_.]?images([-_.]idx\d)?([-_.].*)?", name)
            if match is None or (wanted is not None and name != wanted):
                continue
            if wanted is None and name.endswith(".gz") and name[:-3] in entries:
                continue  # the same file lies there uncompressed, as torchvision leaves it
            stem = match.group(1)
            labels = [other for other in entries if re.fullmatch(re.escape(stem) + r"[-_.]?labels([-_.].*)?", other)]
            if not labels:
                raise DataError(f"{folder / name} has no labels beside it. Expected {stem}-labels-idx1-ubyte[.gz].")
            found.append((name, labels[0], _idx_split(stem)))
        if not found:
            raise DataError(
                f"{place} holds no idx arrays. Expected NAME-images-idx3-ubyte[.gz] and NAME-labels-idx1-ubyte[.gz]."
            )
        pairs, array = [], None
        for images_name, labels_name, split in found:
            pair, pair_array = _open_pair(folder, images_name, labels_name, split)
            if array is not None and pair_array != array:
                raise DataError(f"the idx files in {folder} hold different arrays: {array} and {pair_array}.")
            array = pair_array
            pairs.append(pair)
        assert array is not None
        used = sorted({pair.images for pair in pairs} | {pair.labels for pair in pairs})
        return cls(folder, tuple(entries[name] for name in used), tuple(pairs), array)

    def fingerprint_parts(self) -> list[list[Any]]:
        return [[entry.path, entry.size, entry.modified] for entry in self.files]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files)

    def declared_splits(self) -> list[str]:
        return sorted({pair.split for pair in self.pairs if pair.split})

    def partitions(self, count: int) -> list[tuple[int, int, int]]:
        total = sum(pair.rows for pair in self.pairs)
        result = []
        for number, pair in enumerate(self.pairs):
            parts = max(1, round(count * pair.rows / max(1, total)))
            if pair.images.endswith(".gz"):
                # Each part of a gzip file is reached by decompressing all before it.
                parts = min(parts, 4)
            result += [(number, part.start, part.stop) for part in _even_slices(pair.rows, parts)]
        return result

    def rows_of(self, partition: tuple[int, int, int], *, with_data: bool = True) -> Iterator[Row]:
        number, start, stop = partition
        pair = self.pairs[number]
        names = self._labels(pair, start, stop)
        width = len(str(pair.rows - 1))
        stem = f"{pair.split or pair.images}-"
        if not with_data:
            for i, name in enumerate(names):
                yield Row(f"{stem}{start + i:0{width}d}", b"", name, pair.split)
            return
        with _idx_stream(self.place / pair.images) as (stream, header):
            blocks = idx.read_rows(stream, header, start=start, stop=stop)
            arrays = (array for block in blocks for array in block)
            for i, (array, name) in enumerate(zip(arrays, names, strict=True)):
                yield Row(f"{stem}{start + i:0{width}d}", array.tobytes(), name, pair.split)

    @property
    def rows(self) -> int:
        return sum(pair.rows for pair in self.pairs)

    def _labels(self, pair: IdxPair, start: int, stop: int) -> list[str]:
        with _idx_stream(self.place / pair.labels) as (stream, header):
            return [str(value) for block in idx.read_rows(stream, header, start=start, stop=stop) for value in block]


@contextlib.contextmanager
def _idx_stream(place: Place) -> Iterator[tuple[IO[bytes], idx.Header]]:
    """The plain stream of an idx file, behind its header; what is wrong with the file is said with its name."""
    try:
        with place.open() as file, idx.opened(file) as stream:
            yield stream, idx.read_header(stream)
    except FormatError as error:
        raise FormatError(f"{place}: {error}") from error


def _open_pair(folder: Place, images_name: str, labels_name: str, split: str | None) -> tuple[IdxPair, ArraySpec]:
    headers = []
    for name in (images_name, labels_name):
        with _idx_stream(folder / name) as (_, header):
            headers.append(header)
    arrays, labels = headers
    if len(labels.shape) != 1 or arrays.rows != labels.rows:
        raise DataError(
            f"{images_name} holds {arrays.rows} rows, {labels_name} holds labels of shape {labels.shape}.\n"
            "They must hold one label a row. Are they of the same set?"
        )
    shape = arrays.shape[1:]
    if not shape or not arrays.row_bytes:
        raise DataError(f"{images_name} holds rows of shape {shape}. Expected arrays of at least one value a row.")
    if len(shape) == 2:
        shape = (1, *shape)  # grey pictures: (channels, height, width)
    return IdxPair(images_name, labels_name, split, arrays.rows), ArraySpec(arrays.dtype.name, shape)


def _idx_split(stem: str) -> str | None:
    return "test" if stem.lower() == "t10k" else SPLIT_NAMES.get(stem.lower())


# -- which source is it ---------------------------------------------------------------------------------------------

FORMATS = ("auto", "images", "bson", "idx")


def open_source(where: str | Place, format: str = "auto", **options: str) -> Source:
    """Open a source; ``auto`` tells the format from names and first bytes.

    Raises:
        ConfigError: if the format is unknown.
        DataError: if nothing readable is there.
    """
    place = Place.of(where)
    if format not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {format!r}.")
    if not place.exists():
        raise DataError(f"there is no source at {place}. Check the path; on a cluster every worker must see it.")
    kind = _detect(place) if format == "auto" else format
    if kind == "bson":
        return BsonSource.open(place, **options)
    check_options(f"format {kind}", options, ())
    return IdxSource.open(place) if kind == "idx" else ImageFolderSource.open(place)


def _detect(place: Place) -> str:
    if place.is_dir():
        names = [entry.path for entry in place.files() if "/" not in entry.path] if place.is_local else []
        return "idx" if any(re.search(r"images[-_.]idx\d", name) for name in names) else "images"
    if re.search(r"[-_.]idx\d", place.name):
        return "idx"
    if place.name.endswith(".bson"):
        return "bson"
    with place.open() as file:
        head = file.read(4)
    raise ConfigError(
        f"cannot tell the format of {place} (it begins with {head.hex(' ')}).\n"
        f"Say it with --format: {', '.join(FORMATS[1:])}."
    )


# -- helpers of the sources -----------------------------------------------------------------------------------------


def to_batch(rows: list[Row]) -> pa.RecordBatch:
    """One batch of :data:`SCHEMA`."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.group if row.group is not None else row.id for row in rows], pa.string()),
            pa.array([row.label for row in rows], pa.string()),
            pa.array([row.split for row in rows], pa.string()),
            pa.array([row.data for row in rows], pa.binary()),
            pa.array([row.problem for row in rows], pa.string()),
        ],
        schema=SCHEMA,
    )


def _batches(rows: Iterator[Row], batch_rows: int = 1024) -> Iterator[pa.RecordBatch]:
    held: list[Row] = []
    held_bytes = 0
    for row in rows:
        held.append(row)
        held_bytes += len(row.data)
        if len(held) >= batch_rows or held_bytes >= BATCH_BYTES:
            yield to_batch(held)
            held, held_bytes = [], 0
    if held:
        yield to_batch(held)


def _even_slices(total: int, count: int) -> list[slice]:
    count = max(1, min(count, total))
    edges = [total * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("Thumbs.db", "desktop.ini", "__MACOSX")


def _class_name(folder: str) -> str:
    # macOS stores accents as separate characters; the same class from two machines must be one class.
    return unicodedata.normalize("NFC", _printable(folder))


def _printable(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8, which Python keeps as lone surrogates, are written as \\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _parent(place: Place) -> Place:
    return Place(place.uri.rstrip("/").rpartition("/")[0])
