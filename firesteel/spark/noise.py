"""What the JVM writes to standard error without being asked, kept from the person's terminal."""

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


@contextlib.contextmanager
def quiet_jvm() -> Iterator[None]:
    """Filter what processes that are started in this block write to standard error.

    They inherit a pipe instead of our standard error for as long as they live; a thread passes on every line but the
    known noise. What workers print, and what Python warns of, still arrives.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    read_end, write_end = os.pipe()
    threading.Thread(target=_pass_on, args=(read_end, os.dup(terminal)), name="firesteel-stderr", daemon=True).start()
    sys.stderr.flush()
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def _pass_on(read_end: int, terminal: int) -> None:
    with os.fdopen(read_end, "rb") as lines, os.fdopen(terminal, "wb", buffering=0) as out:
        for line in lines:
            if not _NOISE.match(line):
                with contextlib.suppress(OSError):
                    out.write(line)
