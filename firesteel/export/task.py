"""The task of an export: the pictures of one partition as files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from firesteel.data.marker import check_token
from firesteel.data.partition import kind_of_problem
from firesteel.data.preparation import PROGRESS_FOLDER
from firesteel.data.progress import TaskProgress
from firesteel.data.sources import Row, Source
from firesteel.errors import FormatError
from firesteel.export.names import collision_key, digest, file_name, stem_and_extension
from firesteel.formats import images
from firesteel.storage import Place

HOME_FOLDER = ".export"
"""In the folder of an export: what is known of it. Hidden, so that no class is made of it."""

_CHECK_SPEC = images.ImageSpec(32, 32, 3)
"""Small, so that a JPEG is read through to its end without computing all of its pixels."""


@dataclass(frozen=True)
class ExportPlan:
    """All that a task needs to know. Picklable; the same for every task.

    Attributes:
        folder: URI of the export.
        source: to read, without its listing.
        folders: by label.
        with_splits: whether a folder of the split comes above that of the class.
        colliding: keys of rows whose files would have the same name.
        check: ``full`` decodes every picture, ``header`` only looks at its head.
        token: of the export; a task writes only while the folder's marker has the same.
    """

    folder: str
    source: Source
    folders: dict[str, str]
    with_splits: bool
    colliding: frozenset[int]
    check: Literal["full", "header"]
    token: str

    def folder_of(self, label: str, split: str | None) -> str:
        """Where the pictures of a class lie, relative to the export."""
        return f"{split}/{self.folders[label]}" if self.with_splits and split else self.folders[label]


@dataclass
class ExportCounts:
    """What one task, or all together, did; ``read == written + set_aside``.

    Attributes:
        read, written, set_aside: rows.
        bytes: of the files.
        reasons: rows set aside, by reason.
    """

    read: int = 0
    written: int = 0
    set_aside: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: ExportCounts) -> ExportCounts:
        return ExportCounts(
            self.read + other.read, self.written + other.written, self.set_aside + other.set_aside,
            self.bytes + other.bytes, self.reasons + other.reasons,
        )  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ExportCounts:
        return cls(**{**value, "reasons": Counter(value["reasons"])})


def done_place(folder: Place, number: int) -> Place:
    """The file that says that a partition has been exported; written last."""
    return folder / HOME_FOLDER / f"done-{number:05d}.json"


def export_partition(plan: ExportPlan, number: int, partition: Any) -> dict[str, Any]:
    """Write the pictures of one partition, its index and the list of what was set aside.

    A second attempt writes the same bytes under the same names: nothing is doubled, and nothing has to be removed.

    Returns:
        the :class:`ExportCounts`, JSON-able.
    """
    return _Exporter(plan, number).run(plan.source.rows_of(partition))


class _Exporter:
    """The state of one task."""

    def __init__(self, plan: ExportPlan, number: int):
        self._plan, self._number, self._folder = plan, number, Place.of(plan.folder)
        self._check = partial(check_token, self._folder / HOME_FOLDER, plan.token)
        self._progress = TaskProgress(self._folder / HOME_FOLDER / PROGRESS_FOLDER, number, self._check)
        self._counts = ExportCounts()
        self._index: list[tuple[str, ...]] = []
        self._aside: list[tuple[str, ...]] = []

    def run(self, rows: Iterable[Row]) -> dict[str, Any]:
        for row in rows:
            try:
                self._write(row)
            except FormatError as error:
                reason = str(error)
                self._counts.set_aside += 1
                self._counts.reasons[kind_of_problem(reason)] += 1
                self._aside.append((row.id, row.label or "", reason))
            self._counts.read += 1
            if self._counts.read % 64 == 0:
                self._check()
                self._progress.say(self._counts.read)
        return self._close()

    def _write(self, row: Row) -> None:
        if row.problem is not None:
            raise FormatError(row.problem)
        if row.label is None or row.label not in self._plan.folders:
            raise FormatError("no label" if row.label is None else "its class was not there when the source was listed")
        data, format = self._encoded(row.data)
        folder = self._plan.folder_of(row.label, row.split)
        stem, extension = stem_and_extension(row.id, row.label, row.split)
        suffix = ""
        if collision_key(row.id, row.label, row.split, with_splits=self._plan.with_splits) in self._plan.colliding:
            suffix = f"~{digest(f'{self._number}:{self._counts.read}:{row.id}')}"
        path = f"{folder}/{file_name(stem, extension, format, suffix)}"
        (self._folder / path).write_bytes(data, durable=False)
        self._counts.written += 1
        self._counts.bytes += len(data)
        self._index.append((path, row.id, row.label, row.split or "", row.group or row.id))

    def _encoded(self, data: bytes) -> tuple[bytes, str]:
        """The bytes of the file and Pillow's name of its format."""
        array = self._plan.source.array
        if array is None:
            format = images.format_of(data)
            if self._plan.check == "full":
                images.decode(data, _CHECK_SPEC)
            return data, format
        if len(data) != math.prod(array.shape):
            raise FormatError(f"array of {len(data)} bytes, expected {math.prod(array.shape)}")
        return images.encode_png(np.frombuffer(data, np.uint8).reshape(array.shape).transpose(1, 2, 0)), "PNG"

    def _close(self) -> dict[str, Any]:
        home = self._folder / HOME_FOLDER
        self._check()
        if self._aside:
            text = _csv(("id", "label", "reason"), self._aside)
            (home / f"set-aside-{self._number:05d}.csv").write_text(text)
        (home / f"index-{self._number:05d}.csv").write_text(
            _csv(("file", "id", "label", "split", "group"), self._index)
        )
        self._progress.say(self._counts.read, at_once=True)
        result = {**vars(self._counts), "reasons": dict(self._counts.reasons)}
        done_place(self._folder, self._number).write_text(json.dumps(result))
        return result


def partition_keys(source: Source, with_splits: bool, partition: Any) -> dict[str, Any]:
    """What must be known of all rows before names are given: their collision keys, and the labels.

    Returns:
        ``keys``: int64 in native order, hexadecimal; ``labels``: rows by label; both JSON-able.
    """
    keys, labels = [], Counter[str]()
    for row in source.rows_of(partition, with_data=False):
        if row.problem is None and row.label is not None:
            labels[row.label] += 1
            keys.append(collision_key(row.id, row.label, row.split, with_splits=with_splits))
    return {"keys": np.array(keys, np.int64).tobytes().hex(), "labels": dict(labels)}


def _csv(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows(lines)
    return out.getvalue()
