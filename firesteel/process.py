"""Worker processes: what a worker says while it lives, and what its guard makes of its silence.

Each worker is a process of its own. Whoever started it is its *guard*: the local launcher, or the Python process of a
Spark task. Through a pipe the worker says every second how far it is, and last its report; then it ends at once,
whatever threads and destructors are left: those of a process group can wait for ever when another worker is gone, and
a Spark task's Python process would keep memory, also that of a GPU, for its next task. A worker that is silent or does
not move for too long is ended by its guard, and a worker whose guard is gone ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from firesteel.launch import Report, failure_report, lost_report, run_worker
from firesteel.world import Rendezvous, World

BEAT_S = 1.0
"""Seconds between two signs of life."""

COMPUTES, WAITS = "computes", "waits"
"""What a worker does: something of its own, or something that may wait for other workers."""


# -- the worker's side ----------------------------------------------------------------------------------------------


class Position:
    """How far the worker of this process is: written by its main thread, read by the one that tells the guard."""

    def __init__(self) -> None:
        self.step, self.doing, self.moves = 0, WAITS, 0

    def at(self, step: int, doing: str) -> None:
        """Say that the worker moves on; ``doing`` is COMPUTES or WAITS."""
        self.step, self.doing = step, doing
        self.moves += 1


POSITION = Position()


class _Voice:
    """What this process says to its guard."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def beat_for_ever(self) -> None:
        while True:
            self._say({"step": POSITION.step, "doing": POSITION.doing, "moves": POSITION.moves})
            time.sleep(BEAT_S)

    def report(self, report: Report) -> None:
        """Say it; nothing can be said afterwards."""
        self._lock.acquire()
        self._write({"report": report.to_json()})

    def end_with(self, report: Report) -> NoReturn:
        self.report(report)
        os._exit(0)

    def _say(self, message: object) -> None:
        with self._lock:
            self._write(message)

    def _write(self, message: object) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # the guard is gone, and nobody else waits for this process
            os._exit(1)


def be_worker(task: bytes, world: World, rendezvous: Rendezvous | None, report_to: int) -> NoReturn:
    """Run a task in this process, report, and end the process.

    Args:
        task: pickled (function, payload), from the guard.
        world: who this worker is.
        rendezvous: where the others are, if they meet.
        report_to: descriptor of the pipe to the guard.
    """
    # They reach the whole group, or all that a service manager started; the launcher decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    voice = _Voice(report_to)
    threading.Thread(target=voice.beat_for_ever, name="firesteel-beat", daemon=True).start()
    try:
        function, payload = pickle.loads(task)  # from our own guard, through a pipe
    except Exception as error:  # the user's module or Firesteel itself is missing here
        voice.end_with(failure_report(error, world))
    report = run_worker(
        function,
        payload,
        world,
        rendezvous,
        first_tell=voice.report,
        end_with=voice.end_with,
        step=lambda: POSITION.step,
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if report.error is None:
        voice.report(report)
    os._exit(0)


# -- the guard's side -----------------------------------------------------------------------------------------------


class Process(Protocol):
    """What a guard needs of a process; subprocess.Popen has it."""

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""

    def kill(self) -> None:
        """End it."""


class Guard:
    """Listens to one worker.

    Args:
        world: of the worker.
        process: that it is.
        descriptor: of the pipe that its words come through; the guard closes it.
        timeout_s: it is ended after being silent for so long, or without a move while it waits for nobody.
    """

    def __init__(self, world: World, process: Process, descriptor: int, timeout_s: float):
        self.world, self._process, self._timeout_s = world, process, timeout_s
        self._pipe = os.fdopen(descriptor, "rb")
        self._received: Report | None = None
        self._ended_for: str | None = None
        self._step, self._doing, self._moves, self._words = 0, WAITS, 0, 0
        self._seen = (0, 0)
        self._silent_s = self._still_s = 0.0
        self._looked = time.monotonic()
        self._reader = threading.Thread(target=self._read, name="firesteel-guard", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._pipe:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a line that the worker's death has cut
                message = json.loads(line)
                if "report" in message:
                    self._received = Report(**message["report"])
                else:
                    self._step, self._doing, self._moves = message["step"], message["doing"], message["moves"]
                    self._words += 1

    @property
    def report(self) -> Report | None:
        """Its report once it has reported or ended; None while it works."""
        if self._received is not None:
            return self._received
        if self._reader.is_alive():
            self._look()
            return None
        if self._received is not None:  # between the two looks above
            return self._received
        if (status := self._process.poll()) is None:
            return None  # the pipe closes a moment before the process has ended
        if self._ended_for:
            how = self._ended_for
        elif status < 0:
            how = f"was killed by signal {signal.Signals(-status).name} without a report"
        else:
            how = f"ended with exit status {status} without a report"
        return lost_report(self.world.rank, self.world.host, how)

    def _look(self) -> None:
        """End the worker if it has been silent, or has not moved, for too long.

        Time counts only while this process itself was running: a suspended laptop or Ctrl-Z is nobody's fault.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, BEAT_S), now
        words, moves = self._words, self._moves
        self._silent_s = 0.0 if words != self._seen[0] else self._silent_s + passed
        self._still_s = 0.0 if moves != self._seen[1] or self._doing == WAITS else self._still_s + passed
        self._seen = (words, moves)
        # Two beats early: what is promised is that a worker that hangs is named within the timeout.
        limit = max(self._timeout_s - 2 * BEAT_S, self._timeout_s / 2, 2 * BEAT_S)
        if self._ended_for is None and max(self._silent_s, self._still_s) > limit:
            silent, step = self._silent_s > limit, self._step + 1
            self._ended_for = (
                f"was silent for {limit:.0f} s and was ended: it is stopped, or its machine hangs; it was last at step {step}"
                if silent
                else f"did not move for {limit:.0f} s and was ended: its code hangs at step {step}"
            )
            self._process.kill()

    def close(self, grace_s: float) -> None:
        """Let the process end by itself for so long, then end it; return when it is gone."""
        deadline = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._process.poll() is None:
            self._process.kill()
        while self._process.poll() is None:
            time.sleep(0.005)
        self._reader.join()
        self._pipe.close()


class Forked:
    """A child of this process by :func:`os.fork`."""

    def __init__(self, pid: int):
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def end_with_guard(words: int, heard: Callable[[bytes], object] = lambda line: None) -> None:
    """In a worker: end this process when the guard is gone, that is when ``words`` closes.

    Args:
        words: descriptor that the guard holds the other end of.
        heard: is called with each line that the guard says.
    """

    def listen() -> None:
        with os.fdopen(words, "rb") as pipe:
            for line in pipe:
                heard(line)
        os._exit(1)

    threading.Thread(target=listen, name="firesteel-guard-gone", daemon=True).start()


def end_with_stopped_guard(timeout_s: float) -> None:
    """In a worker whose guard is a Spark task: end both when the guard is stopped (SIGSTOP) for so long.

    Spark does not see that a task's Python process is stopped; that it has ended it sees at once. Where there is no
    ``/proc`` this does nothing.
    """
    guard = os.getppid()

    def look() -> None:
        stopped_s = 0.0
        while stopped_s < timeout_s - 2 * BEAT_S:
            time.sleep(BEAT_S)
            stopped_s = stopped_s + BEAT_S if _is_stopped(guard) else 0.0
        if os.getppid() == guard:
            os.kill(guard, signal.SIGKILL)
        os._exit(1)

    if os.path.exists(f"/proc/{guard}/stat"):
        threading.Thread(target=look, name="firesteel-guard-stopped", daemon=True).start()


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False
