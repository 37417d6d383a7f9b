"""``firesteel.prepare``: from a source to a prepared dataset."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path, refuse_inside
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.data.commit import Prepared
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.tables.options import TableOptions


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
    from firesteel.data.preparation import PrepareOptions
    from firesteel.tables.source import is_table
    from firesteel.training.job import checked

    roles = {"features": features, "label": label, "id": id, "group": group, "split_column": split_column}
    place = Place.of(dataset)
    with contextlib.ExitStack() as stack:
        runtime = Runtime(engine, master, spark, debug=debug)
        if not isinstance(source, str | os.PathLike | Place):
            chosen, facts, make_engine = _frame_engine(source, roles, options)
        elif is_table(str(source), options.get("format", "auto")):
            chosen, facts, make_engine = _table_engine(str(source), place, runtime, roles, options, stack)
        else:
            _refuse_table_options(str(source), roles, options)
            chosen = checked(PrepareOptions, options)
            facts, make_engine = _source_engine(source, place, chosen, runtime, workers, stack)
        return prepare_dataset(facts, make_engine, place, chosen, overwrite=overwrite, watching=watch)


def _refuse_table_options(source: str, roles: dict[str, Any], options: dict[str, Any]) -> None:
    from firesteel.tables.options import TableOptions

    given = [name for name, value in roles.items() if value is not None]
    given += [name for name in options if name == "schema" or name in TableOptions.model_fields]
    if given:
        raise ConfigError(
            f"{given[0]} is for tables and DataFrames, and {source} is no table by its name.\n"
            "If it is one, say so: --format csv, tsv, json or parquet (in Python format=...)."
        )


def _source_engine(
    where: Path,
    place: Place,
    options: PrepareOptions,
    runtime: Runtime,
    workers: int | None,
    stack: contextlib.ExitStack,
) -> tuple[SourceFacts, Callable[[], Any]]:
    from firesteel.data.engines import SourceEngine
    from firesteel.data.preparation import SourceFacts
    from firesteel.data.sources import open_source

    source = open_source(Place.of(where), options.format, **options.format_options)
    refuse_inside(place, source, "dataset")
    runtime.check(1)
    facts = SourceFacts(
        {"uri": Place.of(where).uri, "format": type(source).__name__.removesuffix("Source").lower()},
        source.fingerprint_parts(),
        source.array,
        source.class_names(),
        source.declared_splits(),
        source.notes(),
    )

    def make() -> Any:
        if runtime.uses_spark:
            from firesteel.spark.prepare import SparkSourceEngine

            return SparkSourceEngine(stack.enter_context(runtime.session()), source)
        count = workers or len(os.sched_getaffinity(0))
        return SourceEngine(source, local_launcher(count), count)

    return facts, make


def _table_engine(
    where: str,
    place: Place,
    runtime: Runtime,
    roles: dict[str, Any],
    options: dict[str, Any],
    stack: contextlib.ExitStack,
) -> tuple[PrepareOptions, SourceFacts, Callable[[], Any]]:
    from firesteel.data.preparation import SourceFacts
    from firesteel.tables.source import listing, table_format

    chosen, table = _table_options(roles, options)
    kind = table_format(where, chosen.format)
    parts, size = listing(where)
    if runtime.engine == "local":
        raise ConfigError(
            "tables are read by Spark; engine local cannot prepare them (it trains on them, once they are prepared).\n"
            "Leave --engine out, or name a --master, for example local[2]."
        )
    if parts is not None and place.is_inside(Place.of(where)):
        raise ConfigError(f"the dataset {place} would lie inside its source {where}. Choose a folder beside it.")
    if table.columns is not None:
        table.encodings(table.columns)  # what is wrong with it is known before Spark starts
    notes = [] if parts is not None else ["nobody knows whether this source changes: its dataset is never reused"]
    uri = where if kind in ("sql", "table") else Place.of(where).uri
    facts = SourceFacts({"uri": uri, "format": kind}, parts, None, [], [], notes)
    spark_runtime = replace(runtime, engine="spark")
    spark_runtime.check(1)

    def make() -> Any:
        from firesteel.spark.prepare_table import TableEngine
        from firesteel.spark.tables import open_table

        session = stack.enter_context(spark_runtime.session())
        return TableEngine(open_table(session, where, kind, table), table, size)

    return chosen, facts, make


def _table_options(roles: dict[str, Any], options: dict[str, Any]) -> tuple[PrepareOptions, TableOptions]:
    from firesteel.data.preparation import PrepareOptions
    from firesteel.tables.options import TableOptions
    from firesteel.tables.schema import Schema
    from firesteel.training.job import checked

    given = {name: value for name, value in roles.items() if value is not None}
    given |= {name: value for name, value in options.items() if name in TableOptions.model_fields}
    if options.get("schema") is not None:
        given["columns"] = Schema.parse(options["schema"])
    if isinstance(given.get("features"), str):
        given["features"] = (given["features"],)
    table: TableOptions = checked(TableOptions, given)
    rest = {name: value for name, value in options.items() if name not in given and name != "schema"}
    return checked(PrepareOptions, rest).model_copy(update={"table": table}), table


def _frame_engine(
    frame: Any, roles: dict[str, Any], options: dict[str, Any]
) -> tuple[PrepareOptions, SourceFacts, Callable[[], Any]]:
    if not hasattr(frame, "mapInArrow"):
        raise ConfigError(f"source must be a path or a Spark DataFrame, got {type(frame).__name__}.")
    if not roles["label"] or not (roles["features"] or "schema" in options):
        raise ConfigError(
            "a DataFrame needs the names of its columns: prepare(df, dataset, features='image', label='class')."
            f" It has {', '.join(frame.columns)}."
        )
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.spark.prepare import Columns, DataFrameEngine, holds_whole_rows
    from firesteel.training.job import checked

    names = [roles["features"]] if isinstance(roles["features"], str) else list(roles["features"] or ())
    if len(names) == 1 and "schema" not in options and holds_whole_rows(frame, names[0]):
        columns = Columns(names[0], roles["label"], roles["id"], roles["group"], roles["split_column"])
        engine = DataFrameEngine(frame, columns)
        facts = SourceFacts(
            {"uri": "DataFrame", "format": "dataframe"}, None, engine.array, [], engine.own_splits(), []
        )
        return checked(PrepareOptions, options), facts, lambda: engine
    from firesteel.spark.prepare_table import TableEngine
    from firesteel.spark.tables import open_table

    chosen, table = _table_options(roles, options)
    table_engine = TableEngine(open_table(frame.sparkSession, frame, "auto", table), table)
    return (
        chosen,
        SourceFacts({"uri": "DataFrame", "format": "dataframe"}, None, None, [], [], []),
        lambda: table_engine,
    )
