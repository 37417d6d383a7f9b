"""What every synchronisation strategy does, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.world import World


class SyncStrategy(ABC):
    """Keeps the models of all workers together.

    ::

        module = sync.on_start(model, optimizer, world)     same parameters and buffers on every rank
        for epoch in epochs:
            for batch in loader.epoch(epoch):
                loss = loss_function(module(batch.features), batch.labels)      mean over this worker's rows
                sync.before_backward(loss, batch).backward()                    a strategy may weight the loss
                sync.after_backward(batch)                                      gradients are local; may be replaced
                optimizer.step()
                sync.after_step(batch)                                          parameters are local; may be replaced
            sync.on_epoch_end()             after this the model is the same on every rank, buffers too

    Every rank calls every hook the same number of times in the same order: each may be a collective. A rank without
    rows at a step comes with ``batch.rows == 0`` and a stand-in row, which must have no effect.
    """

    @abstractmethod
    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        """Make all ranks start from rank 0's parameters and buffers; return the module to call."""

    def before_backward(self, loss: Tensor, batch: Batch) -> Tensor:
        """The loss to differentiate."""
        return loss if batch.rows else loss * 0.0

    def after_backward(self, batch: Batch) -> None:
        """Called when the gradients are there."""

    def after_step(self, batch: Batch) -> None:
        """Called when the optimizer has moved the parameters."""

    def on_epoch_end(self) -> None:
        """Bring all ranks to one model."""

    @property
    @abstractmethod
    def bytes_per_step(self) -> float:
        """Payload that one worker contributes to collectives per step on average; for the log. Known after on_start."""
