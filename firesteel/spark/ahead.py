"""The process that imports what Spark's Python workers need while the JVM starts, as the driver sees it.

For local masters only: there, driver and workers are on one machine with one Python. It saves the 2 to 3 s that the
imports take otherwise when the JVM is up, and lets the driver ask what only torch can tell without importing torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from firesteel.launch import Question, Report, results_or_raise
from firesteel.spark import daemon
from firesteel.spark.settings import has_session, master_in_environment
from firesteel.world import QUIET


class DaemonAhead:
    """The process; a context that ends it, where it has not become Spark's daemon.

    Args:
        question: that it answers when it has imported; its function is given by name.
    """

    def __init__(self, question: Question | None = None):
        self._folder = tempfile.mkdtemp(prefix="firesteel-")  # readable by this user only, and so is the socket
        self.address = os.path.join(self._folder, "daemon")
        try:
            self._process, self._answer = self._start()
            self._ask(question)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _start(self) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        read_end, write_end = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener, os.fdopen(write_end, "wb"):
            listener.bind(self.address)
            listener.listen()
            process = subprocess.Popen(
                [sys.executable, "-m", daemon.__name__, "ahead", str(listener.fileno()), str(write_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno(), write_end],
                # What Spark sets for its daemon, and what libraries read once, when they are loaded.
                env={"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **QUIET, **os.environ},
            )
        return process, os.fdopen(read_end, "rb")

    def _ask(self, question: Question | None) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: no answer will come, and the daemon stays alone
            self._process.stdin.write(json.dumps(None if question is None else vars(question)).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for what the function returned.

        Raises:
            FiresteelError: of the type that the function raised.
            EOFError: if the process ended without an answer.
        """
        with self._answer:
            data = self._answer.read()
        if not data:
            raise EOFError
        return results_or_raise([Report(**json.loads(data))])[0]

    def __enter__(self) -> DaemonAhead:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._answer.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # As Spark's daemon it ends with the session; the socket's name is gone then.
            self._process.wait(timeout=0 if os.path.exists(self.address) else 5)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def started_ahead(
    master: str | None, conf: Mapping[str, str], question: Question | None = None
) -> Iterator[DaemonAhead | None]:
    """The process, where Spark is about to start on this machine with this Python; else None."""
    made = None
    if _would_help(master, conf):
        with contextlib.suppress(OSError):  # it only saves time
            made = DaemonAhead(question)
    with made or contextlib.nullcontext():
        yield made


def _would_help(master: str | None, conf: Mapping[str, str]) -> bool:
    python = conf.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON") or sys.executable
    return (
        (master or master_in_environment() or "local").startswith("local")
        and hasattr(socket, "send_fds")
        and os.path.abspath(shutil.which(python) or python) == sys.executable
        and not has_session()
    )
