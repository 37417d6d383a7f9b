"""Tables as the source of a preparation: from what a caller said to the engine that does it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError, DataError
from firesteel.runtime import Runtime
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.tables.options import TableOptions


def table_engine(
    where: str,
    place: Place,
    runtime: Runtime,
    roles: dict[str, Any],
    options: dict[str, Any],
    stack: contextlib.ExitStack,
) -> tuple[PrepareOptions, SourceFacts, Callable[[], Any]]:
    """What prepares a table that Spark reads: options, what is known of the source, and what makes the engine.

    Args:
        where: path, URI, ``spark-sql:...`` or ``table:...``.
        place: of the dataset.
        runtime: what the caller said of Spark; without a word a local session is started.
        roles: features, label, id, group and split_column.
        options: all others.
        stack: keeps the session open as long as it is needed.

    Raises:
        ConfigError: for a wrong option, as far as it is known before Spark starts.
        DataError: if there is no such file.
    """
    from firesteel.data.preparation import SourceFacts
    from firesteel.tables.options import check_reading
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.source import listing, table_format

    chosen, table = table_options(roles, options)
    kind = table_format(where, chosen.format)
    check_reading(options, kind)
    parts, size = listing(where)
    if runtime.engine == "local":
        raise ConfigError(
            "tables are read by Spark; engine local cannot prepare them (it trains on them, once they are prepared).\n"
            "Leave --engine out, or name a --master, for example local[2]."
        )
    if kind not in ("sql", "table") and Place.of(where).is_local and not Place.of(where).exists():
        raise DataError(f"there is no table at {where}. Check the path; on a cluster every worker must see it.")
    if parts is not None and place.is_inside(Place.of(where)):
        raise ConfigError(f"the dataset {place} would lie inside its source {where}. Choose a folder beside it.")
    final = table.columns if table.process is None else TransformProcess.of(table.process).final_schema
    if final is not None:
        table.encodings(final)  # what is wrong with it is known before Spark starts
    notes = [] if parts is not None else ["nobody knows whether this source changes: its dataset is never reused"]
    uri = where if kind in ("sql", "table") else Place.of(where).uri
    facts = SourceFacts({"uri": uri, "format": kind}, parts, None, [], [], notes)
    spark_runtime = replace(runtime, engine="spark")
    spark_runtime.check(1)

    def make() -> Any:
        from firesteel.spark.prepare_table import TableEngine, processed
        from firesteel.spark.tables import open_table

        opened = open_table(stack.enter_context(spark_runtime.session()), where, kind, table)
        return TableEngine(*processed(opened, table), size)

    return chosen, facts, make


def table_options(roles: dict[str, Any], options: dict[str, Any]) -> tuple[PrepareOptions, TableOptions]:
    """The options of a preparation, and among them those of the table."""
    from firesteel.data.preparation import PrepareOptions
    from firesteel.tables.options import TableOptions
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema
    from firesteel.training.job import checked

    given = {name: value for name, value in roles.items() if value is not None}
    given |= {name: value for name, value in options.items() if name in TableOptions.model_fields}
    schema = None if options.get("schema") is None else Schema.parse(options["schema"])
    if schema is not None:
        given["columns"] = schema
    if (transform := options.get("transform")) is not None:
        process = (
            transform if isinstance(transform, TransformProcess) else TransformProcess.read(transform, schema=schema)
        )
        given |= {"columns": process.initial_schema, "process": process.to_mapping()}
    if isinstance(given.get("features"), str):
        given["features"] = (given["features"],)
    table: TableOptions = checked(TableOptions, given)
    ours = {*given, "schema", "transform"}
    rest = {name: value for name, value in options.items() if name not in ours}
    return checked(PrepareOptions, rest).model_copy(update={"table": table}), table


def refuse_table_options(source: str, roles: dict[str, Any], options: dict[str, Any]) -> None:
    """Say that options are for tables, where the source is none."""
    from firesteel.tables.options import TableOptions

    given = [name for name, value in roles.items() if value is not None]
    given += [name for name in options if name in ("schema", "transform") or name in TableOptions.model_fields]
    if given:
        raise ConfigError(
            f"{given[0]} is for tables and DataFrames, and {source} is no table by its name.\n"
            "If it is one, say so: --format csv, tsv, json or parquet (in Python format=...)."
        )


__all__ = ["refuse_table_options", "table_engine", "table_options"]
