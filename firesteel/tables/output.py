"""Where a transformed table may be written, and as what."""

from __future__ import annotations

from firesteel.errors import ConfigError, DataError
from firesteel.storage import Place
from firesteel.tables.schema import Schema

PROCESS_NAME, SCHEMA_NAME = "_process.yaml", "_schema.yaml"
"""What is kept beside the table: readers overlook names that begin with an underscore."""

FORMATS = ("csv", "parquet", "json")


def check_output(out: Place, schema: Schema, format: str, *, overwrite: bool) -> None:
    """Refuse, before a job runs, what cannot be written.

    Raises:
        ConfigError: if the format is none, or cannot hold a column.
        DataError: if something lies in the folder that may not be replaced.
    """
    if format not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {format!r}.")
    for column in schema.columns:
        if format == "csv" and (column.sequence or column.type == "bytes"):
            kind = "sequences" if column.sequence else "bytes"
            raise ConfigError(f"column {column.name!r} holds {kind}, which CSV cannot. Choose --format parquet.")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file. Choose a folder.")
    if out.is_empty_or_missing():
        return
    if not (out / PROCESS_NAME).exists():
        raise DataError(
            f"{out} holds files that no transformation has written. Nothing was changed. Choose another folder."
        )
    if not overwrite:
        raise DataError(
            f"{out} holds a transformed table already. Choose another folder, or pass --overwrite to replace it."
        )


def check_apart(source: Place, out: Place) -> None:
    """Refuse to write into what is read.

    Raises:
        ConfigError: if one folder lies inside the other.
    """
    if out.is_inside(source) or source.is_inside(out):
        raise ConfigError(
            f"the result {out} and its source {source} must not lie one in the other. Choose a folder beside it."
        )


__all__ = ["FORMATS", "PROCESS_NAME", "SCHEMA_NAME", "check_apart", "check_output"]
