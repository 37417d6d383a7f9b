"""Memory of a command while it runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

_SAMPLE_SECONDS = 0.1


class MemorySampler:
    """Samples the memory of a process and all its descendants, in a thread, while the context lasts.

    Proportional set size: pages that forked processes share count once.

    Attributes:
        peak: of all together, in bytes; None where the system does not tell.
        peak_python: of those that are no JVM, together.
        largest: of one process, ``java`` or ``python``.
    """

    def __init__(self, pid: int):
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak: int | None = None
        self.peak_python: int | None = None
        self.largest: dict[str, int] = {}

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS) and Path("/proc/self/smaps_rollup").exists():
            sizes = list(_memory_of_tree(self._pid))
            self.peak = max(self.peak or 0, sum(size for _, size in sizes))
            self.peak_python = max(self.peak_python or 0, sum(size for name, size in sizes if name != "java"))
            for name, size in sizes:
                kind = "java" if name == "java" else "python"
                self.largest[kind] = max(self.largest.get(kind, 0), size)


def _memory_of_tree(root: int) -> Iterator[tuple[str, int]]:
    """(name, bytes) of a process and its descendants."""
    names, children = {}, {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            head, _, tail = entry.read_text().rpartition(")")
            names[int(entry.parent.name)] = head.partition("(")[2]
            children.setdefault(int(tail.split()[1]), []).append(int(entry.parent.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            yield names.get(pid, ""), next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
