"""Whatever rows come from, opened: options, facts, and what goes over it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from firesteel.api.paths import Path, refuse_inside
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, local_launcher
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.data.sources import Source
    from firesteel.tables.options import TableOptions


@dataclass(frozen=True)
class Opened:
    """Something that rows come from.

    Attributes:
        options: of the preparation, checked.
        facts: that are known without an engine.
        make_engine: starts what goes over it.
        source: that tasks can read themselves; None if only Spark can.
    """

    options: PrepareOptions
    facts: SourceFacts
    make_engine: Callable[[], Any]
    source: Source | None = None


def open_any(
    source: Any,
    place: Place,
    runtime: Runtime,
    roles: dict[str, Any],
    options: dict[str, Any],
    stack: contextlib.ExitStack,
    *,
    workers: int | None = None,
    what: str,
) -> Opened:
    """Open a source, a table or a DataFrame.

    Args:
        source: path, URI, query or DataFrame.
        place: that will be written.
        runtime: what reads it.
        roles: features, label, id, group and split_column, of tables and DataFrames; None where nothing is said.
        options: see :func:`firesteel.prepare`.
        stack: closes the Spark session that an engine has started.
        workers: processes of the local engine.
        what: is written, for messages.

    Raises:
        ConfigError: for a wrong option.
        DataError: if nothing readable is there.
    """
    from firesteel.data.preparation import PrepareOptions
    from firesteel.tables.source import is_table
    from firesteel.training.job import checked

    if not isinstance(source, str | os.PathLike | Place):
        return _open_frame(source, roles, options)
    if is_table(str(source), options.get("format", "auto")):
        return _open_table(str(source), place, runtime, roles, options, stack)
    _refuse_table_options(str(source), roles, options)
    return _open_source(source, place, checked(PrepareOptions, options), runtime, workers, stack, what)


def _refuse_table_options(source: str, roles: dict[str, Any], options: dict[str, Any]) -> None:
    from firesteel.tables.options import TableOptions

    given = [name for name, value in roles.items() if value is not None]
    given += [name for name in options if name == "schema" or name in TableOptions.model_fields]
    if given:
        raise ConfigError(
            f"{given[0]} is for tables and DataFrames, and {source} is no table by its name.\n"
            "If it is one, say so: --format csv, tsv, json or parquet (in Python format=...)."
        )


def _open_source(
    where: Path,
    place: Place,
    options: PrepareOptions,
    runtime: Runtime,
    workers: int | None,
    stack: contextlib.ExitStack,
    what: str,
) -> Opened:
    from firesteel.data.engines import SourceEngine
    from firesteel.data.preparation import SourceFacts
    from firesteel.data.sources import open_source

    source = open_source(Place.of(where), options.format, **options.format_options)
    refuse_inside(place, source, what)
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

    return Opened(options, facts, make, source)


def _open_table(
    where: str,
    place: Place,
    runtime: Runtime,
    roles: dict[str, Any],
    options: dict[str, Any],
    stack: contextlib.ExitStack,
) -> Opened:
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

    return Opened(chosen, facts, make)


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


def _open_frame(frame: Any, roles: dict[str, Any], options: dict[str, Any]) -> Opened:
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
        return Opened(checked(PrepareOptions, options), facts, lambda: engine)
    from firesteel.spark.prepare_table import TableEngine
    from firesteel.spark.tables import open_table

    chosen, table = _table_options(roles, options)
    table_engine = TableEngine(open_table(frame.sparkSession, frame, "auto", table), table)
    return Opened(
        chosen, SourceFacts({"uri": "DataFrame", "format": "dataframe"}, None, None, [], [], []), lambda: table_engine
    )
