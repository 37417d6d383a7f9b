"""What reaches the terminal from this process and its children: filtered of a JVM's noise, or nothing while it ends.

Both are redirections of descriptor 2, and they overlap: a session starts in a thread while Ctrl-C arrives in another.
So one object knows what is wanted, and sets the descriptor accordingly after each change.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

_NOISE = re.compile(
    rb"WARNING: Using incubator modules"
    rb"|Using Spark's default log4j profile"
    rb"|Setting default log level to"
    rb"|To adjust logging level use"
    rb"|\s+at (org\.apache|java|jdk|scala|py4j)[./]"
    rb"|WARNING: .*sun\.misc\.Unsafe"
    rb"|WARNING: Please consider reporting this to the maintainers"
)


class _StandardError:
    """Descriptor 2 and what it is replaced by at present."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may mute in the middle of a change
        self._filters: list[int] = []
        self._mutes = 0
        self._own: int | None = None

    @contextlib.contextmanager
    def filtered(self) -> Iterator[None]:
        try:
            own = os.dup(self._own if self._own is not None else 2)
        except OSError:  # no standard error at all
            yield
            return
        read_end, write_end = os.pipe()
        threading.Thread(target=_pass_on, args=(read_end, own), name="firesteel-stderr", daemon=True).start()
        with self._changing():
            self._filters.append(write_end)
        try:
            yield
        finally:
            with self._changing():
                self._filters.remove(write_end)
            os.close(write_end)

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        with self._changing():
            self._mutes += 1
        try:
            yield
        finally:
            with self._changing():
                self._mutes -= 1

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if sys.stderr is not None:
                sys.stderr.flush()
            yield
            with contextlib.suppress(OSError):  # no standard error at all
                self._set()

    def _set(self) -> None:
        if self._own is None:
            if not (self._mutes or self._filters):
                return
            own = os.dup(2)
            if self._own is None:
                self._own = own
            else:  # a signal handler has been here in between
                os.close(own)
        if self._mutes:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
        elif self._filters:
            os.dup2(self._filters[-1], 2)
        else:
            os.dup2(self._own, 2)
            os.close(self._own)
            self._own = None


def _pass_on(read_end: int, terminal: int) -> None:
    with os.fdopen(read_end, "rb") as lines, os.fdopen(terminal, "wb", buffering=0) as out:
        for line in lines:
            if not _NOISE.match(line):
                with contextlib.suppress(OSError):
                    out.write(line)


_standard_error = _StandardError()


def quiet_jvm() -> contextlib.AbstractContextManager[None]:
    """Filter what processes that are started in this block write to standard error.

    They inherit a pipe instead of our standard error for as long as they live; a thread passes on every line but the
    known noise. What workers print, and what Python warns of, still arrives.
    """
    return _standard_error.filtered()


def muted() -> contextlib.AbstractContextManager[None]:
    """Drop what this process writes to standard error, and what processes that are started in this block write."""
    return _standard_error.muted()
