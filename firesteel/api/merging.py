"""``firesteel.merge``: several prepared datasets as one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from firesteel.api.paths import Path
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.data.commit import Prepared


def merge(
    datasets: Sequence[Path],
    merged: Path,
    *,
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> Prepared:
    """Make one dataset of several, for a network that shall know the classes of all.

    Rows keep their split. Classes of one name are one class; those of the first dataset come first, in their order.

    Args:
        datasets: two or more, prepared to rows of one kind.
        merged: folder for the result.
        overwrite: replace another dataset in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a core.
        watch: shows the progress.

    Returns:
        the dataset, and whether it was there already.

    Raises:
        ConfigError: if their rows are of different kinds.
        DatasetError: if one is no dataset, or something else lies in the folder.
    """
    from firesteel.api.opening import engine_maker
    from firesteel.api.paths import refuse_inside
    from firesteel.data.commit import prepare_dataset
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.data.sources.merged import MergedSource

    runtime = Runtime(engine, master, spark, debug=debug)
    source, place = MergedSource.of([Place.of(each) for each in datasets]), Place.of(merged)
    for member in source.members:
        refuse_inside(place, member, "dataset")
    runtime.check(1)
    options = PrepareOptions(encoding=source.feature.encoding)
    if source.array is None:
        channels, height, width = source.feature.shape
        options = options.model_copy(update={"size": (height, width), "channels": channels})
    about = {"uri": [member.place.uri for member in source.members], "format": "datasets"}
    facts = SourceFacts(
        about,
        source.fingerprint_parts(),
        source.array,
        source.class_names(),
        source.declared_splits(),
        [],
        in_order=True,
    )
    with contextlib.ExitStack() as stack:
        make = engine_maker(source, runtime, workers, stack)
        return prepare_dataset(facts, make, place, options, overwrite=overwrite, watching=watch)
