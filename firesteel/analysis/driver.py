"""The driver's side of an analysis of pictures or arrays; what runs the tasks is passed in."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from firesteel.analysis import sheet, sources
from firesteel.analysis.images import ImageAnalysis
from firesteel.analysis.pictures import PictureSummary
from firesteel.analysis.results import Analysis, TableAnalysis
from firesteel.analysis.sources import PreparedRows, Run
from firesteel.analysis.tables import TableSummary
from firesteel.data.engines import partition_count
from firesteel.data.progress import announce_rows
from firesteel.data.sources import Source
from firesteel.errors import DataError
from firesteel.runtime import Watch
from firesteel.storage import Place

COMPARED = 2_000_000
"""Of larger sources a sample of about so many pictures is compared with each other: some 150 bytes a picture on the driver."""

_SAMPLED = 100


@dataclass(frozen=True)
class Tasks:
    """What runs the tasks.

    Attributes:
        run: see :data:`Run`.
        progress: whether the tasks see the driver's temporary folder, and can say in it how far they are.
    """

    run: Run
    progress: bool


def analyze_rows(
    source: Source | PreparedRows,
    named: str,
    tasks: Tasks,
    *,
    announced: Sequence[str] = (),
    notes: Sequence[str] = (),
    compare: int = COMPARED,
    watch: Watch | None = None,
) -> Analysis:
    """Analyse pictures, or arrays as a table.

    Args:
        source: of the rows.
        named: the source in words.
        tasks: run it.
        announced: classes that the source names.
        notes: that the source has.
        compare: at most about so many pictures are compared with each other.
        watch: shows the progress.

    Raises:
        DataError: if there is nothing in it.
    """
    began = time.monotonic()
    partitions = source.partitions(partition_count(source)) if isinstance(source, Source) else source.partitions(0)
    if not partitions:
        raise DataError(f"{named} holds no rows. Nothing can be said of it.")
    if not sources.holds_pictures(source.array):
        arrays = tasks.run(sources.summarise_arrays, [(sources.for_tasks(source, part), part) for part in partitions])
        return TableAnalysis.of(_merged(arrays), named, list(notes), time.monotonic() - began)
    keep = min(1.0, compare / max(1, expected_rows(source)))
    summary = _summarise(source, partitions, keep, tasks, watch)
    analysis = ImageAnalysis.of(summary, named, keep, list(announced))
    examples = sheet.some_of_each_class(summary.records, sheet.spread_over([each.name for each in analysis.classes]))
    shown = [picture for each in examples.values() for picture in each] + sheet.shown_duplicates(analysis.duplicates)
    thumbnails = sheet.read_thumbnails(source, partitions, shown, tasks.run)
    sampled = (
        []
        if keep == 1
        else [f"duplicates: about {100 * keep:.1f} % of the pictures were compared, those with the lowest hashes"]
    )
    return dataclasses.replace(
        analysis,
        examples=examples,
        thumbnails=thumbnails,
        notes=[*notes, *sampled, *analysis.duplicates.notes()],
        seconds=time.monotonic() - began,
    )


def expected_rows(source: Source | PreparedRows) -> int:
    """About how many rows there are, before they have been read."""
    if source.rows is not None:
        return source.rows
    assert isinstance(source, Source), "a dataset's manifest says its rows"
    sizes = [len(row.data) for row in source.sample(_SAMPLED)]
    return int(source.size_bytes / max(1.0, sum(sizes) / max(1, len(sizes))))


def _summarise(
    source: Source | PreparedRows, partitions: Sequence[Any], keep: float, tasks: Tasks, watch: Watch | None
) -> PictureSummary:
    with _watched(tasks, source.rows, watch) as progress:
        arguments = [
            (sources.for_tasks(source, part), number, part, keep, progress) for number, part in enumerate(partitions)
        ]
        return _merged(tasks.run(sources.summarise_pictures, arguments))


def _merged(parts: list[Any]) -> Any:
    whole: PictureSummary | TableSummary = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    return whole


@contextlib.contextmanager
def _watched(tasks: Tasks, rows: int | None, watch: Watch | None) -> Iterator[str | None]:
    """A folder that the tasks say their progress in; None where nobody looks or they do not see it."""
    if watch is None or not tasks.progress:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="firesteel-") as folder:
        if rows is not None:
            announce_rows(Place(folder), rows)
        with watch(Place(folder)):
            yield folder


__all__ = ["COMPARED", "Tasks", "analyze_rows", "expected_rows"]
