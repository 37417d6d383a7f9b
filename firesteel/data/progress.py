"""How far tasks are: each says on storage how many rows it has done, and whoever watches adds them up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from firesteel.storage import Place

SECONDS_BETWEEN = 1.0
"""Between two words of a task."""

_TOTAL_NAME = "total"


class TaskProgress:
    """Says in a folder how many rows this task has done, every SECONDS_BETWEEN at most.

    Args:
        folder: of all tasks.
        number: of this one.
        check: raises if the task has nothing to say there any more.
    """

    def __init__(self, folder: Place, number: int, check: Callable[[], None] = lambda: None):
        self._place, self._check = folder / f"{number:05d}", check
        self._last = time.monotonic()

    def say(self, rows: int, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._last >= SECONDS_BETWEEN:
            self._last = time.monotonic()
            self._check()
            self._place.write_text(json.dumps(rows))


def announce_rows(folder: Place, rows: int) -> None:
    """Say how many rows there will be."""
    (folder / _TOTAL_NAME).write_text(json.dumps(rows))


def progress_of(folder: Place) -> tuple[int, int | None]:
    """Rows that the tasks have done so far, as they say, and how many there will be, if that is known."""
    done, total = 0, None
    for entry in folder.files() if folder.exists() else ():
        if entry.path == _TOTAL_NAME:
            total = int((folder / entry.path).read_text())
        elif ".tmp" not in entry.path:  # hdfs and the like: NAME.tmp-1a2b while it is written
            done += int((folder / entry.path).read_text())
    return done, total
