"""Batches on the device: gathered by index, normalised there, fetched ahead where that pays."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firesteel.data.augmentation import Policy, Stage, draw, step_keys
from firesteel.data.augmentation.apply import apply
from firesteel.data.cache import Rows
from firesteel.data.order import Order
from firesteel.world import World


@dataclass(frozen=True)
class Normalizer:
    """``features * multiply + add`` per channel, in float32: scaling and standardising in one go.

    Attributes:
        multiply: float32 of shape (channels, 1, ...), to broadcast over (B, channels, ...).
        add: the same.
        reverse: whether the channels come out in the opposite order: BGR, as the networks of Caffe take them.
    """

    multiply: Tensor
    add: Tensor
    reverse: bool = False

    @classmethod
    def of(
        cls,
        mean: list[float],
        std: list[float],
        scale: float,
        num_dims: int,
        device: torch.device,
        *,
        reverse: bool = False,
    ) -> Normalizer:
        """From statistics of ``value * scale``; channels that never vary are only shifted.

        Args:
            mean: one a channel, in the order in which they come in.
            std: the same.
            scale: of the raw values.
            num_dims: of one row's features, channels included.
            device: of the batches.
            reverse: see :class:`Normalizer`.
        """
        shape = (len(mean),) + (1,) * (num_dims - 1)
        deviation = torch.tensor([value if value > 1e-12 else 1.0 for value in std], dtype=torch.float64)
        multiply = scale / deviation
        add = -torch.tensor(mean, dtype=torch.float64) / deviation
        return cls(multiply.float().reshape(shape).to(device), add.float().reshape(shape).to(device), reverse)

    def __call__(self, features: Tensor) -> Tensor:
        """(B, channels, ...) of any dtype -> float32, same shape, in memory of its own."""
        # A copy and two passes in place: on batches of this size a third of the time of one addcmul that broadcasts.
        result = features.to(torch.float32, copy=True).mul_(self.multiply).add_(self.add)
        return result.flip(1) if self.reverse else result


@dataclass(frozen=True)
class Batch:
    """Rows of one step, on the device.

    Attributes:
        features: float32 of shape (B, *feature.shape).
        labels: int64 of shape (B,).
        rows: rows of this worker; 0 at a step in which it has none (then B is 1 and the row must not count).
        global_rows: rows of all workers at this step.
    """

    features: Tensor
    labels: Tensor
    rows: int
    global_rows: int

    def parts(self, count: int) -> list[Batch]:
        """The rows in ``count`` parts that differ by one at most, or fewer where there are fewer rows."""
        if count == 1 or self.rows <= 1:
            return [self]
        split = zip(self.features.tensor_split(min(count, self.rows)), self.labels.tensor_split(min(count, self.rows)))
        return [Batch(features, labels, len(labels), self.global_rows) for features, labels in split]


class Loader:
    """The batches of one worker, epoch by epoch.

    Args:
        rows: of this worker: its lanes one behind the other.
        order: of the split.
        world: who and where this worker is.
        normalize: is applied on the device.
        prefetch: batches gathered ahead by a thread; 0 gathers each when it is asked for. Pays where the gathering
            waits (a mapped file, a copy to the GPU); costs a little where it does not.
        augment: changes pictures on the device, before they are normalised. What happens to a row depends on the policy,
            the seed of the order, the epoch and the row's place in it, not on the number of workers.

    Attributes:
        distinct_rows: that the present epoch shows, of those that this worker counts, see :meth:`Order.distinct_rows`.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        world: World,
        normalize: Normalizer,
        *,
        prefetch: int = 0,
        augment: Policy | None = None,
    ):
        self._order, self._world, self._normalize, self._prefetch = order, world, normalize, prefetch
        self._augment = augment
        self.distinct_rows = 0
        self._device = world.torch_device
        self._features, self._labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)

    @property
    def steps_per_epoch(self) -> int:
        return self._order.steps_per_epoch

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """Batches of one epoch from ``first_step`` on."""
        gathered = self._gathered(epoch, first_step)
        if self._prefetch:
            gathered = _fetched_ahead(gathered, self._prefetch)
        with closing(gathered):  # type: ignore[type-var]
            for features, labels, stages, rows, global_rows in gathered:
                features = features.to(self._device, non_blocking=True)
                if stages is not None:
                    features = apply(stages, features)
                yield Batch(self._normalize(features), labels.to(self._device, non_blocking=True), rows, global_rows)

    def _gathered(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor, list[Stage] | None, int, int]]:
        order, rank, world_size = self._order, self._world.rank, self._world.world_size
        permutations = order.permutations(epoch, rank, world_size, self._labels.numpy())
        if order.sampling is not None:
            self.distinct_rows = order.distinct_rows(permutations, rank, world_size)
        places = order.places(rank, world_size) if self._augment else {}
        pinned = self._device.type == "cuda"
        for step in range(first_step, order.steps_per_epoch):
            positions = order.batch(permutations, step, rank, world_size)
            rows = len(positions)
            if rows == 0:
                positions = np.zeros(
                    1, dtype=np.int64
                )  # a stand-in, so that the model runs; the loop gives it no weight
            index = torch.from_numpy(positions)
            features, labels = self._features.index_select(0, index), self._labels.index_select(0, index)
            if pinned:
                features, labels = features.pin_memory(), labels.pin_memory()
            stages = None
            if self._augment:
                of = order.batch(places, step, rank, world_size) if rows else positions
                stages = draw(self._augment, step_keys(order.seed, epoch, of), features.shape[1:])  # type: ignore[arg-type]
            yield features, labels, stages, rows, order.global_rows_at(step)


def _fetched_ahead(items: Iterator[tuple], depth: int) -> Iterator[tuple]:
    """The same items, fetched by a thread into a queue of ``depth``; errors arrive where the item would."""
    fetched: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    end = object()

    def fetch() -> None:
        last: object = end
        try:
            for item in items:
                if not _put(item):
                    return
        except BaseException as error:
            last = error
        _put(last)

    def _put(item: object) -> bool:
        while not stop.is_set():
            try:
                fetched.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    thread = threading.Thread(target=fetch, name="firesteel-prefetch", daemon=True)
    thread.start()
    try:
        while (item := fetched.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
