"""What runs inside Spark's Python workers. Each function shipped to Spark is one line that calls one of these.

Work is handed out by number: ``spark.range(n)`` with one partition a task, and the task takes the payload of its
number. What a task returns is JSON in one row, so no bytes of the data pass through the JVM.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from firesteel.spark.settings import SHARES_HOST

if TYPE_CHECKING:
    from firesteel.launch import Report
    from firesteel.world import World

RESULT_SCHEMA = "number int, result binary"

_TELL_S = 5.0
"""A guard gives up after this long to tell the others that its worker is gone: they may be gone as well."""

_result_schema = pa.schema([("number", pa.int32()), ("result", pa.binary())])


def run_task(payloads: list[bytes], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Run one function of a list: payload ``i`` for row ``i``. Results are pickled, from our workers to our driver."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            function, arguments = pickle.loads(zlib.decompress(payloads[number]))
            yield result_batch(number, pickle.dumps(function(*arguments)))


def task_world() -> World:
    """The place of this process: the GPU that Spark granted to its task, else the number of the first task that it has run, so
    that the processes of a host take its GPUs in turn, and each keeps its own.
    """
    from pyspark import TaskContext

    from firesteel.world import World

    context = TaskContext.get()
    if context is None:
        return World()
    granted = context.resources().get("gpu")
    address = granted.addresses[0] if granted is not None and granted.addresses else ""
    return World(local_rank=int(address) if address.isdigit() else _first_task(os.getpid(), context.partitionId))


_first_tasks: dict[int, int] = {}
"""Process -> number of the first task that it has run; a process that is forked of this one begins anew."""


def _first_task(process: int, number: Callable[[], int]) -> int:
    if process not in _first_tasks:
        _first_tasks.clear()
        _first_tasks[process] = number()
    return _first_tasks[process]


def run_stream(
    function: Any, arguments: tuple[Any, ...], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Run ``function(*arguments, partition_number, batches)`` over the rows of a DataFrame's partition."""
    from pyspark import TaskContext

    context = TaskContext.get()
    number = context.partitionId() if context is not None else 0
    yield result_batch(number, pickle.dumps(function(*arguments, number, batches)))


