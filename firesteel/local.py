"""Workers as processes of this host, without Spark.

Each worker is ``python -m firesteel.local``: it reads what to run from its standard input and writes its report to a
pipe of its own, so that nothing the user's code prints gets between. It needs no guard around the caller's script, as
multiprocessing's spawn would. A worker ends by itself when the launcher is gone, however that ended: its standard
input closes then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import IO, Any

from firesteel.launch import (
    Launcher,
    Named,
    Report,
    WorkerFunction,
    local_rendezvous,
    lost_report,
    results_or_raise,
    run_worker,
)
from firesteel.world import LOOPBACK, World, listening_socket

_ECHO_GRACE_S = 10.0
"""After the first failure the others get this long to notice and report; then they are ended."""


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
            started = []
            for rank in range(workers):
                world = World(rank, workers, rank, workers, host="localhost")
                rendezvous = None
                if listener is not None:
                    own = listener.fileno() if rank == 0 else None
                    rendezvous = local_rendezvous(listener.getsockname()[1], own, timeout_s)
                task = cloudpickle.dumps((function, payload, world, rendezvous))
                worker = _WorkerProcess(world, task, listener.fileno() if listener and rank == 0 else None)
                stack.callback(worker.end)
                started.append(worker)
            return results_or_raise(_wait(started))


class _WorkerProcess:
    """One started process and the pipe that its report comes through."""

    def __init__(self, world: World, task: bytes, inherit: int | None):
        self.world = world
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "firesteel.local", str(write_end)],
                stdin=subprocess.PIPE,
                pass_fds=[write_end, *([] if inherit is None else [inherit])],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._received: Report | None = None
        self._pipe: IO[bytes] = os.fdopen(read_end, "rb")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(task).to_bytes(8, "big") + task)
            self._process.stdin.flush()
        except BrokenPipeError:  # it died at once; its exit status says how
            pass
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        data = self._pipe.read()
        if data:
            self._received = Report(**json.loads(data))

    @property
    def report(self) -> Report | None:
        """Its report once it has ended or reported; None while it works."""
        if self._reader.is_alive():
            return None
        if self._received is not None:
            return self._received
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None
        how = (
            f"was killed by signal {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        )
        return lost_report(self.world.rank, self.world.host, f"{how} without a report")

    def end(self) -> None:
        """End the process, if it has not ended, and wait for it."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=0.5 if self.report is None else 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._pipe.close()


def _wait(started: list[_WorkerProcess]) -> list[Report]:
    """Reports of all workers; after a failure the others get a short time to come to their own end."""
    deadline: float | None = None
    while True:
        reports = [worker.report for worker in started]
        if all(report is not None for report in reports):
            return [report for report in reports if report is not None]
        if deadline is None and any(report is not None and report.error for report in reports):
            deadline = time.monotonic() + _ECHO_GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return [
                report or Report(worker.world.rank, worker.world.host, error="WorkerLost", echo=True,
                                 message="was ended because another worker failed", time=time.time())
                for worker, report in zip(started, reports)
            ]  # fmt: skip
        time.sleep(0.01)


def _main() -> None:
    """The process of one worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher decides
    report_to = int(sys.argv[1])
    task_size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    task = sys.stdin.buffer.read(task_size)
    if len(task) < task_size:
        os._exit(1)  # the launcher went away
    import pickle

    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        function, payload, world, rendezvous = pickle.loads(task)  # from our own parent, through a pipe
    except Exception as error:
        from firesteel.launch import failure_report

        report = failure_report(error, World())
    else:
        report = run_worker(function, payload, world, rendezvous)
    with os.fdopen(report_to, "wb") as pipe:
        pipe.write(json.dumps(report.to_json()).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    # Without waiting for threads and destructors: gloo's can hang when a peer died in the middle of an exchange.
    os._exit(0)


def _end_with_launcher() -> None:
    sys.stdin.buffer.read(1)
    os._exit(1)


if __name__ == "__main__":
    _main()
