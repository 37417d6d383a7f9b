"""The pictures that a page shows: a few of some classes, and duplicates side by side."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from firesteel.analysis.images import Duplicates, Picture
from firesteel.analysis.sources import PreparedRows, Run, for_tasks, thumbnails
from firesteel.data.sources import Source

CLASSES = 24
PICTURES_A_CLASS = 4
GROUPS = 12
PICTURES_A_GROUP = 4

_EDGE = 112


def some_of_each_class(records: pa.Table, classes: Sequence[str]) -> dict[str, tuple[Picture, ...]]:
    """Pictures of the first classes of a list, spread over the source.

    Args:
        records: see :data:`firesteel.analysis.pictures.RECORDS`.
        classes: in the order of the page.
    """
    labels = np.asarray(records["label"].cast(pa.string()).to_pylist(), object)
    chosen = {}
    for name in classes[:CLASSES]:
        numbers = np.flatnonzero(labels == name)
        spread = _evenly(len(numbers), PICTURES_A_CLASS)
        rows = [records.slice(int(numbers[i]), 1).to_pylist()[0] for i in spread]
        chosen[name] = tuple(Picture(r["id"], r["label"], r["split"], (r["partition"], r["position"])) for r in rows)
    return {name: pictures for name, pictures in chosen.items() if pictures}


def spread_over(classes: Sequence[str], count: int = CLASSES) -> list[str]:
    """At most ``count`` of the classes, which are ordered by size: large and small ones."""
    return [classes[i] for i in _evenly(len(classes), count)]


def _evenly(total: int, count: int) -> list[int]:
    """At most ``count`` of ``total`` numbers, evenly spread, the first and the last among them."""
    if not total:
        return []
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def read_thumbnails(
    source: Source | PreparedRows, partitions: Sequence[object], shown: Sequence[Picture], run: Run
) -> dict[tuple[int, int], bytes]:
    """JPEG thumbnails of pictures, by their places: they are read again, in tasks."""
    wanted: dict[int, set[int]] = defaultdict(set)
    for picture in shown:
        wanted[picture.place[0]].add(picture.place[1])
    tasks = [
        (for_tasks(source, partitions[number]), partitions[number], sorted(positions), _EDGE)
        for number, positions in sorted(wanted.items())
    ]
    made = run(thumbnails, tasks)
    return {(number, position): data for number, each in zip(sorted(wanted), made) for position, data in each.items()}


def shown_duplicates(duplicates: Duplicates) -> list[Picture]:
    """The pictures of the first groups."""
    groups = duplicates.groups[:GROUPS]
    return list(itertools.chain.from_iterable(group.pictures[:PICTURES_A_GROUP] for group in groups))
