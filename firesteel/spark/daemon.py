"""Spark's Python daemon with the expensive imports done before it forks the workers.

Spark starts one daemon a host, when the first Python task comes, and the daemon forks a process for each task. What it
has imported is shared by all of them and paid once. On this machine even that need not be waited for: a process *ahead*
imports while the JVM starts, and when Spark then starts its daemon, that one only hands over its place::

    driver   ──starts──>  ahead: imports, answers the driver's question        (see firesteel.spark.ahead)
    JVM      ──starts──>  daemon: sends environment and standard streams to the process ahead, and waits for its end
    ahead    becomes pyspark.daemon with those streams: Spark talks to it as to the daemon that it started
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys

from firesteel.world import QUIET

ADDRESS = "FIRESTEEL_DAEMON_AHEAD"
"""Environment variable: path of the socket that the process ahead listens on."""

_ACCEPTED = b"+"


def warm_up() -> None:
    """Import what tasks will need. Nothing here may start a thread: the process forks afterwards."""
    import pandas  # noqa: F401  (pyarrow, at its first conversion)
    import pyspark.worker  # noqa: F401
    import torch
    import torch._dynamo  # (by every optimizer)
    import torch.distributed
    import torch.nn.parallel  # noqa: F401

    import firesteel.data.partition
    import firesteel.evaluation.worker
    import firesteel.spark.tasks
    import firesteel.training.worker  # noqa: F401

    # pyspark's worker collects garbage after each task: to look through the objects of these modules took 0.15 s each time,
    # and wrote to the pages that all workers share.
    gc.freeze()


# -- the daemon that Spark starts -----------------------------------------------------------------------------------


def serve() -> None:
    """Be Spark's daemon, or let the process ahead be it."""
    if (address := os.environ.pop(ADDRESS, None)) and hand_over(address):
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.suppress(Exception):  # a task that misses a package says so better than a daemon that dies
        warm_up()
    _be_daemon()


def hand_over(address: str) -> bool:
    """Let the process at ``address`` take this one's place, and wait until it has ended; False if it does not."""
    place = {"environ": dict(os.environ), "cwd": os.getcwd(), "path": sys.path, "argv": sys.argv}
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            socket.send_fds(connection, [_ACCEPTED], [0, 1, 2])
            connection.sendall(json.dumps([sys.executable, place]).encode())
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1) != _ACCEPTED:
                return False
            with contextlib.suppress(ConnectionError):
                connection.recv(1)  # nothing comes; the connection closes when the other process ends
    except OSError:  # used up by another executor, or gone
        return False
    return True


def _be_daemon() -> None:
    from pyspark.daemon import manager

    try:
        manager()
    except BrokenPipeError:  # Spark was stopped before its daemon was up: there is nobody to tell
        os._exit(1)


# -- the process ahead ----------------------------------------------------------------------------------------------


def run_ahead(listener: socket.socket, answer_to: int) -> None:
    """Import, answer the question on standard input, then wait to become Spark's daemon.

    Args:
        listener: where the daemon will come.
        answer_to: file descriptor for the answer, a report as JSON; closed without one if there is no question.

    The driver holds the other end of standard input: when that closes before the daemon has come, this process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    question = json.loads(_read_line(0))
    try:
        warm_up()
    except ImportError:  # the driver and the daemon that Spark starts will say so better
        return
    try:
        with os.fdopen(answer_to, "w") as answer:
            if question is not None:
                from firesteel.launch import run_worker
                from firesteel.world import World

                json.dump(run_worker(question["function"], question["payload"], World(), None).to_json(), answer)
    except BrokenPipeError:  # the driver was stopped before it had the answer
        return
    while True:
        ready, _, _ = select.select([0, listener.fileno()], [], [])
        if listener.fileno() not in ready:
            return  # the driver has gone, or needs no daemon
        connection, _ = listener.accept()
        if _take_place(connection):
            break
        connection.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(listener.getsockname())  # tells the driver that this process is the daemon now
    listener.close()
    os.register_at_fork(after_in_child=connection.close)  # it must close when this process ends, whoever lives longer
    _be_daemon()


def _take_place(connection: socket.socket) -> bool:
    sign, streams, _, _ = socket.recv_fds(connection, 1, 3)
    if sign != _ACCEPTED or len(streams) != 3:
        return False
    with connection.makefile("rb") as file:
        executable, place = json.loads(file.read())
    if executable != sys.executable:
        return False
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(place["environ"])
    os.chdir(place["cwd"])
    sys.path[:], sys.argv[:] = place["path"], place["argv"]
    connection.sendall(_ACCEPTED)
    return True


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(descriptor, 1)):
            sys.exit(1)
        line += byte
    return line


if __name__ == "__main__":
    if sys.argv[1:2] == ["ahead"]:
        run_ahead(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
    else:
        serve()
