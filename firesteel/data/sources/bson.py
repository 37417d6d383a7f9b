"""BSON dumps of product records."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from firesteel.data.sources.base import Row, Source
from firesteel.errors import DataError
from firesteel.formats import bson as bson_format
from firesteel.specs import check_options
from firesteel.storage import Entry, Place


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

    def fingerprint_parts(self) -> list[Sequence[Any]]:
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
                if isinstance(item, bson_format.Broken):
                    place, problem = f"{self.place.name}@{item.offset}", f"{item.reason} ({item.size} bytes)"
                    yield Row(place, item.head, problem=problem)
                else:
                    yield from self._rows(item, with_data)

    def sample(self, count: int) -> Iterator[Row]:
        yield from itertools.islice(self.rows_of(bson_format.Chunk(0, self.file.size)), count)

    def _rows(self, record: bson_format.Record, with_data: bool) -> Iterator[Row]:
        offset, document = record
        name = str(document[self.id_field]) if self.id_field in document else f"@{offset}"
        label = document.get(self.label_field)
        text = None if label is None or isinstance(label, (dict, list)) else str(label)
        pictures = _find(document, self._picture_path)
        if not pictures:
            yield Row(name, b"", problem=f"record has no {self.picture_field}")
        row_id = name
        for number, picture in enumerate(pictures, 1):
            if text is None:
                data = picture if isinstance(picture, bytes) else b""
                yield Row(row_id, data, None, None, name, f"record has no {self.label_field}")
            elif not isinstance(picture, bytes):
                problem = f"{self.picture_field} is {type(picture).__name__}, not binary"
                yield Row(row_id, b"", None, None, name, problem)
            else:
                yield Row(row_id, picture if with_data else b"", text, None, name)
            row_id = f"{name}_{number}"


def _find(document: Any, path: list[str]) -> list[Any]:
    """The values that a path leads to, through each element of arrays on the way."""
    if len(path) == 2 and isinstance(document.get(path[0]), list):  # as a rule; the other way costs three times as much
        values, key = [], path[1]
        for element in document[path[0]]:
            if type(element) is not dict or type(element.get(key)) is not bytes:
                break
            values.append(element[key])
        else:
            return values
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
