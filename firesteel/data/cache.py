"""A worker's rows as one contiguous array: in memory if they fit its budget, else in a scratch file mapped into memory."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from firesteel.data.manifest import Dataset, Feature
from firesteel.data.order import Slice
from firesteel.data.shards import read_slice
from firesteel.formats import images
from firesteel.formats.images import ImageSpec
from firesteel.storage import storage_error


@dataclass(frozen=True)
class Rows:
    """Rows of one worker.

    Attributes:
        features: of shape (rows, *feature.shape) and the feature's dtype.
        labels: int64 of shape (rows,).
        in_memory: False if ``features`` is a mapped scratch file.
    """

    features: np.ndarray
    labels: np.ndarray
    in_memory: bool

    def __len__(self) -> int:
        return len(self.labels)


def load_rows(
    dataset: Dataset,
    split: str,
    slices: Iterable[Slice],
    *,
    budget_bytes: int | None = None,
    threads: int = 1,
    scratch: str | None = None,
) -> Rows:
    """Read slices of a split, one behind the other.

    Args:
        dataset: prepared.
        split: name.
        slices: of its shards.
        budget_bytes: memory for the features; None is a quarter of what is free on this host now.
        threads: for decoding, where the features are encoded.
        scratch: folder for the mapped file; None is the system's. The file has no name once it is open: nothing is
            left behind however the process ends.
    """
    feature, shards = dataset.feature, dataset.split(split).shards
    slices = list(slices)
    rows = sum(part.rows for part in slices)
    size = rows * math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
    in_memory = size <= (available_memory_bytes() // 4 if budget_bytes is None else budget_bytes)
    features = _allocate((rows, *feature.shape), feature.dtype, in_memory=in_memory, scratch=scratch)
    labels = np.empty(rows, dtype=np.int64)
    position = 0
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for part in slices:
            for block, block_labels in read_slice(dataset.place, shards[part.shard], feature, part.start, part.stop):
                stop = position + len(block_labels)
                if feature.encoding == "jpeg":
                    _decode_into(features[position:stop], block, feature, pool)
                else:
                    features[position:stop] = block
                labels[position:stop] = block_labels
                position = stop
    assert position == rows, f"the shards of {split} hold {position} of {rows} rows asked for"
    return Rows(features, labels, in_memory)


def available_memory_bytes() -> int:
    """Memory that new allocations can take without swapping, also inside a container's limit."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as current:
            free = min(free, int(limit.read()) - int(current.read()))
    except (OSError, ValueError, StopIteration):  # another operating system, no container, or "max"
        pass
    return max(free, 0)


def _allocate(shape: tuple[int, ...], dtype: str, *, in_memory: bool, scratch: str | None) -> np.ndarray:
    if in_memory or 0 in shape:
        return np.empty(shape, dtype=dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(prefix="firesteel-rows-", dir=scratch) as file:
            # Reserve the blocks now: a full disk found later, by a write to the mapping, kills the process by a signal.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise storage_error(
            f"cannot keep {size / 1e9:.1f} GB of rows in scratch folder {scratch or tempfile.gettempdir()}", error
        ) from error


def _decode_into(target: np.ndarray, block: list[bytes], feature: Feature, pool: ThreadPoolExecutor) -> None:
    channels, height, width = feature.shape
    spec = ImageSpec(height, width, channels)

    def decode(number: int) -> None:
        target[number] = images.decode(block[number], spec).pixels.transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)

    list(pool.map(decode, range(len(block))))