def run_barrier_worker(
    task: bytes, token: str, timeout_s: float, meet: bool, brings: bool, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One worker of a barrier stage: fork it, tell it where the others are, return its report as JSON."""
    from pyspark import BarrierTaskContext

    from firesteel.world import World

    file = _kept(batches) if brings else None
    for _ in batches:
        pass
    context = BarrierTaskContext.get()
    hosts = [info.address.rpartition(":")[0] or info.address for info in context.getTaskInfos()]
    rank, host = context.partitionId(), hosts[context.partitionId()]
    local = [other for other, address in enumerate(hosts) if address == host]
    world = World(rank, len(hosts), local.index(rank), len(local), host, cores=_granted_cores(context, len(local)))
    if file is not None:
        world = replace(world, brought=f"/proc/self/fd/{file.fileno()}")  # the worker, a fork, has it open as well
    place = _MeetingPlace(context, rank, hosts, token, timeout_s) if meet and len(hosts) > 1 else None
    report = _guarded(task, world, place, timeout_s)
    yield result_batch(rank, json.dumps(report.to_json()).encode())


def _kept(batches: Iterator[pa.RecordBatch]) -> IO[bytes]:
    """The rows of this task as an Arrow file without a name: nothing is left behind however the task ends."""
    file = tempfile.TemporaryFile(prefix="firesteel-rows-")  # noqa: SIM115
    writer = None
    for batch in batches:
        writer = writer or pa.ipc.new_file(file, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    file.flush()
    return file


def _guarded(task: bytes, world: World, place: _MeetingPlace | None, timeout_s: float) -> Report:
    """Fork the worker and wait for its report. This process holds no thread and no tensor: forking it is safe."""
    from firesteel.process import Forked, Guard

    read_report, write_report = os.pipe()
    read_words, write_words = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_report)
        os.close(write_words)
        _be_forked_worker(task, world, place, timeout_s, write_report, read_words)
    os.close(write_report)
    os.close(read_words)
    guard = Guard(world, Forked(pid), read_report, timeout_s)
    try:
        if place is not None:
            place.tell(write_words)
        while (report := guard.report) is None:
            time.sleep(0.01)
        if report.error == "WorkerLost" and place is not None:
            place.tell_failure(world, report.message)
        # One that has failed may need time to tell the others: they are told in a store that may not be there yet.
        guard.close(timeout_s if report.error else 5)
        return report
    finally:
        guard.close(0)
        os.close(write_words)
        if place is not None:
            place.close()


def _be_forked_worker(
    task: bytes, world: World, place: _MeetingPlace | None, timeout_s: float, report_to: int, words: int
) -> NoReturn:
    from firesteel.process import be_worker, end_with_guard, end_with_stopped_guard

    told: queue.Queue[str] = queue.Queue()
    end_with_guard(words, lambda line: told.put(line.decode().strip()))
    end_with_stopped_guard(timeout_s)
    rendezvous = None if place is None else _ToldRendezvous(told, place.listener, place.note, timeout_s)
    be_worker(task, world, rendezvous, report_to)  # type: ignore[arg-type]


def result_batch(number: int, result: bytes) -> pa.RecordBatch:
    """One row of :data:`RESULT_SCHEMA`."""
    return pa.RecordBatch.from_arrays(
        [pa.array([number], pa.int32()), pa.array([result], pa.binary())], schema=_result_schema
    )


def _granted_cores(context: Any, workers_here: int) -> int:
    """Cores of this worker: its share of the host in local mode, else what Spark granted to the task."""
    if os.environ.get(SHARES_HOST):
        return max(1, len(os.sched_getaffinity(0)) // workers_here)
    return max(1, int(context.cpus()))


class _MeetingPlace:
    """Agrees with the other tasks where their workers meet, while these load their data.

    Rank 0 binds its socket first and then says the port: nobody can take it in between. Where all tasks are on one
    host they meet on the loopback interface and rank 0 says the port in a file of that host; else by Spark's
    ``allGather``, which takes a second because Spark polls.
    """

    def __init__(self, context: Any, rank: int, hosts: list[str], token: str, timeout_s: float):
        from firesteel.world import LOOPBACK, listening_socket

        self._timeout_s = timeout_s
        one_host = len(set(hosts)) == 1
        own = LOOPBACK if one_host else socket.gethostbyname(hosts[0])
        self._socket = listening_socket(own) if rank == 0 else None
        message = f"{own}:{self._socket.getsockname()[1]}" if self._socket else ""
        self.note = os.path.join(tempfile.gettempdir(), f"firesteel-{token}-{context.stageId()}")
        self._agree = (
            partial(_by_file, self.note, message, timeout_s) if one_host else partial(_by_spark, context, message)
        )
        self._address: str | None = None
        self._thread: threading.Thread | None = None

    @property
    def listener(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def tell(self, words: int) -> None:
        """Find out the address, in a thread, and write it to the worker's pipe."""

        def find_out() -> None:
            try:
                self._address = self._agree()
                line = f"at {self._address}\n"
            except Exception as error:  # the worker says it best: it is what waits
                line = f"no {error}".replace("\n", " ") + "\n"
            with contextlib.suppress(OSError):  # the worker has ended
                os.write(words, line.encode())

        self._thread = threading.Thread(target=find_out, name="firesteel-meeting-place", daemon=True)
        self._thread.start()

    def tell_failure(self, world: World, how: str) -> None:
        """Tell the other workers that this one ended without a word of its own."""
        from firesteel.world import Meeting, Rendezvous

        if self._address is not None and world.rank > 0:  # rank 0 took the store with it
            host, _, port = self._address.rpartition(":")
            try:  # torch would try again and again, and say so
                socket.create_connection((host, int(port)), _TELL_S).close()
            except OSError:
                return
            Meeting(world, Rendezvous(host, int(port), None, _TELL_S)).fail(how)

    def close(self) -> None:
        """Leave nothing behind: neither a file nor what a reused Python worker would carry into its next task."""
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.note)


class _ToldRendezvous:
    """In the forked worker: a rendezvous whose address its guard tells it when it is known."""

    def __init__(self, told: queue.Queue[str], listener: int | None, note: str, timeout_s: float):
        self._told, self.listener, self._note, self.timeout_s = told, listener, note, timeout_s

    @cached_property
    def _address(self) -> tuple[str, int]:
        what, _, text = self._told.get().partition(" ")
        if what != "at":
            raise TimeoutError(text)
        host, _, port = text.rpartition(":")
        return host, int(port)

    @property
    def host(self) -> str:
        return self._address[0]

    @property
    def port(self) -> int:
        return self._address[1]

    def met(self) -> None:
        """All have read where to meet: the file goes at once, so that a worker killed later leaves nothing."""
        if self.listener is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._note)


def _by_spark(context: Any, message: str) -> str:
    return str(context.allGather(message)[0])


def _by_file(path: str, message: str, timeout_s: float) -> str:
    """Rank 0 (which has a message) writes it; the others wait for it. The name holds a secret of this run."""
    if message:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(message + "\n")
        return message
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            text = file.read()
            if text.endswith("\n"):
                return text.strip()
        time.sleep(0.005)
    raise TimeoutError(f"rank 0 has not said within {timeout_s:.0f} s where to meet")
