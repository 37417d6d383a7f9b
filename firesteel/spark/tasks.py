"""What runs inside Spark's Python workers. Each function shipped to Spark is one line that calls one of these.

Work is handed out by number: ``spark.range(n)`` with one partition a task, and the task takes the payload of its
number. What a task returns is JSON in one row, so no bytes of the data pass through the JVM.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from firesteel.spark.settings import SHARES_HOST

if TYPE_CHECKING:
    from firesteel.world import Rendezvous

RESULT_SCHEMA = "number int, result binary"

_result_schema = pa.schema([("number", pa.int32()), ("result", pa.binary())])


def run_task(payloads: list[bytes], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Run one function of a list: payload ``i`` for row ``i``. Results are pickled, from our workers to our driver."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            function, arguments = pickle.loads(zlib.decompress(payloads[number]))
            yield result_batch(number, pickle.dumps(function(*arguments)))


def run_stream(
    function: Any, arguments: tuple[Any, ...], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Run ``function(*arguments, partition_number, batches)`` over the rows of a DataFrame's partition."""
    from pyspark import TaskContext

    context = TaskContext.get()
    number = context.partitionId() if context is not None else 0
    yield result_batch(number, pickle.dumps(function(*arguments, number, batches)))


def run_barrier_worker(
    task: bytes, token: str, timeout_s: float, meet: bool, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One worker of a barrier stage: find the others, run the function, return the report as JSON."""
    from pyspark import BarrierTaskContext

    from firesteel.launch import failure_report, run_worker
    from firesteel.world import World

    for _ in batches:
        pass
    context = BarrierTaskContext.get()
    hosts = [info.address.rpartition(":")[0] or info.address for info in context.getTaskInfos()]
    rank, host = context.partitionId(), hosts[context.partitionId()]
    local = [other for other, address in enumerate(hosts) if address == host]
    world = World(rank, len(hosts), local.index(rank), len(local), host, cores=_granted_cores(context, len(local)))
    rendezvous = _LateRendezvous(context, rank, hosts, token, timeout_s) if meet and len(hosts) > 1 else None
    try:
        function, payload = pickle.loads(task)
    except Exception as error:  # the user's module or Firesteel itself is missing on this worker
        report = failure_report(error, world)
    else:
        report = run_worker(function, payload, world, rendezvous)  # type: ignore[arg-type]
    if rendezvous is not None:
        rendezvous.close()
    yield result_batch(rank, json.dumps(report.to_json()).encode())


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


class _LateRendezvous:
    """A rendezvous whose address is agreed on by a thread, while the worker loads its data.

    Rank 0 binds its socket first and then says the port: nobody can take it in between. Where all tasks are on one
    host they meet on the loopback interface and rank 0 says the port in a file of that host; else by Spark's
    ``allGather``, which takes a second because Spark polls.
    """

    def __init__(self, context: Any, rank: int, hosts: list[str], token: str, timeout_s: float):
        from firesteel.world import LOOPBACK, listening_socket

        self.timeout_s = timeout_s
        one_host = len(set(hosts)) == 1
        own = LOOPBACK if one_host else socket.gethostbyname(hosts[0])
        self._socket = listening_socket(own) if rank == 0 else None
        message = f"{own}:{self._socket.getsockname()[1]}" if self._socket else ""
        self._answer: str | BaseException | None = None
        self._note = note = os.path.join(tempfile.gettempdir(), f"firesteel-{token}-{context.stageId()}")
        gather = partial(_by_file, note, message, timeout_s) if one_host else partial(_by_spark, context, message)
        self._thread = threading.Thread(target=self._gather, args=(gather,), daemon=True)
        self._thread.start()

    def _gather(self, gather: Callable[[], str]) -> None:
        try:
            self._answer = gather()
        except BaseException as error:
            self._answer = error

    @cached_property
    def _resolved(self) -> Rendezvous:
        from firesteel.world import Rendezvous

        self._thread.join()
        if isinstance(self._answer, BaseException):
            raise self._answer
        assert self._answer is not None
        host, _, port = self._answer.rpartition(":")
        return Rendezvous(host, int(port), self._handed_over(), self.timeout_s)

    def _handed_over(self) -> int | None:
        """A descriptor for the store, which will close it."""
        if self._socket is None:
            return None
        return os.dup(self._socket.fileno())

    @property
    def host(self) -> str:
        return self._resolved.host

    @property
    def port(self) -> int:
        return self._resolved.port

    @property
    def listener(self) -> int | None:
        return self._resolved.listener

    def met(self) -> None:
        """All have read where to meet: the file goes at once, so that a worker killed later leaves nothing."""
        if self._socket is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._note)

    def close(self) -> None:
        """Leave nothing behind: neither a file nor what a reused Python worker would carry into its next task."""
        self._thread.join()
        self.met()
        if self._socket is not None:
            self._socket.close()


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
