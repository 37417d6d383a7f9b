"""Whatever rows come from, opened: options, facts, and what goes over it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firesteel.api.paths import Path, refuse_inside
from firesteel.api.tables import refuse_table_options, table_engine, table_options
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.storage import Place
from firesteel.world import check_device, usable_gpus

if TYPE_CHECKING:
    from firesteel.data.commit import Prepared
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.data.sources import Source
    from firesteel.data.sources.computed import ComputedSource


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
        return Opened(*table_engine(str(source), place, runtime, roles, options, stack))
    refuse_table_options(str(source), roles, options)
    return _open_source(source, place, checked(PrepareOptions, options), runtime, workers, stack, what)


def _open_source(
    where: Path,
    place: Place,
    options: PrepareOptions,
    runtime: Runtime,
    workers: int | None,
    stack: contextlib.ExitStack,
    what: str,
) -> Opened:
    from firesteel.data.sources import open_source

    source = open_source(Place.of(where), options.format, **options.format_options)
    refuse_inside(place, source, what)
    runtime.check(1)
    facts = facts_of(
        source, {"uri": Place.of(where).uri, "format": type(source).__name__.removesuffix("Source").lower()}
    )
    return Opened(options, facts, engine_maker(source, runtime, workers, stack), source)


def facts_of(source: Source, about: dict[str, Any], *, in_order: bool = False) -> SourceFacts:
    """What is known of a source without reading its rows.

    Args:
        source: any.
        about: what the manifest says of it.
        in_order: whether its classes are numbered in their order.
    """
    from firesteel.data.preparation import SourceFacts

    return SourceFacts(
        about,
        source.fingerprint_parts(),
        source.array,
        source.class_names(),
        source.declared_splits(),
        source.notes(),
        in_order,
    )


def prepare_source(
    source: Source,
    facts: SourceFacts,
    place: Place,
    runtime: Runtime,
    workers: int | None,
    options: PrepareOptions | None = None,
    *,
    what: str,
    overwrite: bool,
    watch: Watch | None,
) -> Prepared:
    """Make a dataset of a source that has been opened.

    Args:
        source: that tasks can read themselves.
        facts: of it.
        place: for the dataset.
        runtime: what reads it.
        workers: processes of the local engine; None is one a core.
        options: of the preparation; None is the usual ones.
        what: is made, for messages.
        overwrite: replace another dataset in that folder.
        watch: shows the progress.

    Raises:
        ConfigError: if it would take the place of what it is made of.
        DatasetError: if something else lies there.
    """
    from firesteel.data.commit import prepare_dataset
    from firesteel.data.preparation import PrepareOptions

    refuse_inside(place, source, what)
    runtime.check(1)
    with contextlib.ExitStack() as stack:
        make = engine_maker(source, runtime, workers, stack)
        return prepare_dataset(facts, make, place, options or PrepareOptions(), overwrite=overwrite, watching=watch)


def prepare_computed(
    open_source: Callable[[int | None], ComputedSource],
    place: Place,
    runtime: Runtime,
    workers: int | None,
    device: str,
    *,
    what: str,
    overwrite: bool,
    watch: Watch | None,
) -> Prepared:
    """Make a dataset of what a network computes of another.

    Args:
        open_source: for a number of torch's threads in each process.
        place: for the dataset.
        runtime: what computes it.
        workers: processes of the local engine; None is one a GPU, if there is one that may be used, else one a core.
        device: auto, cpu or cuda.
        what: is made, for messages.
        overwrite: replace another dataset in that folder.
        watch: shows the progress.
    """
    check_device(device)
    cores = len(os.sched_getaffinity(0))
    processes = workers or (cores if runtime.uses_spark else usable_gpus(device) or cores)
    source = open_source(1 if runtime.uses_spark else max(1, cores // processes))
    facts = facts_of(source, source.about.model_dump(mode="json"), in_order=True)
    return prepare_source(source, facts, place, runtime, processes, what=what, overwrite=overwrite, watch=watch)


def engine_maker(
    source: Source, runtime: Runtime, workers: int | None, stack: contextlib.ExitStack
) -> Callable[[], Any]:
    """What starts the engine that goes over a source: Spark's tasks, or processes of this host.

    Args:
        source: that tasks can read themselves.
        runtime: what the caller said of Spark.
        workers: processes of the local engine; None is one a core.
        stack: closes the Spark session, and ends processes that were started and not used.
    """

    def make() -> Any:
        if runtime.uses_spark:
            from firesteel.spark.prepare import SparkSourceEngine

            return SparkSourceEngine(stack.enter_context(runtime.session()), source)
        from firesteel.data.engines import SourceEngine, partition_count

        count = workers or len(os.sched_getaffinity(0))
        launcher = local_launcher(count)
        stack.callback(launcher.close)
        # There may be more partitions when it is known how large the rows become, but not fewer.
        launcher.start_ahead(min(count, partition_count(source)), "firesteel.data.partition")
        return SourceEngine(source, launcher, count)

    return make


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
    from firesteel.spark.prepare_table import TableEngine, processed
    from firesteel.spark.tables import open_table
    from firesteel.tables.options import check_reading

    check_reading(options, "rows")
    chosen, table = table_options(roles, options)
    engine_of_table = TableEngine(*processed(open_table(frame.sparkSession, frame, "auto", table), table))
    return Opened(
        chosen,
        SourceFacts({"uri": "DataFrame", "format": "dataframe"}, None, None, [], [], []),
        lambda: engine_of_table,
    )
