"""Arrays in idx files, as MNIST comes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from firesteel.data.sources.base import SPLIT_NAMES, ArraySpec, Row, Source, even_slices, is_hidden
from firesteel.errors import DataError, FormatError
from firesteel.formats import idx
from firesteel.storage import Entry, Place


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
        listed = (entry for entry in folder.files() if "/" not in entry.path and not is_hidden(entry.path))
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

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return list(self.files)

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
            result += [(number, part.start, part.stop) for part in even_slices(pair.rows, parts)]
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


def _parent(place: Place) -> Place:
    return Place(place.uri.rstrip("/").rpartition("/")[0])
