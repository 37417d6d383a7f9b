"""Many pictures through a network: threads that each read, decode and compute a batch; results in order."""

from __future__ import annotations

import contextlib
import copy
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from torch import nn

from firesteel.errors import ConfigError, FormatError, StorageError
from firesteel.formats.images import Decoded, ImageSpec, decode_all
from firesteel.inference.pictures import Picture

In = TypeVar("In")
Out = TypeVar("Out")

MOST_WORKERS = 16
"""Unless somebody wants more: of more threads each waits for Python's lock."""
_HELD_BYTES = 64 << 20
_DECODED_AT_A_TIME = 64
_READ_BYTES = 8 << 20


@dataclass(frozen=True)
class DecodedBatch:
    """Pictures that were decoded together.

    Attributes:
        names: of all.
        problems: why a picture cannot be used, by its position.
        rows: uint8 of shape (B, channels, height, width): those that can be, in order.
    """

    names: list[str]
    problems: dict[int, str]
    rows: np.ndarray


def batches_of(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Runs of ``size`` pictures; shorter ones where pictures hold much memory."""
    held: list[Picture] = []
    held_bytes = 0
    for picture in pictures:
        held.append(picture)
        held_bytes += picture.held
        if len(held) == size or held_bytes > _HELD_BYTES:
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


def decoded(pictures: list[Picture], spec: ImageSpec) -> DecodedBatch:
    """Read and decode; what is no picture becomes a problem."""
    problems: dict[int, str] = {}
    rows = np.empty((len(pictures), *spec.shape), np.uint8)
    count = 0
    for found, start in _decoded_parts(pictures, spec):
        for position, each in enumerate(found, start):
            if isinstance(each, Decoded):
                rows[count] = each.pixels.transpose(2, 0, 1)
                count += 1
            else:
                problems[position] = str(each)
    return DecodedBatch([picture.name for picture in pictures], problems, rows[:count])


def _decoded_parts(
    pictures: list[Picture], spec: ImageSpec
) -> Iterator[tuple[list[Decoded | FormatError | StorageError], int]]:
    """What becomes of some pictures at a time, and the position of the first of them."""
    start, size = 0, 0
    waiting: list[bytes | FormatError | StorageError] = []
    for position, picture in enumerate(pictures):
        found = _read(picture)
        waiting.append(found)
        size += len(found) if isinstance(found, bytes) else 0
        if len(waiting) == _DECODED_AT_A_TIME or size > _READ_BYTES or position == len(pictures) - 1:
            sound = iter(decode_all([each for each in waiting if isinstance(each, bytes)], spec))
            yield [next(sound) if isinstance(each, bytes) else each for each in waiting], start
            start, size, waiting = position + 1, 0, []


def _read(picture: Picture) -> bytes | FormatError | StorageError:
    try:
        return picture.read()
    except (FormatError, StorageError) as error:
        return error


class Replicas:
    """Networks that share their parameters, one a thread: a network may keep something in itself while it computes.

    On a GPU, and where a network cannot be copied, there is one, for which threads wait.
    """

    def __init__(self, network: nn.Module, count: int):
        self._free: queue.SimpleQueue[nn.Module] = queue.SimpleQueue()
        self._free.put(network)
        on_gpu = any(parameter.is_cuda for parameter in network.parameters())
        with contextlib.suppress(Exception):  # whatever a network says that cannot be copied
            for _ in range(0 if on_gpu else count - 1):
                shared = {id(parameter): parameter for parameter in network.parameters()}
                self._free.put(copy.deepcopy(network, shared))

    @contextlib.contextmanager
    def one(self) -> Iterator[nn.Module]:
        """A network that nobody else uses."""
        network = self._free.get()
        try:
            yield network
        finally:
            self._free.put(network)


def map_in_order(
    function: Callable[[In], Out], items: Iterable[In], workers: int, *, ahead: bool = True
) -> Iterator[Out]:
    """``function`` of each item, in the order of the items, computed by threads.

    Only as many items as there are threads, and one more, are taken before their results are. Without ``ahead`` each
    result is given before the next item is taken.
    """
    items = iter(items)
    if not ahead:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="firesteel-predict")
    waiting: deque[Future[Out]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(items, workers + 1))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(items, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def worker_count(given: int | None) -> int:
    """How many threads.

    Raises:
        ConfigError: for less than one.
    """
    if given is not None and given < 1:
        raise ConfigError(f"workers must be at least 1, got {given}.")
    return given or min(len(os.sched_getaffinity(0)), MOST_WORKERS)


__all__ = ["DecodedBatch", "Replicas", "batches_of", "decoded", "map_in_order", "worker_count"]
