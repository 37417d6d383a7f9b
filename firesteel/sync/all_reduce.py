"""Synchronous data parallelism: the gradient of the global batch at every step, by torch's DistributedDataParallel."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.sync.base import SyncStrategy
from firesteel.sync.flat import FlatBuffers, broadcast_model
from firesteel.world import World

# torch 2.12 renamed the option that copies rank 0's buffers to all ranks before every forward pass.
_BUFFER_OPTION = next(
    name for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)  # fmt: skip


class AllReduce(SyncStrategy):
    """Every worker steps with the gradient of the mean loss over the rows of all workers.

    DDP reduces buckets of gradients while the backward pass still runs. It averages over ranks without weights; where
    batches differ by a row, each rank's loss is weighted by its rows, so that the average is the mean over rows.
    Buffers (batch-norm statistics) stay local within an epoch and are averaged, weighted by rows, at its end.

    Args:
        bucket_mb: size of a gradient bucket in MiB; larger means fewer collectives and less overlap.
    """

    def __init__(self, bucket_mb: float = 25):
        self._bucket_mb = bucket_mb
        self._parameter_bytes = 0
        self._buffers: FlatBuffers | None = None
        # Weak: a worker that fails must let go of the module at once, and with it of the connections the others wait on.
        self._module: Callable[[], DistributedDataParallel | None] = lambda: None

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        trainable = [p for p in model.parameters() if p.requires_grad]
        self._parameter_bytes = sum(p.numel() * p.element_size() for p in trainable)
        buffers = [buffer.data for buffer in model.buffers() if buffer.is_floating_point() and buffer.numel()]
        self._buffers = FlatBuffers(buffers) if buffers else None
        module = DistributedDataParallel(
            model,
            device_ids=[torch.device(world.device)] if world.device.startswith("cuda") else None,
            bucket_cap_mb=self._bucket_mb,
            gradient_as_bucket_view=True,
            init_sync=False,  # done above, in one message
            **{_BUFFER_OPTION: False},  # type: ignore[arg-type]
        )
        self._module = weakref.ref(module)
        return module

    def accumulating(self) -> contextlib.AbstractContextManager[None]:
        module = self._module()
        assert module is not None
        return module.no_sync()

    def before_backward(self, loss: Tensor, batch: Batch) -> Tensor:
        weight = batch.rows * self._world.world_size / batch.global_rows
        return loss if weight == 1.0 else loss * weight

    def after_backward(self, batch: Batch) -> None:
        self._count(batch)
        self.bytes_sent += self._parameter_bytes

    def on_epoch_end(self) -> None:
        sent = 0
        if self._buffers is not None and self._global_rows:
            self._buffers.weighted_sum(self.weight)
            sent = self._buffers.num_bytes
        self._exchanged(sent)

    @property
    def bytes_per_step(self) -> float:
        return float(self._parameter_bytes)
