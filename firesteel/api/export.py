"""``firesteel.export_images``: the pictures of a source as files."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path, refuse_inside
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.export.driver import ExportResult


def export_images(
    source: Path,
    folder: Path,
    *,
    format: str = "auto",
    format_options: dict[str, str] | None = None,
    splits: bool = True,
    check: Literal["full", "header"] = "full",
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> ExportResult:
    """Write the pictures of a source as files in class folders: ``FOLDER/CLASS/ID.jpg``.

    Encoded pictures keep their bytes and get the extension that goes with their content; arrays become PNG. Further
    pictures of a record are ``ID_1.jpg``, ``ID_2.jpg``. ``FOLDER/.export`` holds an index of all files and the list of the
    records that were set aside. An export that was interrupted goes on when it is called again.

    Args:
        source: whatever ``prepare`` reads, but for DataFrames; a prepared dataset as well.
        folder: for the pictures; new, empty, or of the same export.
        format, format_options: see :func:`firesteel.data.sources.open_source`.
        splits: put ``train/`` and ``test/`` above the class folders, where the source brings a split.
        check: ``full`` decodes every picture to find broken ones; ``header`` looks at its head only.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a core.
        watch: shows the progress.

    Raises:
        ConfigError: for a wrong option, or a source of arrays that are no pictures.
        DataError: if the source holds nothing usable.
        DatasetError: if something else lies in the folder.
    """
    from functools import partial

    from firesteel.data.sources import open_source
    from firesteel.export.driver import export
    from firesteel.local_tasks import map_local

    if check not in ("full", "header"):
        raise ConfigError(f"check must be full or header, got {check!r}.")
    if not isinstance(source, str | os.PathLike | Place):
        raise ConfigError(
            f"export_images takes a path, got {type(source).__name__}. Prepare a DataFrame, then export the dataset."
        )
    place = Place.of(folder)
    opened = open_source(Place.of(source), format, **(format_options or {}))
    refuse_inside(place, opened, "export")
    runtime = Runtime(engine, master, spark, debug=debug)
    runtime.check(1)
    with contextlib.ExitStack() as stack:

        def make_tasks() -> Any:
            if runtime.uses_spark:
                from firesteel.spark.barrier import map_tasks

                return partial(map_tasks, stack.enter_context(runtime.session()))
            count = workers or len(os.sched_getaffinity(0))
            return partial(map_local, local_launcher(count), count)

        return export(opened, place, make_tasks, with_splits=splits, check=check, watching=watch)
