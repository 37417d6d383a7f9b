"""Ctrl-C and SIGTERM while a run trains: once is a request, to stop with a checkpoint; twice ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from firesteel.errors import FiresteelError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Catches the first signal; a context.

    Args:
        request: asks the workers to stop; False if that makes no sense, because they have not begun yet. The signal then
            has its usual effect.

    Attributes:
        number: of the signal that was caught, or None.
    """

    def __init__(self, request: Callable[[], bool]):
        self._request = request
        self._before: dict[int, Any] = {}
        self.number: int | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def deliver(self) -> None:
        """Let the signal that was caught have its usual effect now."""
        if self.number is not None:
            self._restore()
            self._deliver(self.number, None)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        asked = False
        if self.number is None:
            with contextlib.suppress(FiresteelError, OSError):  # storage that is away: then it ends at once
                asked = self._request()
        self.number = number
        if not asked:
            before = dict(self._before)
            self._restore()
            self._deliver(number, frame, before)

    def _deliver(self, number: int, frame: FrameType | None, before: dict[int, Any] | None = None) -> None:
        handler = (before or {}).get(number, signal.getsignal(number))
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
