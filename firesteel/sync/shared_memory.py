"""Workers of one host: their tensors lie in one piece of shared memory, so that the mean is taken where they lie."""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import secrets
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from firesteel.errors import WorkerFailed
from firesteel.sync.common import group_timeout
from firesteel.world import World

_ALIGNMENT = 64
"""Bytes: a cache line, and what vector instructions want. A network whose tensors lie askew computes a tenth slower."""

_LOOKS, _NAP_S = 2_000, 50e-6
"""A worker gives way to others so often while it waits, then naps: where there are more workers than cores it must not take one."""

_BLOCK_BYTES = 256 << 10
"""What is added up at a time stays in the processor's cache."""


@dataclass(frozen=True)
class _Region:
    """Tensors of one type: where they begin, in bytes from the beginning of a worker's part."""

    dtype: torch.dtype
    start: int
    num_bytes: int


class SharedTensors:
    """The tensors of all workers of a host, side by side.

    Through gloo a mean costs two copies on each side and the system's loopback connection between them; here each worker
    reads and writes its share of the elements of all workers, once. Made by :meth:`of`.

    Attributes:
        num_bytes: of one worker's tensors.
    """

    def __init__(self, memory: mmap.mmap, regions: Sequence[_Region], part_bytes: int, num_bytes: int, world: World):
        self._memory, self._world, self._regions = memory, world, regions
        self.num_bytes = num_bytes
        size = world.world_size
        header = _header_bytes(size)
        self._starts = [header + rank * part_bytes for rank in range(size)]
        self._weights = torch.frombuffer(memory, dtype=torch.float64, count=size)
        self._meetings = memoryview(memory)[_aligned(size * 8) : _aligned(size * 8) + size * _ALIGNMENT].cast("q")
        self._meeting = 0
        self._timeout_s = group_timeout().total_seconds()

    @classmethod
    def of(cls, tensors: Iterable[Tensor], world: World) -> SharedTensors | None:
        """Move tensors into memory that all workers of the host share.

        All ranks must call it with tensors of the same shapes and types. Each tensor stays the same object with the same
        values and strides; only where they lie changes, as when a module is moved to another device.

        Returns:
            None, on all ranks, where that cannot be: workers on several hosts or in several containers, a GPU, tensors
            that overlap each other, a system other than Linux on x86.
        """
        given = list(tensors)
        possible = world.local_world_size == world.world_size and _can_move(given) and _can_share()
        if not _all(possible):
            return None
        regions, places, part_bytes = _layout(given)
        memory = _common_memory(_header_bytes(world.world_size) + world.world_size * part_bytes, world)
        if not _all(memory is not None):
            return None
        assert memory is not None
        num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in given)
        shared = cls(memory, regions, part_bytes, num_bytes, world)
        for tensor, place in zip(given, places):
            shared._move(tensor, shared._starts[world.rank] + place)
        return shared

    def weighted_sum(self, weight: float) -> None:
        """Replace each tensor on every rank by the sum over ranks, in their order, of ``weight * tensor``."""
        self._weights[self._world.rank] = weight
        self._meet()
        weights = self._weights.tolist()
        for region in self._regions:
            for start, count in self._share(region):
                self._sum_block(region, start, count, weights)
        self._meet()

    def _sum_block(self, region: _Region, start: int, count: int, weights: list[float]) -> None:
        parts = [
            torch.frombuffer(self._memory, dtype=region.dtype, count=count, offset=begin + start)
            for begin in self._starts
        ]
        total = parts[0] * weights[0]
        for part, weight in zip(parts[1:], weights[1:]):
            total += part * weight
        for part in parts:
            part.copy_(total)

    def _share(self, region: _Region) -> Iterable[tuple[int, int]]:
        """This worker's blocks of a region: first byte, and elements."""
        size, rank, item = self._world.world_size, self._world.rank, region.dtype.itemsize
        lines = region.num_bytes // _ALIGNMENT
        first, end = (lines * each // size * _ALIGNMENT for each in (rank, rank + 1))
        for start in range(first, end, _BLOCK_BYTES):
            yield region.start + start, (min(start + _BLOCK_BYTES, end) - start) // item

    def _move(self, tensor: Tensor, offset: int) -> None:
        # Each tensor has a storage object of its own: what lies in one storage, writers of files take for tied.
        flat = torch.frombuffer(self._memory, dtype=tensor.dtype, count=tensor.numel(), offset=offset)
        moved = flat.as_strided(tensor.shape, tensor.stride())
        moved.copy_(tensor.data)
        tensor.data = moved

    def _meet(self) -> None:
        """Wait for all workers; what they have written before is there afterwards.

        Each counts its meetings in a cache line of its own and looks at those of the others: they are there within less than gloo
        takes to wake its thread. A worker that is lost never comes; the others are ended as soon as that is known.
        """
        self._meeting += 1
        words = _ALIGNMENT // 8
        self._meetings[self._world.rank * words] = self._meeting
        looks, began = 0, time.monotonic()
        while missing := [r for r in range(self._world.world_size) if self._meetings[r * words] < self._meeting]:
            looks += 1
            time.sleep(0 if looks < _LOOKS else _NAP_S)
            if looks % _LOOKS == 0 and time.monotonic() - began > self._timeout_s:
                raise WorkerFailed(
                    f"rank {missing[0]} of {self._world.world_size} has not come to average for {self._timeout_s:.0f} s,"
                    f" rank {self._world.rank} says.",
                    rank=missing[0],
                )


def _can_share() -> bool:
    """On Linux; and where a store is never seen before one that was made earlier, which the meetings rely on."""
    return hasattr(os, "memfd_create") and platform.machine() in ("x86_64", "AMD64")


def _can_move(tensors: Sequence[Tensor]) -> bool:
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    return bool(storages) and len(storages) == len(tensors) and all(map(_is_dense, tensors))


def _is_dense(tensor: Tensor) -> bool:
    """On a CPU, and its elements fill one piece of memory."""
    return tensor.device.type == "cpu" and bool(torch.ops.aten.is_non_overlapping_and_dense(tensor))


def _layout(tensors: Sequence[Tensor]) -> tuple[list[_Region], list[int], int]:
    """Regions by type, where each tensor begins in a worker's part, and the bytes of a part."""
    regions, places, end = [], [0] * len(tensors), 0
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        start = end
        for number, tensor in enumerate(tensors):
            if tensor.dtype == dtype:
                places[number] = end
                end += _aligned(tensor.numel() * dtype.itemsize)
        regions.append(_Region(dtype, start, end - start))
    return regions, places, end


def _common_memory(num_bytes: int, world: World) -> mmap.mmap | None:
    """Zeros that all workers see; None on a worker that does not see them.

    The memory has no name on any file system: it is gone with the last worker, however that ends.
    """
    own = os.memfd_create("firesteel", os.MFD_CLOEXEC) if world.rank == 0 else -1
    try:
        # Where, and what stands there: in another container the same path leads to something else.
        token = torch.tensor([os.getpid(), own, secrets.randbits(62)])
        dist.broadcast(token, src=0)
        pid, descriptor, mark = token.tolist()
        if world.rank == 0:
            os.ftruncate(own, num_bytes)
            os.pwrite(own, struct.pack("q", mark), 0)
        _all(True)  # wait for what rank 0 has written
        memory = _opened(f"/proc/{pid}/fd/{descriptor}", num_bytes, mark)
        _all(True)  # wait for all to have opened it
    finally:
        if own >= 0:
            os.close(own)
    return memory


def _opened(path: str, num_bytes: int, mark: int) -> mmap.mmap | None:
    with contextlib.suppress(OSError, ValueError), open(path, "r+b", buffering=0) as file:
        if struct.pack("q", mark) == file.read(8):
            return mmap.mmap(file.fileno(), num_bytes)
    return None


def _all(here: bool) -> bool:
    """Whether it is so on every rank; waits for all."""
    answer = torch.tensor([float(here)])
    dist.all_reduce(answer, op=dist.ReduceOp.MIN)
    return bool(answer.item())


def _header_bytes(world_size: int) -> int:
    """Weights, and a cache line for the meetings of each worker."""
    return _aligned(world_size * 8) + world_size * _ALIGNMENT


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
