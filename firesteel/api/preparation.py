"""``firesteel.prepare``: from a source to a prepared dataset."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.opening import open_any
from firesteel.api.paths import Path
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.data.commit import Prepared


def prepare(
    source: Path | DataFrame,
    dataset: Path,
    *,
    features: str | Sequence[str] | None = None,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
    split_column: str | None = None,
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    **options: Any,
) -> Prepared:
    """Turn a source into a prepared dataset, or find that it is there already.

    Args:
        source: folders or archives (zip, tar) of pictures, a BSON dump, idx or CIFAR files, another prepared dataset, a
            DataFrame, or a table: CSV, TSV, JSON lines or Parquet, ``spark-sql:SELECT ...``, ``table:NAME``.
        dataset: folder for the dataset.
        features: of a DataFrame: the column with the picture or the array; of tables, and DataFrames of plain columns:
            the columns that the network sees, None for all that have no other role.
        label: of a DataFrame or table: the column with the class.
        id: of a DataFrame or table: the column that names a row; without it a row is named by the hash of its features.
        group: of a DataFrame or table: rows of one group never lie in two splits.
        split_column: of a DataFrame or table: the column that names the split; without it rows are split at random.
        overwrite: replace another dataset in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a core. Spark takes as many tasks as it has slots.
        watch: shows the progress.
        options: see :class:`firesteel.data.preparation.PrepareOptions`: format, size, channels, split, min_per_class,
            max_per_class, balance, policy, encoding, seed, shard_bytes, format_options; and for tables :class:`firesteel.tables.options.TableOptions`:
            schema, header, delimiter, quote, escape, multiline, charset, null_values, encode, learn_categories, missing.

    Returns:
        the dataset, and whether it was reused.

    Raises:
        ConfigError: for a wrong option.
        DataError: if the source holds nothing usable.
        DatasetError: if something else lies in the folder.
    """
    from firesteel.data.commit import prepare_dataset

    roles = {"features": features, "label": label, "id": id, "group": group, "split_column": split_column}
    place = Place.of(dataset)
    with contextlib.ExitStack() as stack:
        runtime = Runtime(engine, master, spark, debug=debug)
        opened = open_any(source, place, runtime, roles, options, stack, workers=workers, what="dataset")
        return prepare_dataset(
            opened.facts, opened.make_engine, place, opened.options, overwrite=overwrite, watching=watch
        )
