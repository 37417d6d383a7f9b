"""The direct approach of ``firesteel.train``: plan what the workers will read from a source or a DataFrame."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from firesteel.api.opening import Opened, open_any
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.data.direct import DirectData
    from firesteel.data.manifest import Dataset
    from firesteel.data.planning import Preparation
    from firesteel.data.preparation import SourceFacts

ROLES = ("features", "label", "id", "group", "split_column")


@dataclass(frozen=True)
class Direct:
    """A source that the workers will read themselves.

    Attributes:
        dataset: what they are expected to find.
        data: what they read it with.
        runtime: what runs them; its session is open.
    """

    dataset: Dataset
    data: DirectData
    runtime: Runtime


@contextlib.contextmanager
def opened_directly(
    source: Any, run: Place, runtime: Runtime, options: Mapping[str, Any], lanes: int
) -> Iterator[Direct]:
    """Go over a source without its pictures, and deal it to lanes.

    Args:
        source: path, URI or DataFrame.
        run: directory of the run.
        runtime: what runs the workers.
        options: of the preparation, and of DataFrames the roles of columns.
        lanes: parts that workers read.

    Raises:
        ConfigError: for a wrong option, or a table that is not given as a DataFrame.
        DataError: if nothing usable is there.
    """
    from firesteel.data.direct import expected_dataset

    roles = {name: options.get(name) for name in ROLES}
    rest = {name: value for name, value in options.items() if name not in ROLES}
    with contextlib.ExitStack() as stack:
        if hasattr(source, "sparkSession"):
            runtime = replace(runtime, engine="spark", spark=source.sparkSession)
        opened = open_any(source, run, runtime, roles, rest, stack, what="run")
        if opened.source is None and not hasattr(source, "sparkSession"):
            raise ConfigError(
                "tables are trained on from a prepared dataset: firesteel prepare SOURCE DATASET ... first.\n"
                "In Python a DataFrame can be trained on directly: firesteel.train(spark.read.csv(...), run, label=...)."
            )
        runtime = _with_session(runtime, stack)
        engine = replace_session(opened, runtime)
        preparation = _planned(opened.facts, engine, opened.options, source)
        data = _dealt(opened, engine, preparation, lanes)
        if opened.source is None:
            runtime = replace(runtime, bring=engine.bring(opened.options.seed, lanes))
        place = Place.of(source) if opened.source is not None else Place("DataFrame")
        yield Direct(expected_dataset(preparation, place, lanes), data, runtime)


def _with_session(runtime: Runtime, stack: contextlib.ExitStack) -> Runtime:
    """The same with its Spark session open: the pass over the source and the training use one."""
    if not runtime.uses_spark or runtime.spark is not None:
        return runtime
    from firesteel.spark.ahead import started_ahead

    ahead = stack.enter_context(started_ahead(runtime.master, runtime.conf or {}, None))
    return replace(runtime, spark=stack.enter_context(runtime.session(ahead)), master=runtime.master)


def replace_session(opened: Opened, runtime: Runtime) -> Any:
    """The engine of what was opened, in the session of the run."""
    if opened.source is not None and runtime.uses_spark:
        from firesteel.spark.prepare import SparkSourceEngine

        return SparkSourceEngine(runtime.spark, opened.source)
    return opened.make_engine()


def _planned(facts: SourceFacts, engine: Any, options: Any, source: Any) -> Preparation:
    from firesteel.data.manifest import fingerprint_of
    from firesteel.data.planning import fingerprint_of_source, planned

    preparation = planned(facts, engine, "", options, fingerprint="")
    if facts.fingerprint_parts is not None:
        return replace(preparation, fingerprint=fingerprint_of_source(facts, options))
    # Nobody knows what a DataFrame is made of: classes, their rows, and the keys of the rows at the edges of splits tell.
    index = preparation.index
    found = [
        source.schema.jsonValue(), sorted(index.counts.items()), sorted(map(list, index.boundaries.items())),
        options.model_dump(mode="json"),
    ]  # fmt: skip
    return replace(preparation, fingerprint=fingerprint_of(found))


def _dealt(opened: Opened, engine: Any, preparation: Preparation, lanes: int) -> DirectData:
    from firesteel.data.direct import DirectData, deal

    if opened.source is None:
        return DirectData(preparation, lanes, rows_of=engine.rows_of)
    partitions, dealt = deal(opened.source, lanes, opened.options.seed)
    return DirectData(preparation, lanes, opened.source.for_task(), partitions, dealt)
