"""An export from start to end: may we write here, which names, run the tasks, add up."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from firesteel.data.engines import partition_count
from firesteel.data.manifest import fingerprint_of
from firesteel.data.marker import is_leftover, remove_marker, revoke_marker, set_marker
from firesteel.data.preparation import PROGRESS_FOLDER
from firesteel.data.progress import announce_rows
from firesteel.data.sources import BsonSource, Source
from firesteel.errors import ConfigError, DataError, DatasetError
from firesteel.export.names import folder_names
from firesteel.export.task import (
    HOME_FOLDER,
    ExportCounts,
    ExportPlan,
    done_place,
    export_partition,
    partition_keys,
)
from firesteel.storage import Place

RESULT_NAME = "export.json"
_BEGUN_NAME = "begun.json"

Tasks = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""Runs a function once per tuple of arguments: :func:`firesteel.local_tasks.map_local` or Spark's ``map_tasks``."""


@dataclass(frozen=True)
class ExportResult:
    """What an export did.

    Attributes:
        folder: of the export.
        reused: True if it was there already and nothing was done.
        read, written, set_aside: rows; ``read == written + set_aside``.
        reasons: rows set aside, by reason.
        bytes: of all files written.
        folders: by label.
        notes: what a person should know of the source.
        seconds: of the run that ended it.
    """

    folder: str
    reused: bool
    read: int
    written: int
    set_aside: int
    reasons: dict[str, int]
    bytes: int
    folders: dict[str, str]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel export-images --json`` prints."""
        return {**vars(self), "classes": len(self.folders)}


def export(
    source: Source,
    where: str | Place,
    make_tasks: Callable[[], Tasks],
    *,
    with_splits: bool = True,
    check: Literal["full", "header"] = "full",
    watching: Callable[[Place], contextlib.AbstractContextManager[Any]] | None = None,
) -> ExportResult:
    """Write the pictures of a source as files in class folders, or find that they are there.

    An export that was interrupted goes on: partitions that are done are not written again.

    Args:
        source: of pictures, or of uint8 arrays with one or three channels.
        where: folder of the export.
        make_tasks: what runs the tasks; called only if there is something to do.
        with_splits: folders ``SPLIT/CLASS`` where the source brings splits, else ``CLASS``.
        check: ``full`` decodes every picture, ``header`` only looks at its head.
        watching: a context that shows the progress while the tasks run.

    Raises:
        ConfigError: if the source holds arrays that are no pictures.
        DataError: if no row has a label.
        DatasetError: if the folder holds something else.
    """
    place, began = Place.of(where), time.monotonic()
    _check_arrays(source)
    fingerprint = fingerprint_of(
        [type(source).__name__, source.place.uri, source.fingerprint_parts(), with_splits, check]
    )
    finished = _finished(place, fingerprint)
    if finished is not None:
        return finished
    with _marked(place / HOME_FOLDER, fingerprint) as token:
        tasks = make_tasks()
        plan, partitions, rows = _plan(source, place, with_splits, check, token, tasks)
        announce_rows(place / HOME_FOLDER / PROGRESS_FOLDER, rows)
        with watching(place / HOME_FOLDER) if watching else contextlib.nullcontext():
            done = _done(place, len(partitions))
            missing = [number for number in range(len(partitions)) if number not in done]
            written = tasks(export_partition, [(plan, number, partitions[number]) for number in missing])
        counts = sum((ExportCounts.from_json(each) for each in [*done.values(), *written]), ExportCounts())
        if counts.read != counts.written + counts.set_aside:
            raise AssertionError(f"rows do not add up: {counts}")
        result = ExportResult(
            place.uri, False, counts.read, counts.written, counts.set_aside, dict(counts.reasons.most_common()), counts.bytes,
            plan.folders, source.notes(), round(time.monotonic() - began, 3),
        )  # fmt: skip
        (place / HOME_FOLDER / RESULT_NAME).write_text(
            json.dumps({"fingerprint": fingerprint, **vars(result)}, ensure_ascii=False, indent=1)
        )
        for number in range(len(partitions)):
            done_place(place, number).delete()
    return result


def _plan(
    source: Source, place: Place, with_splits: bool, check: Literal["full", "header"], token: str, tasks: Tasks
) -> tuple[ExportPlan, list[Any], int]:
    """The plan, the partitions, and how many usable rows there are."""
    partitions = source.partitions(partition_count(source))
    light = source.for_task()
    calls = [(light, with_splits, partition) for partition in partitions]
    # Only a dump has to be gone through for its labels; the others have them at hand.
    found = (
        tasks(partition_keys, calls) if isinstance(source, BsonSource) else [partition_keys(*call) for call in calls]
    )
    labels = sum((Counter(each["labels"]) for each in found), Counter[str]())
    if not labels:
        raise DataError(f"no record of {source.place} has a class. Nothing was written.")
    keys = np.sort(np.concatenate([np.frombuffer(bytes.fromhex(each["keys"]), np.int64) for each in found]))
    colliding = frozenset(np.unique(keys[1:][keys[1:] == keys[:-1]]).tolist())
    plan = ExportPlan(
        place.uri, light, folder_names([*labels, *source.class_names()]), with_splits, colliding, check, token
    )
    return plan, partitions, labels.total()


def _check_arrays(source: Source) -> None:
    array = source.array
    if array is not None and (array.dtype != "uint8" or len(array.shape) != 3 or array.shape[0] not in (1, 3)):
        raise ConfigError(
            f"{source.place} holds arrays of {array.dtype} and shape {array.shape}, which are no pictures."
            " Pictures are uint8 of shape (1 or 3, height, width)."
        )


def _finished(place: Place, fingerprint: str) -> ExportResult | None:
    """The result, if this export has been made already.

    Raises:
        DatasetError: if the folder holds something else, or somebody is at work there.
    """
    home = place / HOME_FOLDER
    if place.exists() and not place.is_dir():
        raise DatasetError(f"{place} is a file. Choose a folder for the pictures.")
    if not (home / _BEGUN_NAME).exists():
        if place.is_empty_or_missing() or is_leftover(home):
            return None
        raise DatasetError(
            f"{place} is not empty and is no export. Nothing was changed.\nChoose an empty or new folder."
        )
    if json.loads((home / _BEGUN_NAME).read_text()).get("fingerprint") != fingerprint:
        raise DatasetError(
            f"{place} holds the export of another source, or with other options. Nothing was changed.\n"
            "Choose another folder, or remove this one."
        )
    is_leftover(home)  # refuses, if somebody is at work there
    if not (home / RESULT_NAME).exists():
        return None
    stored = json.loads((home / RESULT_NAME).read_text())
    del stored["fingerprint"]
    return ExportResult(**{**stored, "folder": place.uri, "reused": True})


def _done(place: Place, count: int) -> dict[int, dict[str, Any]]:
    """What an interrupted export has finished, by partition."""
    places = {number: done_place(place, number) for number in range(count)}
    return {number: json.loads(each.read_text()) for number, each in places.items() if each.exists()}


@contextlib.contextmanager
def _marked(home: Place, fingerprint: str) -> Iterator[str]:
    """Mark the export as being written; what an interruption leaves is gone on with by the next run."""
    token = set_marker(home, fingerprint)
    (home / _BEGUN_NAME).write_text(json.dumps({"fingerprint": fingerprint}))
    try:
        yield token
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            revoke_marker(home)
        raise
    (home / PROGRESS_FOLDER).delete()
    remove_marker(home)
