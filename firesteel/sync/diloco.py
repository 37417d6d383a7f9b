"""DiLoCo: many local steps, then one step of an outer optimizer along the way that the workers have gone on average."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.sync.base import SyncStrategy
from firesteel.sync.flat import FlatBuffers, FlatVector, broadcast_model
from firesteel.world import World


class DiLoCo(SyncStrategy):
    """Every ``every`` steps, and at the end of each epoch, an outer step of SGD with Nesterov's momentum.

    ::

        gradient   = outer - mean over workers of parameters        weighted by rows since the last outer step
        momentum   = outer_momentum * momentum + gradient
        outer      = outer - outer_learning_rate * (gradient + outer_momentum * momentum)
        parameters = outer                                          on every rank

    The inner optimizer is the job's own; its state stays local. Buffers (batch-norm statistics) are averaged, weighted
    by rows, at each outer step. A round that the end of an epoch cuts short ends in an outer step like the others, so
    that the model is one: its way is shorter, and with it the outer gradient. With ``outer_learning_rate=1`` and
    ``outer_momentum=0`` this is parameter averaging.

    Args:
        every: local steps between two outer steps (H). With fewer steps in an epoch there is one outer step an epoch.
        outer_learning_rate: of the outer SGD.
        outer_momentum: of the outer SGD, below 1; 0 is plain SGD. Many short rounds want less than few long ones.
        communication: type in which outer gradients travel, ``fp32`` or ``fp16`` (half the bytes). Buffers travel as they are.

    Source: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105,
    with its defaults; fp16 from OpenDiLoCo, arXiv 2407.07852.
    """

    def __init__(
        self,
        every: int = 500,
        outer_learning_rate: float = 0.7,
        outer_momentum: float = 0.9,
        communication: str = "fp32",
    ):
        self._every, self._learning_rate, self._momentum_factor = every, outer_learning_rate, outer_momentum
        self._type = torch.float16 if communication == "fp16" else None
        self._steps = 0

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        self._parameters = FlatVector(p.data for p in model.parameters() if p.requires_grad)
        self._outer = self._parameters.read().clone()
        self._momentum = torch.zeros_like(self._outer)
        self._buffers = FlatBuffers(b.data for b in model.buffers() if b.is_floating_point() and b.numel())
        return model

    def after_step(self, batch: Batch) -> None:
        self._steps += 1
        self._count(batch)
        if self._steps == self._every:
            self._outer_step()

    def on_epoch_end(self) -> None:
        if self._steps:
            self._outer_step()

    @property
    def in_step(self) -> bool:
        return self._steps == 0

    @property
    def ranks_agree(self) -> bool:
        return False  # optimizer states differ at any time

    def state(self) -> dict[str, Any]:
        return super().state() | {"steps": self._steps, "outer": self._outer, "momentum": self._momentum}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._steps = state["steps"]
        self._outer.copy_(state["outer"])
        self._momentum.copy_(state["momentum"])

    @property
    def bytes_per_step(self) -> float:
        return self._round_bytes / self._every

    @property
    def _round_bytes(self) -> int:
        size = (self._type or self._outer.dtype).itemsize
        return self._outer.numel() * size + self._buffers.num_bytes

    def _outer_step(self) -> None:
        weight = self.weight
        gradient = torch.sub(self._outer, self._parameters.read()).mul_(weight)
        message = gradient if self._type is None else gradient.to(self._type)
        dist.all_reduce(message)
        gradient.copy_(message)
        self._momentum.mul_(self._momentum_factor).add_(gradient)
        gradient.add_(self._momentum, alpha=self._momentum_factor)
        self._outer.sub_(gradient, alpha=self._learning_rate)
        self._parameters.write(self._outer)
        self._buffers.weighted_sum(weight)
        self._steps = 0
        self._exchanged(self._round_bytes)
