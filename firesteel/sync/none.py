"""One worker: nothing to synchronise."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from firesteel.sync.base import SyncStrategy
from firesteel.world import World


class NoSync(SyncStrategy):
    """The model as it is."""

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        return model

    @property
    def bytes_per_step(self) -> float:
        return 0.0
