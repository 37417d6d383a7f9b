"""What every synchronisation strategy does, and when."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.world import World


class SyncStrategy(ABC):
    """Keeps the models of all workers together.

    ::

        module = sync.on_start(model, optimizer, world)     same parameters and buffers on every rank
        sync.load_state(state)                              only where a run goes on; model and optimizer are restored
        for epoch in epochs:
            for batch in loader.epoch(epoch):
                for part in batch.parts(sync.accumulate):
                    with sync.accumulating():                                   not around the last part
                        loss = loss_function(module(part.features), part.labels)
                        loss = loss * part.rows / batch.rows                    together: mean over this worker's rows
                        sync.before_backward(loss, batch).backward()            a strategy may weight the loss
                sync.after_backward(batch)                                      gradients are local; may be replaced
                optimizer.step()
                sync.after_step(batch)                                          parameters are local; may be replaced
            sync.on_epoch_end()             after this the model is the same on every rank, buffers too

    Every rank calls every hook the same number of times in the same order: each may be a collective. A rank without
    rows at a step comes with ``batch.rows == 0`` and a stand-in row, which must have no effect.

    Attributes:
        accumulate: parts that a batch goes through the model in, for batches that do not fit into memory as a whole; their
            gradients add up to those of the whole batch, and only those of the whole are exchanged.
        bytes_sent: payload that this worker has given to collectives and messages since :meth:`on_start`, and before the
            checkpoint that it goes on from.
    """

    accumulate: int = 1
    bytes_sent: int = 0
    _world: World = World()
    _rows: int = 0
    _global_rows: int = 0

    @abstractmethod
    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        """Make all ranks start from rank 0's parameters and buffers; return the module to call."""

    def before_backward(self, loss: Tensor, batch: Batch) -> Tensor:
        """The loss to differentiate."""
        return loss if batch.rows else loss * 0.0

    def accumulating(self) -> contextlib.AbstractContextManager[None]:
        """Around the parts of a batch but the last: gradients add up, nothing is exchanged."""
        return contextlib.nullcontext()

    def after_backward(self, batch: Batch) -> None:
        """Called when the gradients are there."""

    def after_step(self, batch: Batch) -> None:
        """Called when the optimizer has moved the parameters."""

    def on_epoch_end(self) -> None:
        """Bring all ranks to one model."""

    @property
    def ranks_agree(self) -> bool:
        """Whether parameters and optimizer state are the same on every rank between this step and the next.

        Floating buffers (batch-norm statistics) may differ all the same, except at the end of an epoch.
        """
        return True

    @property
    def in_step(self) -> bool:
        """Whether the ranks have just waited for each other: one more small exchange then makes nobody wait longer."""
        return True

    @property
    def never_in_step(self) -> bool:
        """Whether :attr:`in_step` holds at no step: ranks go at their own pace until the epoch ends."""
        return False

    @property
    def weight(self) -> float:
        """This rank's share in the common model of this moment; the shares of all ranks add up to 1.

        The common model (for validation, or when a run goes on with another number of workers) is the sum over ranks of
        weight times parameters and floating buffers.
        """
        return self._rows / self._global_rows if self._global_rows else 1.0 / self._world.world_size

    def state(self) -> dict[str, Any]:
        """What this rank needs besides model and optimizer to go on with the same bits after any step.

        Tensors (copied by the caller if it keeps them) and JSON values, by name.
        """
        return {"rows": self._rows, "global_rows": self._global_rows, "bytes_sent": self.bytes_sent}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`, called after :meth:`on_start` on the same rank of as many workers."""
        self._rows, self._global_rows, self.bytes_sent = state["rows"], state["global_rows"], state["bytes_sent"]

    def _count(self, batch: Batch) -> None:
        """Count the rows of a step since the last exchange: :attr:`weight` follows from them without a message."""
        self._rows += batch.rows
        self._global_rows += batch.global_rows

    def _exchanged(self, sent: int) -> None:
        """An exchange has made the models equal."""
        self._rows = self._global_rows = 0
        self.bytes_sent += sent

    @property
    @abstractmethod
    def bytes_per_step(self) -> float:
        """Payload that one worker contributes to collectives per step on average; for the log. Known after on_start."""
