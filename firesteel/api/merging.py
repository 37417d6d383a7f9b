"""``firesteel.merge``: several prepared datasets as one."""

from __future__ import annotations

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
    from firesteel.api.opening import facts_of, prepare_source
    from firesteel.api.paths import refuse_inside
    from firesteel.data.preparation import PrepareOptions
    from firesteel.data.sources.merged import MergedSource

    source, place = MergedSource.of([Place.of(each) for each in datasets]), Place.of(merged)
    for member in source.members:
        refuse_inside(place, member, "dataset")
    options = PrepareOptions(encoding=source.feature.encoding)
    if source.array is None:
        channels, height, width = source.feature.shape
        options = options.model_copy(update={"size": (height, width), "channels": channels})
    about = {"uri": [member.place.uri for member in source.members], "format": "datasets"}
    return prepare_source(
        source, facts_of(source, about, in_order=True), place, Runtime(engine, master, spark, debug=debug), workers, options,
        what="dataset", overwrite=overwrite, watch=watch,
    )  # fmt: skip
