"""The event log: one line of JSON an event, one file a worker, append-only, in ``RUN/events/``.

Everything that is shown of a run is read from here: the progress bar, ``firesteel watch``, reports. An event has
``event`` (its kind), ``time`` (seconds since 1970), ``worker`` (rank) and the fields of its kind:

====================  ==================================================================================================
``start``             host, device, threads, workers, epochs, steps_per_epoch, global_batch_size, rows, parameters,
                      bytes_per_step, sync, in_memory, versions
``step``              epoch, step (from the start of the run), score (mean loss of this worker's rows since the last such
                      event), rows (of this worker, since the start of the run), seconds (since training began), and
                      data_s, compute_s, sync_s (parts of the time since the last such event)
``epoch``             epoch, step, loss_sum, rows (of this worker in this epoch), seconds (of this epoch)
``warning``           message
``failed``            error, message, traceback, step
``end``               step, seconds
====================  ==================================================================================================

The launcher writes ``launcher.jsonl`` with the events ``launch`` and ``finish`` or ``failed``.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from firesteel.storage import Place

EVENTS_FOLDER = "events"
LAUNCHER = "launcher"
STOP_REQUESTED = "stop requested"
"""Why a training ended that somebody asked to stop, to go on with it later."""

_FLUSH_SECONDS = 0.25
_SEGMENT_SECONDS = 5.0


class EventWriter:
    """Writes the events of one worker. Use as a context; every event is on storage when the context ends.

    On a local file system the file grows line by line. Object stores cannot append: there the log is a row of files
    ``worker-00000.000.jsonl``, ``worker-00000.001.jsonl``, ... of a few seconds each.
    """

    def __init__(self, run: Place, worker: int | str):
        name = worker if isinstance(worker, str) else f"worker-{worker:05d}"
        self._folder, self._name, self._worker = run / EVENTS_FOLDER, name, worker
        self._buffer = io.StringIO()
        self._last_flush, self._segment = time.monotonic(), 0
        self._lock = threading.RLock()  # checkpoints are written by a thread, and say so
        if self._folder.is_local:
            self._folder.make_dirs()
        elif self._folder.exists():  # a run that goes on: behind what it has written before
            self._segment = sum(entry.path.startswith(f"{name}.") for entry in self._folder.files())

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def write(self, event: str, **fields: Any) -> None:
        """Add an event; kinds other than ``step`` are flushed at once."""
        record = {"event": event, "time": round(time.time(), 3), "worker": self._worker, **fields}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        interval = _FLUSH_SECONDS if self._folder.is_local else _SEGMENT_SECONDS
        with self._lock:
            self._buffer.write(line)
            if event != "step" or time.monotonic() - self._last_flush >= interval:
                self.flush()

    def flush(self) -> None:
        """Put what is buffered on storage."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        text = self._buffer.getvalue()
        if text and self._folder.is_local:
            with open((self._folder / f"{self._name}.jsonl").uri, "a", encoding="utf-8") as file:
                file.write(text)
        elif text:
            (self._folder / f"{self._name}.{self._segment:06d}.jsonl").write_text(text)
            self._segment += 1
        self._buffer = io.StringIO()
        self._last_flush = time.monotonic()


class EventReader:
    """Reads the events of a run as they come; each call of :meth:`new` returns those since the last.

    Args:
        run: its directory.
        name: of the writer whose events are wanted; empty for all.
    """

    def __init__(self, run: Place, name: str = ""):
        self._folder, self._name = run / EVENTS_FOLDER, name
        self._read: dict[str, int] = {}

    def new(self) -> list[dict[str, Any]]:
        """Events that were written since the last call, in the order of their time."""
        events = list(self._new())
        events.sort(key=lambda event: event["time"])
        return events

    def _new(self) -> Iterator[dict[str, Any]]:
        if not self._folder.exists():
            return
        for entry in self._folder.files():
            done = self._read.get(entry.path, 0)
            if entry.size <= done or not entry.path.endswith(".jsonl") or not entry.path.startswith(self._name):
                continue
            with (self._folder / entry.path).open() as file:
                file.seek(done)
                data = file.read()
            whole = data.rfind(b"\n") + 1  # a line that is still being written is left for the next call
            self._read[entry.path] = done + whole
            for line in data[:whole].splitlines():
                try:
                    yield json.loads(line)
                except ValueError:  # a disk that was full for a moment cuts a line; the others still count
                    continue


def events_of(run: Place, worker: int) -> list[dict[str, Any]]:
    """The events that a worker has written of a run."""
    return EventReader(run, f"worker-{worker:05d}").new()


def read_events(run: Place) -> list[dict[str, Any]]:
    """All events of a run."""
    return EventReader(run).new()
