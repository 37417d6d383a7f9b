"""Synchronous data parallelism: the gradient of the global batch at every step, by torch's DistributedDataParallel."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook, fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.sync.base import SyncStrategy
from firesteel.sync.flat import FlatBuffers, broadcast_model
from firesteel.sync.power_sgd import PowerSGD
from firesteel.world import World

# torch 2.12 renamed the option that copies rank 0's buffers to all ranks before every forward pass.
_BUFFER_OPTION = next(
    name for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)  # fmt: skip

_HALF_HOOKS = {
    # A function of another name: under its own DDP takes it for NCCL only, though gloo sums bfloat16 as well.
    "bf16": lambda group, bucket: bf16_compress_hook(group, bucket),
    "fp16": fp16_compress_hook,
}


class AllReduce(SyncStrategy):
    """Every worker steps with the gradient of the mean loss over the rows of all workers.

    DDP reduces buckets of gradients while the backward pass still runs. It averages over ranks without weights; where
    batches differ by a row, each rank's loss is weighted by its rows, so that the average is the mean over rows.
    Buffers (batch-norm statistics) stay local within an epoch and are averaged, weighted by rows, at its end.

    Args:
        bucket_mb: size of a gradient bucket in MiB; larger means fewer collectives and less overlap.
        communication: type in which gradients travel: ``fp32`` (as they are), ``bf16`` or ``fp16`` (half the bytes; each
            sum is rounded, fp16 to 11 bits with a small range, bf16 to 8 bits with the range of fp32).
        powersgd: rank of a low-rank approximation of the gradients (:class:`PowerSGD`); 0 sends them whole.
        powersgd_start: steps with whole gradients before the first approximated one, 2 or more. torch's default is
            1000 and its advice a tenth of the training.
        powersgd_min_compression: matrices that would not shrink by this factor travel whole.
    """

    def __init__(
        self,
        bucket_mb: float = 25,
        communication: str = "fp32",
        powersgd: int = 0,
        powersgd_start: int = 100,
        powersgd_min_compression: float = 2,
    ):
        self._bucket_mb, self._communication = bucket_mb, communication
        self._power_sgd = PowerSGD(powersgd, powersgd_start, powersgd_min_compression) if powersgd else None
        self._whole_bytes = self._compressed_bytes = 0
        self._buffers: FlatBuffers | None = None
        # Weak: a worker that fails must let go of the module at once, and with it of the connections the others wait on.
        self._module: Callable[[], DistributedDataParallel | None] = lambda: None

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        trainable = [p for p in model.parameters() if p.requires_grad]
        size_of = (lambda p: 2) if self._communication in _HALF_HOOKS else Tensor.element_size
        self._whole_bytes = sum(p.numel() * size_of(p) for p in trainable)
        self._compressed_bytes = self._whole_bytes
        buffers = [buffer.data for buffer in model.buffers() if buffer.is_floating_point() and buffer.numel()]
        self._buffers = FlatBuffers(buffers) if buffers else None
        module = DistributedDataParallel(
            _WithFirstPass(model),
            device_ids=[torch.device(world.device)] if world.device.startswith("cuda") else None,
            bucket_cap_mb=self._bucket_mb,
            gradient_as_bucket_view=True,
            init_sync=False,  # done above, in one message
            **{_BUFFER_OPTION: False},  # type: ignore[arg-type]
        )
        module().backward()
        model.zero_grad(set_to_none=True)
        if self._power_sgd is not None:
            self._power_sgd.register(module)
            self._compressed_bytes = self._power_sgd.payload_bytes(trainable)
        elif self._communication in _HALF_HOOKS:
            module.register_comm_hook(None, _HALF_HOOKS[self._communication])
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
        compressed = self._power_sgd is not None and self._power_sgd.last_was_compressed
        self.bytes_sent += self._compressed_bytes if compressed else self._whole_bytes

    def on_epoch_end(self) -> None:
        sent = 0
        if self._buffers is not None and self._global_rows:
            self._buffers.weighted_sum(self.weight)
            sent = self._buffers.num_bytes
        self._exchanged(sent)

    def state(self) -> dict[str, Any]:
        return super().state() | (self._power_sgd.state() if self._power_sgd else {})

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        if self._power_sgd is not None:
            self._power_sgd.load_state(state, self._world.torch_device)

    @property
    def bytes_per_step(self) -> float:
        """Of the steps from ``powersgd_start`` on, where that is chosen."""
        return float(self._compressed_bytes)


class _WithFirstPass(nn.Module):
    """A model that, called without arguments, gives a zero that depends on each trainable parameter.

    DDP lays out its buckets anew, by the order in which gradients became ready, after the first backward pass. From
    three workers on the layout decides the order in which the numbers are summed, and thereby their last bits; and a
    run that goes on from a checkpoint would have one pass with the first layout in its midst. A pass with gradients of
    zero before the first step settles the layout, the same in each start: the parameters from the last to the first.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        if arguments or keywords:
            return self.model(*arguments, **keywords)
        # Autograd goes first through what was made last.
        return sum((parameter * 0).sum() for parameter in self.model.parameters() if parameter.requires_grad)
