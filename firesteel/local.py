"""Workers as processes of this host, without Spark.

Each worker is ``python -m firesteel.local``: it reads what to run from its standard input and writes its report to a
pipe of its own, so that nothing the user's code prints gets between. It needs no guard around the caller's script, as
multiprocessing's spawn would. A worker ends by itself when the launcher is gone, however that ended: its standard
input closes then.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
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
            work = cloudpickle.dumps((function, payload))
            for rank in range(workers):
                world = World(rank, workers, rank, workers, host="localhost")
                rendezvous = None
                if listener is not None:
                    own = listener.fileno() if rank == 0 else None
                    rendezvous = local_rendezvous(listener.getsockname()[1], own, timeout_s)
                task = pickle.dumps((work, world, rendezvous))
                worker = _WorkerProcess(world, task, listener.fileno() if listener and rank == 0 else None, timeout_s)
                stack.callback(worker.end)
                guards.append(worker.guard)
            return results_or_raise(_wait(guards))


class _WorkerProcess:
    """One started process and its guard."""

    def __init__(self, world: World, task: bytes, inherit: int | None, timeout_s: float):
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "firesteel.local", str(write_end)],
                stdin=subprocess.PIPE,
                pass_fds=[write_end, *([] if inherit is None else [inherit])],
                env={**QUIET, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self.guard = Guard(world, self._process, read_end, timeout_s)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; its exit status says how
            self._process.stdin.write(len(task).to_bytes(8, "big") + task)
            self._process.stdin.flush()

    def end(self) -> None:
        """End the process, if it has not ended, and wait for it."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self.guard.close(0.5 if self.guard.report is None else 5)


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
    report_to = int(sys.argv[1])
    task_size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    task = sys.stdin.buffer.read(task_size)
    if len(task) < task_size:
        os._exit(1)  # the launcher went away
    end_with_guard(os.dup(sys.stdin.fileno()))
    work, world, rendezvous = pickle.loads(task)  # from our own parent, through a pipe; the work is pickled in it
    be_worker(work, world, rendezvous, report_to)


if __name__ == "__main__":
    _main()
