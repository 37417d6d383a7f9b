"""How far a preparation is: each task says on storage how many rows it has read, and whoever watches adds them up."""

from __future__ import annotations

import json
import time

from firesteel.storage import Place

PROGRESS_FOLDER = ".progress"
_TOTAL_NAME = "total"


class TaskProgress:
    """Says on storage how many rows this task has read, at most once a second; the driver adds them up."""

    def __init__(self, dataset: Place, number: int):
        self._place = dataset / f"{PROGRESS_FOLDER}/{number:05d}"
        self._last = time.monotonic()

    def say(self, rows: int, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._last >= 1.0:
            self._last = time.monotonic()
            self._place.write_text(json.dumps(rows))


def announce_rows(dataset: Place, rows: int) -> None:
    """Say for the progress how many rows there will be."""
    (dataset / PROGRESS_FOLDER / _TOTAL_NAME).write_text(json.dumps(rows))


def progress_of(dataset: Place) -> tuple[int, int | None]:
    """Rows that the tasks have read so far, as they say, and how many there will be, if that is known."""
    folder, done, total = dataset / PROGRESS_FOLDER, 0, None
    for entry in folder.files() if folder.exists() else ():
        if entry.path == _TOTAL_NAME:
            total = int((folder / entry.path).read_text())
        elif ".tmp" not in entry.path:  # hdfs and the like: NAME.tmp-1a2b while it is written
            done += int((folder / entry.path).read_text())
    return done, total
