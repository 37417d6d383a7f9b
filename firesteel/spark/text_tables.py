"""Lines of text files that Spark reads, and the names of their fields."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError, DataError
from firesteel.spark.actions import collected
from firesteel.specs import did_you_mean
from firesteel.tables.dialect import Dialect
from firesteel.tables.options import TableOptions
from firesteel.tables.records import csv_fields, decoded, header_names, whole_records

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_HEAD_BYTES = 1 << 20
"""A header longer than this is none."""

_LOOKED_AT = 20
"""Lines from which the number of fields is told, where no header tells it."""


def lines_of(spark: SparkSession, path: str, dialect: Dialect) -> DataFrame:
    """``value``, ``path`` and ``start`` of every line, see :class:`LinesReader`."""
    from pyspark.sql import functions as F

    frame = spark.read.text(path, wholetext=dialect.reads_whole_files)
    return frame.select(
        F.col("value").cast("binary").alias("value"),
        F.col("_metadata.file_path").alias("path"),
        F.col("_metadata.file_block_start").alias("start"),
    )


def csv_layout(lines: DataFrame, dialect: Dialect, options: TableOptions, where: str) -> tuple[str, ...]:
    """Names of the fields: as the header says, else as the schema does, else ``_1``, ``_2``, ..."""
    declared = () if options.columns is None else options.columns.names
    first = _first_lines(lines, dialect, 1 if dialect.header else _LOOKED_AT)
    if not first:
        raise DataError(f"{where} holds no line: there is nothing to read.")
    if not dialect.header:
        counts = Counter(len(fields) for fields, _ in csv_fields(first, dialect) if fields is not None)
        if declared and len(declared) not in counts:  # one line that is broken is a record for the quarantine
            raise ConfigError(
                f"the first lines of {where} have {counts.most_common(1)[0][0] if counts else 'no sound'} fields, the schema"
                f" names {len(declared)} columns: {', '.join(declared)}.\nThe first: {first[0][:200]}\n"
                "Name every field in the schema (--features chooses among them), or give the right --delimiter."
            )
        return declared or tuple(
            f"_{number}" for number in range(1, max(counts, key=lambda n: counts[n], default=0) + 1)
        )
    layout = header_names(first[0], dialect, where)
    absent = [name for name in declared if name not in layout]
    if absent:
        raise ConfigError(
            f"the header of {where} names {', '.join(layout)}; the schema has {', '.join(declared)}.\n"
            f"Not in the header: {', '.join(absent)}.{did_you_mean(absent[0], layout)}"
            " If the file has no header, pass --no-header (in Python header=False)."
        )
    return layout


def _first_lines(lines: DataFrame, dialect: Dialect, count: int) -> list[str]:
    """Lines with which a file begins."""
    from pyspark.sql import functions as F

    head = F.substring("value", 1, _HEAD_BYTES)
    begins = lines.where("start = 0 AND length(trim(cast(value AS string))) > 0").select(head.alias("value"))
    rows = [bytes(row["value"]) for row in collected(begins.limit(1 if dialect.reads_whole_files else count))]
    texts = [decoded(value, dialect) for value in rows]
    if dialect.reads_whole_files and texts:
        return list(islice(whole_records(texts[0], dialect), count))
    return [text for text in texts if text.strip()]


def json_layout(spark: SparkSession, path: str, dialect: Dialect, options: TableOptions) -> tuple[str, ...]:
    """Names of the keys: as the schema says, else all that Spark finds."""
    if options.columns is not None:
        return options.columns.names
    frame = spark.read.options(multiLine=dialect.multiline, primitivesAsString=True).json(path)
    names = tuple(name for name in frame.columns if name != "_corrupt_record")
    if not names:
        raise DataError(f"{path} holds no JSON object: there is nothing to read.")
    return names


__all__ = ["csv_layout", "json_layout", "lines_of"]
