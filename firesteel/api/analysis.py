"""``firesteel.analyze``: what a source, a dataset or a table holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.runtime import Runtime, Watch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.analysis.results import Analysis


def analyze(
    source: Path | DataFrame | Dataset,
    *,
    format: str = "auto",
    schema: Any = None,
    compare: int | None = None,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    format_options: Mapping[str, str] | None = None,
    **reading: Any,
) -> Analysis:
    """What a source, a prepared dataset or a table holds: figures, what is broken, what is there twice.

    Args:
        source: anything that ``prepare`` reads, a prepared dataset, a table (csv, tsv, parquet, json lines; a file or a
            folder; ``spark-sql:SELECT ...``; ``table:NAME``), or a DataFrame of any types.
        format: auto, images, bson, idx, csv, tsv, parquet or json.
        schema: of a table: a :class:`firesteel.tables.schema.Schema`, its text, or its file. Values that it forbids are
            counted as invalid, with examples. Without one types are those of the DataFrame, or inferred.
        compare: at most about so many pictures are compared with each other for duplicates, of more a sample; None is
            2,000,000.
        engine, master, spark, debug: see :class:`Runtime`. Tables are read by Spark, also if nothing is said.
        workers: processes of the local engine; None is one a core.
        watch: shows the progress.
        format_options: of the format; for bson the names of the fields.
        reading: of tables: header, delimiter, quote, escape, multiline, charset, null_values, see
            :class:`firesteel.tables.options.TableOptions`.

    Returns:
        an :class:`firesteel.analysis.images.ImageAnalysis` or a :class:`firesteel.analysis.results.TableAnalysis`.

    Raises:
        ConfigError: for a wrong option.
        DataError: if there is nothing readable.
    """
    from firesteel.analysis.opening import analyze_anything
    from firesteel.tables.schema import Schema

    runtime = Runtime(engine, master, spark, debug=debug)
    parsed = None if schema is None else Schema.parse(schema)
    return analyze_anything(
        source, runtime,
        format=format, schema=parsed, reading=reading, compare=compare, workers=workers, watch=watch,
        format_options=format_options or {},
    )  # fmt: skip
