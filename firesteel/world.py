"""Which worker am I, and how do the workers of one job find each other?"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError, ResourceError, WorkerFailed

if TYPE_CHECKING:
    import torch
    from torch.distributed import TCPStore

LOOPBACK = "127.0.0.1"

QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Environment of a worker, before it imports torch: that a store has closed is no news, who closed it is reported."""

_FAILED = "failed"
"""Key of the store under which a rank says that it has failed."""


@dataclass(frozen=True)
class World:
    """The place of one worker among all workers of a job. Made once by the launcher and passed down.

    Attributes:
        rank: 0 <= rank < world_size.
        world_size: number of workers.
        local_rank: rank among the workers on this host.
        local_world_size: number of workers on this host.
        host: name or address of this host, for messages.
        device: ``cpu``, ``cuda:0``, ...
        cores: that the launcher granted to this worker; None if it did not say.
        brought: Arrow file with rows that the launcher has brought to this worker; None if it brings none.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    host: str = "localhost"
    device: str = "cpu"
    cores: int | None = None
    brought: str | None = None

    def on_device(self, wanted: str) -> World:
        """This world with ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` resolved to the device of this worker.

        Workers on one host take its GPUs in turn; where there are more workers than GPUs they share them.

        Raises:
            ResourceError: if a GPU is wanted and this host does not have it.
        """
        import torch

        kind, _, number = wanted.partition(":")
        gpus = usable_gpus(kind)
        if kind == "cuda" and gpus <= int(number or 0):
            raise ResourceError(
                f"device {wanted!r} is no GPU of {self.host}, which has {gpus}."
                if gpus
                else f'device "{wanted}" needs a GPU, but torch {torch.__version__} sees none on {self.host}.\n'
                "Use --device cpu or auto, or install a CUDA build of torch there."
            )
        return replace(self, device=f"cuda:{number or self.local_rank % gpus}" if gpus else "cpu")

    @property
    def default_threads(self) -> int:
        """What was granted, else this worker's share of the cores that this process may use."""
        return self.cores or max(1, len(os.sched_getaffinity(0)) // self.local_world_size)

    @property
    def torch_device(self) -> torch.device:
        import torch

        return torch.device(self.device)

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size} on {self.host} ({self.device})"


def check_device(wanted: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether there is such a GPU is known where it is used.

    Raises:
        ConfigError: for anything else.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", wanted):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {wanted!r}.")
    return wanted


def usable_gpus(wanted: str) -> int:
    """How many GPUs this process sees and may use, if ``auto``, ``cpu`` or ``cuda`` is wanted."""
    if wanted == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


_threads: list[tuple[object, int]] = []
"""What is asked of torch at this time, and below all what it had before anything was asked."""
_threads_lock = threading.Lock()


@contextlib.contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many threads, None as it does; afterwards as before.

    The number is one for the process. Of blocks that overlap, as those of iterators do, the newest counts, and the last that
    ends restores what was before the first.
    """
    if threads is None:
        yield
        return
    import torch

    own = object()
    with _threads_lock:
        if not _threads:
            _threads.append((None, torch.get_num_threads()))
        _threads.append((own, threads))
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _threads_lock:
            _threads[:] = [each for each in _threads if each[0] is not own]
            torch.set_num_threads(_threads[-1][1])
            if len(_threads) == 1:
                _threads.clear()


@dataclass(frozen=True)
class Rendezvous:
    """Where the workers of one job meet: a key-value store that rank 0 serves.

    Attributes:
        host: address that rank 0 listens on.
        port: TCP port.
        listener: on rank 0 the file descriptor of the bound socket, so that nobody can take the port in between.
        timeout_s: how long a worker waits for the others, at the start and in each collective.
    """

    host: str
    port: int
    listener: int | None = None
    timeout_s: float = 300.0

    def met(self) -> None:
        """Called when all workers have met; nothing to do where nothing was left for the others to find."""


def listening_socket(host: str) -> socket.socket:
    """A socket bound to a free port of ``host`` only, listening."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(1024)
    return listener


class Meeting:
    """The workers' common store while a job runs: says that all are ready, and joins the process group.

    Ranks load their data before they join. A rank that fails before that point leaves its word in the store, so that
    the others stop at once and do not wait for the timeout.
    """

    def __init__(self, world: World, rendezvous: Rendezvous):
        self._world, self._rendezvous = world, rendezvous
        self._store: TCPStore | None = None
        self._act: Callable[[str], object] | None = None
        self._left = False

    @property
    def store(self) -> TCPStore:
        if self._store is None:
            serves = {"is_master": True, "master_listen_fd": self._rendezvous.listener} if self._world.rank == 0 else {}
            self._store = self.client(**serves)
            if self._act is not None:
                threading.Thread(target=self._listen, name="firesteel-meeting", daemon=True).start()
        return self._store

    def client(self, **serves: Any) -> TCPStore:
        """A connection to the store of its own, for another thread."""
        from torch.distributed import TCPStore

        meeting = self._rendezvous
        return TCPStore(
            meeting.host,
            meeting.port,
            self._world.world_size,
            timeout=timedelta(seconds=meeting.timeout_s),
            wait_for_workers=False,
            **serves,
        )

    def fail(self, reason: str) -> None:
        """Tell the others that this rank has failed: before they have met, and while they work."""
        with contextlib.suppress(Exception):  # they may be gone already, and our own error is the one to report
            self.store.set(_FAILED, f"{self._world.rank} failed: {reason}")
            self.store.set(f"ready/{self._world.rank}", f"failed: {reason}")

    def when_one_fails(self, act: Callable[[str], object]) -> None:
        """Call ``act`` with a reason, in a thread, when another rank says that it has failed.

        A closed connection says it as well, but only to a rank that exchanges something at that moment.
        """
        self._act = act

    def _listen(self) -> None:
        try:
            store = self.client()
            store.wait([_FAILED], timedelta(days=365))
            rank, _, reason = store.get(_FAILED).decode().partition(" ")
        except Exception:  # the connection to rank 0 is closed, which serves the store until all have left
            rank, reason = "0", "has ended"
        if self._act is not None and not self._left and int(rank) != self._world.rank:
            self._act(f"rank {rank} {reason}")

    def wait_for_all(self) -> None:
        """Return when every rank is ready.

        Raises:
            WorkerFailed: if one has failed before, or has not come within the timeout.
        """
        store, meeting = self.store, self._rendezvous
        store.set(f"ready/{self._world.rank}", "ready")
        deadline = time.monotonic() + meeting.timeout_s
        for rank in range(self._world.world_size):
            try:
                store.wait([f"ready/{rank}"], timedelta(seconds=max(0.1, deadline - time.monotonic())))
            except Exception as error:  # torch raises several types here, by version
                raise WorkerFailed(
                    f"rank {self._world.rank} on {self._world.host} waited {meeting.timeout_s:.0f} s for rank {rank},"
                    " which did not come.",
                    rank=rank,
                ) from error
            answer = store.get(f"ready/{rank}").decode()
            if answer != "ready":
                raise WorkerFailed(f"rank {rank} {answer}", rank=rank)

    @contextlib.contextmanager
    def process_group(self) -> Iterator[None]:
        """Join the default process group of torch, and leave it when the block ends well.

        If it fails the process must end: other ranks may be gone, and a group cannot be left without them.
        """
        import torch.distributed as dist

        self.wait_for_all()
        self._rendezvous.met()
        world = self._world
        with _gloo_on_loopback(self._rendezvous.host == LOOPBACK):
            dist.init_process_group(
                backend=_backend(world),
                store=self.store,
                rank=world.rank,
                world_size=world.world_size,
                # The guard of a rank that hangs ends it after the timeout, and the others then lose a connection, which
                # says who hangs; that they wait in vain says it not.
                timeout=timedelta(seconds=2 * self._rendezvous.timeout_s),
            )
        yield
        self._leave_together()
        dist.destroy_process_group()

    def _leave_together(self) -> None:
        """Rank 0, which serves the store, stays until all others need it no more."""
        self._left = True
        self.store.set(f"left/{self._world.rank}", "")
        if self._world.rank == 0:
            others = [f"left/{rank}" for rank in range(self._world.world_size)]
            self.store.wait(others, timedelta(seconds=self._rendezvous.timeout_s))


def _backend(world: World) -> str:
    import torch

    if not world.device.startswith("cuda"):
        return "gloo"
    # NCCL refuses two ranks on one GPU; gloo reduces GPU tensors by way of the host.
    shared = world.local_world_size > torch.cuda.device_count()
    return "gloo" if shared else "cpu:gloo,cuda:nccl"


@contextlib.contextmanager
def _gloo_on_loopback(wanted: bool) -> Iterator[None]:
    """Let gloo listen on the loopback interface only, where all workers are on one host."""
    if not wanted or "GLOO_SOCKET_IFNAME" in os.environ:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    try:
        yield
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]
