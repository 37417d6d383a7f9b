"""Workers as processes of this host, without Spark.

Each worker is ``python -m firesteel.local``: it reads what to run from its standard input and writes its report to a
pipe of its own, so that nothing the user's code prints gets between. It needs no guard around the caller's script, as
multiprocessing's spawn would. A worker ends by itself when the launcher is gone, however that ended: its standard
input closes then.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from firesteel.launch import Launcher, Named, Report, WorkerFunction, local_rendezvous, results_or_raise
from firesteel.process import Guard, be_worker, end_with_guard
from firesteel.world import LOOPBACK, QUIET, World, listening_socket

_ECHO_GRACE_S = 5.0
"""After the first failure the others get this long to notice and report; then they are ended."""

_LOST_GRACE_S = 0.5
"""The same after a worker that ended without a word: it has told nobody, and who exchanges nothing just then does not notice."""


class LocalProcesses(Launcher):
    """Workers as processes of this host."""

    def __init__(self) -> None:
        self._ahead: list[_WorkerProcess] = []

    def start_ahead(self, workers: int, module: str) -> None:
        self._ahead += [_WorkerProcess(module=module) for _ in range(workers - len(self._ahead))]

    def close(self) -> None:
        while self._ahead:
            self._ahead.pop().end()

    def run(
        self,
        function: WorkerFunction | Named,
        payload: Any,
        *,
        workers: int,
        meet: bool,
        timeout_s: float = 300.0,
    ) -> list[Any]:
        import cloudpickle

        with ExitStack() as stack:
            listener = stack.enter_context(listening_socket(LOOPBACK)) if meet and workers > 1 else None
            guards: list[Guard] = []
            stack.callback(self.close)
            work = cloudpickle.dumps((function, payload))
            for rank in range(workers):
                world = World(rank, workers, rank, workers, host="localhost")
                rendezvous = None
                if listener is not None:
                    own = listener.fileno() if rank == 0 else None
                    rendezvous = local_rendezvous(listener.getsockname()[1], own, timeout_s)
                task = pickle.dumps((work, world, rendezvous))
                if listener is not None and rank == 0:
                    worker = _WorkerProcess(inherit=listener.fileno())
                else:
                    worker = self._ahead.pop(0) if self._ahead else _WorkerProcess()
                stack.callback(worker.end)
                guards.append(worker.begin(world, task, timeout_s))
            return results_or_raise(_wait(guards))


class _WorkerProcess:
    """One started process, which waits for its task, and its guard.

    Args:
        inherit: a descriptor that it has as well.
        module: that it imports while it waits.
    """

    def __init__(self, inherit: int | None = None, module: str = ""):
        self._read_end, write_end = os.pipe()
        self._guard: Guard | None = None
        try:
            with _held_back(signal.SIGINT):  # until the process ignores it, see _main
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "firesteel.local", str(write_end), module],
                    stdin=subprocess.PIPE,
                    pass_fds=[write_end, *([] if inherit is None else [inherit])],
                    env={**QUIET, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                )
        except BaseException:
            os.close(self._read_end)
            raise
        finally:
            os.close(write_end)

    def begin(self, world: World, task: bytes, timeout_s: float) -> Guard:
        """Let it do its task, and listen to it."""
        self._guard = Guard(world, self._process, self._read_end, timeout_s)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died; its exit status says how
            self._process.stdin.write(len(task).to_bytes(8, "big") + task)
            self._process.stdin.flush()
        return self._guard

    def end(self) -> None:
        """End the process, if it has not ended, and wait for it."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._guard is not None:
            self._guard.close(0.5 if self._guard.report is None else 5)
            return
        self._process.kill()  # it has begun nothing
        self._process.wait()
        os.close(self._read_end)


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """A signal that comes meanwhile reaches this process afterwards, and never what it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(guards: list[Guard]) -> list[Report]:
    """Reports of all workers; after a failure the others get a short time to come to their own end."""
    deadline: float | None = None
    while True:
        reports = [guard.report for guard in guards]
        if all(report is not None for report in reports):
            return [report for report in reports if report is not None]
        failed = [report.error for report in reports if report is not None and report.error]
        if deadline is None and failed:
            deadline = time.monotonic() + (_LOST_GRACE_S if "WorkerLost" in failed else _ECHO_GRACE_S)
        if deadline is not None and time.monotonic() > deadline:
            return [
                report or Report(guard.world.rank, guard.world.host, error="WorkerLost", echo=True,
                                 message="was ended because another worker failed", time=time.time())
                for guard, report in zip(guards, reports)
            ]  # fmt: skip
        time.sleep(0.01)


def _main() -> None:
    """The process of one worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    report_to, module = int(sys.argv[1]), sys.argv[2]
    if module:
        with suppress(Exception):  # the task says better what is missing
            importlib.import_module(module)
    task_size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    task = sys.stdin.buffer.read(task_size)
    if len(task) < task_size:
        os._exit(1)  # the launcher went away
    end_with_guard(os.dup(sys.stdin.fileno()))
    work, world, rendezvous = pickle.loads(task)  # from our own parent, through a pipe; the work is pickled in it
    be_worker(work, world, rendezvous, report_to)


if __name__ == "__main__":
    _main()
