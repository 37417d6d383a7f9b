"""Sources: places that hold labelled pictures or arrays, read in parallel as Arrow batches of one schema.

A source knows three things: what it consists of (for the fingerprint), how to cut itself into partitions that many
tasks can read, and how to read one partition. It knows nothing of Spark; ``firesteel.spark.sources`` offers each as a
Spark data source, and ``prepare`` reads it in Spark tasks or local processes.
"""

from __future__ import annotations

import re

from firesteel.data.sources.base import BATCH_BYTES, SCHEMA, SPLIT_NAMES, ArraySpec, Row, Source, to_batch
from firesteel.data.sources.bson import BsonSource
from firesteel.data.sources.folders import ImageFolderSource
from firesteel.data.sources.idx import IdxSource
from firesteel.errors import ConfigError, DataError
from firesteel.specs import check_options
from firesteel.storage import Place

__all__ = [
    "BATCH_BYTES", "FORMATS", "SCHEMA", "SPLIT_NAMES", "ArraySpec", "BsonSource", "IdxSource", "ImageFolderSource", "Row",
    "Source", "open_source", "to_batch",
]  # fmt: skip

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
