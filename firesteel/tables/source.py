"""Which sources are tables, what lies there, and of which format it is, without Spark."""

from __future__ import annotations

import re
from typing import Any

from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.storage import Place

TABLE_FORMATS = ("csv", "tsv", "json", "parquet")

SQL, TABLE = "spark-sql:", "table:"
"""What a source begins with that is a query, or a table of Spark's catalogue."""

_SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet", ".json": "json", ".jsonl": "json",
    ".ndjson": "json",
}  # fmt: skip
_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zst|snappy|lz4|deflate)$", re.IGNORECASE)


def is_table(source: str, format: str) -> bool:
    """Whether a source is a table: by the format that was said, else by what it begins with or the names of its files."""
    if format != "auto":
        return format in TABLE_FORMATS or format == "jsonl"
    return source.startswith((SQL, TABLE)) or format_of(source) is not None or _format_of_folder(source) is not None


def table_format(where: str, format: str) -> str:
    """``csv``, ``tsv``, ``json``, ``parquet``, ``sql`` or ``table``: as was said, else by the names of the files.

    Raises:
        ConfigError: if it is not one of them, or the names do not tell.
    """
    if where.startswith((SQL, TABLE)):
        return "sql" if where.startswith(SQL) else "table"
    if format in TABLE_FORMATS:
        return format
    if format not in ("auto", "jsonl"):
        raise ConfigError(
            f"format of a table must be one of {', '.join(TABLE_FORMATS)}, got {format!r}.{did_you_mean(format, TABLE_FORMATS)}"
        )
    found = "json" if format == "jsonl" else format_of(where) or _format_of_folder(where)
    if found is None:
        raise ConfigError(
            f"cannot tell the format of {where} by its name. Say it with --format: {', '.join(TABLE_FORMATS)}."
        )
    return found


def format_of(name: str) -> str | None:
    """The format of a file, compressed or not, by its name; None if that tells nothing."""
    stem = _COMPRESSED.sub("", name.rstrip("/"))
    return _SUFFIXES.get("." + stem.rpartition(".")[2].lower()) if "." in stem else None


def listing(where: str) -> tuple[list[list[Any]] | None, int | None]:
    """(path, size, modified) of each file of a table, and their bytes together; None if nobody but Spark can look.

    Files that Spark leaves out, because their names begin with ``_`` or ``.``, are left out.
    """
    if where.startswith((SQL, TABLE)):
        return None, None
    try:  # drivers of storage raise errors of their own kinds, for credentials and more
        files = [entry for entry in Place.of(where).files() if not _is_hidden(entry.path)]
    except Exception:
        return None, None
    return [[entry.path, entry.size, entry.modified] for entry in files], sum(entry.size for entry in files)


def _format_of_folder(where: str) -> str | None:
    """The format of a folder's files, if all that are not hidden have the same; None if not, or nobody can look.

    Folders in it are those of a partitioned table (``year=2016/``), or it holds no table: they may be classes of pictures.
    """
    try:
        place = Place.of(where)
        if not place.is_dir() or any("=" not in name and not _is_hidden(name) for name in place.folders()):
            return None
        formats: set[str | None] = set()
        for entry in place.files():
            if not _is_hidden(entry.path):
                formats.add(format_of(entry.path))
            if None in formats or len(formats) > 1:
                return None
    except Exception:  # drivers of storage raise errors of their own kinds
        return None
    return formats.pop() if formats else None


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


__all__ = ["SQL", "TABLE", "TABLE_FORMATS", "format_of", "is_table", "listing", "table_format"]
