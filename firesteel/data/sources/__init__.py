"""Sources: places that hold labelled pictures or arrays, read in parallel as Arrow batches of one schema.

A source knows three things: what it consists of (for the fingerprint), how to cut itself into partitions that many
tasks can read, and how to read one partition. It knows nothing of Spark; ``firesteel.spark.sources`` offers each as a
Spark data source, and ``prepare`` reads it in Spark tasks or local processes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from firesteel.data.manifest import MANIFEST_NAME
from firesteel.data.sources.archives import ArchiveSource, Listing, list_archives
from firesteel.data.sources.base import BATCH_BYTES, SCHEMA, SPLIT_NAMES, ArraySpec, Row, Source, is_hidden, to_batch
from firesteel.data.sources.bson import BsonSource
from firesteel.data.sources.cifar import CifarSource, cifar_folder, is_cifar
from firesteel.data.sources.dataset import DatasetSource
from firesteel.data.sources.folders import ImageFolderSource
from firesteel.data.sources.idx import IdxSource
from firesteel.data.sources.labels import LABEL_OPTIONS
from firesteel.errors import ConfigError, DataError
from firesteel.formats.archives import is_archive_name
from firesteel.specs import check_options, did_you_mean
from firesteel.storage import Place
from firesteel.tables.source import TABLE_FORMATS

__all__ = [
    "BATCH_BYTES", "FORMATS", "LABEL_OPTIONS", "SCHEMA", "SPLIT_NAMES", "ArchiveSource", "ArraySpec", "BsonSource", "CifarSource",
    "DatasetSource", "IdxSource", "ImageFolderSource", "Row", "Source", "open_source", "to_batch",
]  # fmt: skip

FORMATS = ("auto", "images", "bson", "idx", "cifar", "dataset")


def open_source(where: str | Place, format: str = "auto", **options: str) -> Source:
    """Open a source; ``auto`` tells the format from names and first bytes.

    Args:
        where: a folder, a file or an archive.
        format: one of FORMATS; ``images`` are folders and archives of pictures, ``dataset`` is a prepared dataset.
        options: of the format, all texts; see :meth:`BsonSource.open`, :meth:`CifarSource.open` and
            :func:`firesteel.data.sources.labels.make_labels`.

    Raises:
        ConfigError: if the format is unknown, or does not have an option.
        DataError: if nothing readable is there.
    """
    place = Place.of(where)
    if format in TABLE_FORMATS:
        raise ConfigError(f"{place} is a table, which Spark reads: firesteel.prepare, or firesteel.spark.read_table.")
    if format not in FORMATS:
        known = (*FORMATS, *TABLE_FORMATS)
        raise ConfigError(f"format must be one of {', '.join(known)}, got {format!r}.{did_you_mean(format, known)}")
    if not place.exists():
        raise DataError(f"there is no source at {place}. Check the path; on a cluster every worker must see it.")
    archived = format in ("auto", "images", "cifar") and _is_archived(place)
    listings = list_archives(place) if archived else None
    kind = _detect(place, listings, options) if format == "auto" else format
    if kind == "bson":
        return BsonSource.open(place, **options)
    if kind == "images":
        check_options("format images", options, LABEL_OPTIONS)
        if listings is not None:
            return ArchiveSource.open(place, listings, **options)
        return ImageFolderSource.open(place, **options)
    if kind == "cifar":
        return CifarSource.open(place, listings, **options)
    check_options(f"format {kind}", options, ())
    return IdxSource.open(place) if kind == "idx" else DatasetSource.open(place)


def _is_archived(place: Place) -> bool:
    """An archive, or a folder with nothing but archives in it."""
    if not place.is_dir():
        return is_archive_name(place.name)
    names = _visible_names(place)
    return bool(names) and all(map(is_archive_name, names)) and not any(not is_hidden(name) for name in place.folders())


def _visible_names(place: Place) -> list[str]:
    return [name for name in place.file_names() if not is_hidden(name)]


def _detect(place: Place, listings: Sequence[Listing] | None, options: Mapping[str, str]) -> str:
    if any(name in options for name in LABEL_OPTIONS):
        return "images"
    if listings is not None:
        return "cifar" if any(cifar_folder(listing.members) is not None for listing in listings) else "images"
    names = _visible_names(place) if place.is_dir() else [place.name]
    if place.is_dir() and MANIFEST_NAME in names:
        return "dataset"
    if is_cifar(names):
        return "cifar"
    if place.is_dir():
        return "idx" if any(re.search(r"images[-_.]idx\d", name) for name in names) else "images"
    if re.search(r"[-_.]idx\d", place.name):
        return "idx"
    if place.name.endswith(".bson"):
        return "bson"
    with place.open() as file:
        head = file.read(4)
    raise ConfigError(
        f"cannot tell the format of {place} (it begins with {head.hex(' ')}).\n"
        f"Say it with --format: {', '.join((*FORMATS[1:], *TABLE_FORMATS))}."
    )
