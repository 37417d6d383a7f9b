"""Starting workers: what every launcher has in common, and the one for this process.

A launcher runs an importable function once per worker and brings back what each returned. There are three: in this
process (one worker), as local processes (:mod:`firesteel.local`), and as the tasks of one Spark stage
(:mod:`firesteel.spark.barrier`). What the function computes does not depend on which.

A worker that fails *returns* its failure like a result. So no worker waits for a timeout, Spark does not repeat a stage
whose code is wrong, and the launcher sees the reports of all workers and can tell the first failure from its echoes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from firesteel.errors import ConfigError, FiresteelError, WorkerFailed
from firesteel.world import LOOPBACK, Meeting, Rendezvous, World

WorkerFunction = Callable[[Any, World, "Meeting | None"], Any]
"""(payload, world, meeting) -> a JSON-able result; ``meeting`` is None if the workers need not talk to each other."""

Named = str
"""``MODULE:NAME`` of a worker function: whoever launches it need not import it."""


def function_of(function: WorkerFunction | Named) -> WorkerFunction:
    """The function itself."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Question:
    """Something to be found out once, before workers are started for it.

    Attributes:
        function: raises if the answer is no.
        payload: for it; JSON-able where the function is given by name.
    """

    function: WorkerFunction | Named
    payload: Any = None

    @property
    def forkable(self) -> bool:
        """Whether another process may be asked, from which workers are forked: named functions start no thread."""
        return isinstance(self.function, str)

    def ask(self) -> None:
        """Ask in this process."""
        function_of(self.function)(self.payload, World(), None)


@dataclass(frozen=True)
class Report:
    """What one worker brings back.

    Attributes:
        rank: of the worker.
        host: where it ran.
        result: what the function returned; None if it failed.
        error: type of the exception; None if it ended well.
        message: of the exception.
        traceback: of the exception, as text.
        expected: True if the exception is one of ours, whose message is made for people.
        echo: True if the worker failed because another one was gone.
        time: when it failed, seconds since 1970.
        step: optimizer steps that it had made, where it trains.
    """

    rank: int
    host: str
    result: Any = None
    error: str | None = None
    message: str = ""
    traceback: str = ""
    expected: bool = False
    echo: bool = False
    time: float = 0.0
    step: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Launcher(ABC):
    """Runs a function on every worker of a job."""

    @abstractmethod
    def run(
        self,
        function: WorkerFunction | Named,
        payload: Any,
        *,
        workers: int,
        meet: bool,
        timeout_s: float = 300.0,
    ) -> list[Any]:
        """Run ``function`` once per worker.

        Args:
            function: importable on the workers.
            payload: picklable; goes to each worker.
            workers: how many, all at the same time if they meet.
            meet: give the workers a :class:`Meeting`, through which they can form a process group.
            timeout_s: of the meeting.

        Returns:
            the results, by rank.

        Raises:
            WorkerFailed: naming the worker that failed first, after all others have ended.
        """

    def start_ahead(self, workers: int, module: str) -> None:
        """Start workers before it is known what they shall do, where that saves time; :meth:`run` uses them.

        Args:
            workers: how many.
            module: that they import meanwhile.
        """

    def close(self) -> None:
        """End what was started ahead and not used."""

    def slots(self) -> int | None:
        """How many workers could run now; None if nobody knows."""
        return None


class InProcess(Launcher):
    """One worker, in this process."""

    def run(
        self,
        function: WorkerFunction | Named,
        payload: Any,
        *,
        workers: int,
        meet: bool,
        timeout_s: float = 300.0,
    ) -> list[Any]:
        if workers != 1:
            raise ConfigError(f"this process can be one worker, not {workers}. Use the local or the Spark launcher.")
        report = run_worker(function, payload, World(host=socket.gethostname()), None)
        return results_or_raise([report])


