"""Ctrl-C and SIGTERM while a run trains: once is a request, to stop with a checkpoint; twice ends it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from firesteel.errors import FiresteelError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Catches the first signal while it asks for something.

    Attributes:
        number: of the signal that was caught, or None.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self.number: int | None = None

    @contextlib.contextmanager
    def asking(self, request: Callable[[], bool]) -> Iterator[None]:
        """Catch signals inside the block.

        Args:
            request: asks the workers to stop; False if that makes no sense, because they have not begun yet. The signal
                then has its usual effect, as a second one has.
        """

        def catch(number: int, frame: FrameType | None) -> None:
            first, self.number = self.number is None, number
            asked = False
            if first:
                with contextlib.suppress(FiresteelError, OSError):  # storage that is away: then it ends at once
                    asked = request()
            if not asked:
                self._restore()
                raise KeyboardInterrupt

        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, catch) for number in SIGNALS}
        try:
            yield
        finally:
            self._restore()

    def deliver(self) -> None:
        """Let the signal that was caught have its usual effect now."""
        if self.number is None:
            return
        number, self.number = self.number, None
        signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
