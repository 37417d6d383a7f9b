"""The prepared dataset on storage: its manifest, which is its commit, and what the manifest promises.

A folder without ``manifest.json`` is not a dataset, only a leftover. The manifest is written last, in one piece; it
names every shard, so that files of killed or repeated tasks are not part of the dataset even where they still lie.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from firesteel.errors import DatasetError
from firesteel.storage import Place, safe_relative
from firesteel.tables.encoding import TableEncoding

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Part):
    """One Parquet file.

    Attributes:
        path: relative to the dataset.
        rows: how many it holds.
        bytes: its size.
        sha256: of the whole file, hexadecimal.
    """

    path: str
    rows: int
    bytes: int
    sha256: str

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if not safe_relative(path):
            raise ValueError(f"shard path {path!r} leaves the dataset")
        return path


class Split(_Part):
    """One split: its rows, in total and per class (in the order of the labels), and its shards in order."""

    rows: int
    rows_per_class: list[int]
    shards: list[Shard]


class Feature(_Part):
    """What one row's ``features`` column holds.

    Attributes:
        dtype: numpy name of the values (``uint8``, ``float32``).
        shape: of one row; pictures are (channels, height, width).
        encoding: ``raw`` (C order, fixed size) or ``jpeg`` (to be decoded to that shape).
        kind: ``image`` if new inputs are pictures to decode and resize, ``array`` if they are arrays of that shape,
            ``table`` if they are rows of columns.
        table: how such a row becomes an array; None for other kinds.
    """

    dtype: str
    shape: tuple[int, ...]
    encoding: Literal["raw", "jpeg"] = "raw"
    kind: Literal["image", "array", "table"] = "image"
    table: TableEncoding | None = None


class Statistics(_Part):
    """Of the training split: mean and population standard deviation of ``value * scale``, per channel.

    For one-dimensional rows there is one channel a column. ``scale`` is 1/255 for uint8, else 1.
    """

    mean: list[float]
    std: list[float]
    scale: float


class Counts(_Part):
    """Rows by their fate; ``read + generated == written + dropped + quarantined``."""

    read: int
    written: int
    dropped: int
    generated: int
    quarantined: int


class Quarantine(_Part):
    """Records that could not be used: how many for which reason (at most 50 reasons), and the shards that keep them."""

    reasons: dict[str, int]
    shards: list[Shard]


FEATURES: Literal["features"] = "features"
"""Format of the source of a dataset that holds what the frozen layers of a network give."""


class Manifest(_Part):
    """All that is known of a prepared dataset.

    Attributes:
        format_version: of this file.
        fingerprint: of the source's listing and the parameters; the same again means the dataset is reused.
        source: where it came from, and its format.
        parameters: of ``prepare``, resolved.
        feature: what one row holds.
        labels: class names; a row's label is an index into them.
        splits: by name.
        statistics: of the training split.
        counts: records by their fate.
        quarantine: what could not be used.
        warnings: what a person should know, in sentences.
        created: command, versions, date and seconds of the preparation.
    """

    format_version: int = FORMAT_VERSION
    fingerprint: str
    source: dict[str, Any]
    parameters: dict[str, Any]
    feature: Feature
    labels: list[str]
    splits: dict[str, Split]
    statistics: Statistics
    counts: Counts
    quarantine: Quarantine
    warnings: list[str] = Field(default_factory=list)
    created: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: a place and its manifest."""

    place: Place
    manifest: Manifest

    @classmethod
    def open(cls, where: str | Place) -> Dataset:
        """Read the manifest.

        Raises:
            DatasetError: if there is none, or it is not readable by this version.
        """
        place = Place.of(where)
        manifest_place = place / MANIFEST_NAME
        if not manifest_place.exists():
            raise DatasetError(_why_no_manifest(place))
        try:
            raw = json.loads(manifest_place.read_text())
            version = raw.get("format_version")
            if version != FORMAT_VERSION:
                raise DatasetError(
                    f"{place} has manifest version {version}; this Firesteel reads version {FORMAT_VERSION}."
                    " Prepare it again, or use the Firesteel that wrote it."
                )
            return cls(place, Manifest.model_validate(raw))
        except (ValueError, ValidationError, AttributeError) as error:
            if isinstance(error, DatasetError):
                raise
            first = str(error).strip().splitlines()[0]
            raise DatasetError(
                f"{manifest_place} is not a sound manifest ({first}). Prepare the dataset again."
            ) from error

    def split(self, name: str) -> Split:
        """One split.

        Raises:
            DatasetError: if the dataset has no such split or it has no rows.
        """
        splits = self.manifest.splits
        if name not in splits:
            raise DatasetError(f"{self.place} has no split {name!r}; it has {', '.join(splits)}.")
        if not splits[name].rows:
            raise DatasetError(f"split {name!r} of {self.place} has no rows.")
        return splits[name]

    @cached_property
    def feature(self) -> Feature:
        return self.manifest.feature

    @property
    def num_classes(self) -> int:
        return len(self.manifest.labels)


def fingerprint_of(parts: Any) -> str:
    """SHA-256 of JSON-able parts, the same for equal parts on any machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _why_no_manifest(place: Place) -> str:
    if not place.exists():
        return f"there is no dataset at {place}. Make one with: firesteel prepare SOURCE {place}"
    if (place / "preparing.json").exists():
        return (
            f"{place} has no {MANIFEST_NAME}: its preparation has not ended, or was interrupted.\n"
            f"Wait for it, or run the same firesteel prepare again."
        )
    return (
        f"{place} is not a prepared dataset: it has no {MANIFEST_NAME}.\n"
        f"Make one with: firesteel prepare SOURCE DATASET"
    )