def run_worker(
    function: WorkerFunction | Named,
    payload: Any,
    world: World,
    rendezvous: Rendezvous | None,
    *,
    first_tell: Callable[[Report], object] = lambda report: None,
    end_with: Callable[[Report], object] | None = None,
    step: Callable[[], int] = lambda: 0,
) -> Report:
    """Run a worker function here and report how it ended; does not raise, except for Ctrl-C and the like.

    Args:
        function: see :meth:`Launcher.run`.
        payload: for it.
        world: who this worker is.
        rendezvous: where the workers meet; only for processes that end afterwards, since a process group that has lost
            a member cannot be taken down safely.
        first_tell: is given the report of a failure before anything that may hang.
        end_with: ends this process with a report, while the function runs: another worker has failed.
        step: says how far the function has come.
    """
    meeting = Meeting(world, rendezvous) if rendezvous is not None and world.world_size > 1 else None
    if meeting is not None and end_with is not None:
        meeting.when_one_fails(lambda why: end_with(_echo(world, why)))
    try:
        return Report(world.rank, world.host, result=function_of(function)(payload, world, meeting))
    except Exception as error:
        report = failure_report(error, world, step())
        first_tell(report)
        with contextlib.suppress(Exception):
            _log_failure(payload, report)
        if meeting is not None and not report.echo:
            meeting.fail(f"{report.error}: {report.message}")
        if end_with is not None:
            # Now, while the exception holds its frames: they hold the process group, whose destructor can hang.
            os._exit(0)
        return report


def _echo(world: World, why: str) -> Report:
    return Report(world.rank, world.host, error="WorkerFailed", message=why, echo=True, time=time.time())


def failure_report(error: BaseException, world: World, step: int = 0) -> Report:
    """Describe an exception of a worker."""
    return Report(
        world.rank,
        world.host,
        error=type(error).__name__,
        message=str(error) or repr(error),
        traceback="".join(traceback.format_exception(error)),
        expected=isinstance(error, FiresteelError) and not isinstance(error, WorkerFailed),
        echo=isinstance(error, WorkerFailed) or lost_a_peer(error),
        time=time.time(),
        step=step,
    )


def lost_report(rank: int, host: str, how: str) -> Report:
    """The report of a worker that ended without one."""
    return Report(rank, host, error="WorkerLost", message=how, time=time.time())


def results_or_raise(reports: Sequence[Report]) -> list[Any]:
    """The results by rank, or the first failure as an exception.

    Raises:
        WorkerFailed: for an unexpected exception or a lost worker.
        FiresteelError: if the worker raised one of ours: of the same type, its message untouched.
    """
    failed = [report for report in reports if report.error is not None]
    if not failed:
        return [report.result for report in sorted(reports, key=lambda report: report.rank)]
    raise exception_of(first_failure(failed), len(reports))


def first_failure(failed: Sequence[Report]) -> Report:
    """The failure that caused the others: one that is no echo, the earliest of those."""
    return min(failed, key=lambda report: (report.echo, report.time))


def exception_of(report: Report, workers: int) -> FiresteelError:
    """The exception that the launcher raises for a failed worker."""
    from firesteel import errors

    if report.expected:
        kind = getattr(errors, report.error or "", None)
        if isinstance(kind, type) and issubclass(kind, FiresteelError):
            raised = kind(report.message)
            raised.worker_traceback = report.traceback
            return raised
    if report.error == "WorkerFailed":  # a worker speaking of another one
        return WorkerFailed(report.message, worker_traceback=report.traceback)
    where = f"worker {report.rank} of {workers} on {report.host}"
    if report.error == "WorkerLost":
        return WorkerFailed(f"{where} {report.message}", rank=report.rank)
    first_line = report.message.strip().splitlines()[0] if report.message.strip() else ""
    return WorkerFailed(
        f"{where} failed: {report.error}: {first_line}\n{place_of(report.traceback)}",
        rank=report.rank,
        worker_traceback=report.traceback,
        cause=f"{report.error}: {report.message}",
        step=report.step,
    )


def local_rendezvous(port: int, listener: int | None, timeout_s: float) -> Rendezvous:
    """A rendezvous on this host's loopback interface."""
    return Rendezvous(LOOPBACK, port, listener, timeout_s)


def lost_a_peer(error: BaseException) -> bool:
    """Whether a worker failed only because another one was gone."""
    text = str(error)
    # What gloo and NCCL say when the other side of a connection is gone.
    signs = (
        "Connection closed by peer",
        "Connection reset by peer",
        "Broken pipe",
        "Read error",
        "NCCL communicator was aborted",
    )
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def place_of(text: str) -> str:
    """The last line of a traceback that lies in the user's code, else the last at all."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if "site-packages" not in line and "/firesteel/" not in line]
    return (own or lines or ["(no traceback)"])[-1] + ". --debug shows the whole traceback."


def _log_failure(payload: Any, report: Report) -> None:
    from firesteel.monitoring.events import EventWriter
    from firesteel.storage import Place

    run = getattr(payload, "run", None)
    if isinstance(run, str):
        with EventWriter(Place.of(run), report.rank) as events:
            events.write(
                "failed", error=report.error, message=report.message, traceback=report.traceback, echo=report.echo,
                host=report.host,
            )  # fmt: skip
