"""Parameter averaging: workers train alone for some steps, then take the mean of their parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.sync.base import SyncStrategy
from firesteel.sync.flat import FlatBuffers, broadcast_model, floating_tensors
from firesteel.sync.shared_memory import SharedTensors
from firesteel.world import World


class Averaging(SyncStrategy):
    """The mean over workers of parameters and buffers after every ``every`` steps and at the end of each epoch.

    Args:
        every: steps between two averagings (Deeplearning4j: averagingFrequency). More sends less and lets the workers
            drift further apart; 5 to 10 is the usual advice, 1 with plain SGD equals all-reduce.
        optimizer_state: also average the optimizer's state (momentum, Adam's moments). Sends two to three times the
            bytes; without it each worker keeps its own state.
        weighting: ``rows`` weights the mean by the rows that each worker has seen since the last one, ``equal`` gives all
            workers the same weight (Deeplearning4j). Rows per step are known on every rank beforehand, so that the
            weights cost no message.

    Workers of one host average in shared memory, where their tensors then lie; others send them through the process group.
    The bits are the same.

    Differs from Deeplearning4j's ParameterAveragingTrainingMaster: no rows are left over, and a worker keeps its own
    optimizer state where that is not averaged (Deeplearning4j begins each round with the driver's).
    """

    def __init__(self, every: int = 5, optimizer_state: bool = False, weighting: str = "rows"):
        self._every, self._with_optimizer, self._equal = every, optimizer_state, weighting == "equal"
        self._steps = 0
        self._optimizer: Optimizer | None = None
        self._parameters: FlatBuffers | SharedTensors | None = None
        self._state: FlatBuffers | SharedTensors | None = None

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        self._optimizer = optimizer
        self._parameters = _exchange(floating_tensors(model), world)
        return model

    def after_step(self, batch: Batch) -> None:
        self._steps += 1
        self._count(batch)
        if self._steps == self._every:
            self._average()

    def on_epoch_end(self) -> None:
        if self._steps:
            self._average()

    @property
    def in_step(self) -> bool:
        return self._steps == 0

    @property
    def ranks_agree(self) -> bool:
        return self._steps == 0 and self._with_optimizer

    @property
    def weight(self) -> float:
        return 1.0 / self._world.world_size if self._equal else super().weight

    def state(self) -> dict[str, Any]:
        return super().state() | {"steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._steps = state["steps"]

    @property
    def bytes_per_step(self) -> float:
        """Before the first averaging without the optimizer's state, which only its first step makes."""
        sent = self._parameters.num_bytes if self._parameters else 0
        sent += self._state.num_bytes if self._state else 0
        return sent / self._every

    def _average(self) -> None:
        assert self._parameters is not None
        sent, weight = self._parameters.num_bytes, self.weight
        self._parameters.weighted_sum(weight)
        if self._with_optimizer:
            if self._state is None:  # optimizers make their state at the first step
                self._state = _exchange(self._optimizer_tensors(), self._world)
            self._state.weighted_sum(weight)
            sent += self._state.num_bytes
        self._steps = 0
        self._exchanged(sent)

    def _optimizer_tensors(self) -> list[Tensor]:
        assert self._optimizer is not None
        return [
            value
            for group in self._optimizer.param_groups
            for parameter in group["params"]
            for name, value in sorted(self._optimizer.state.get(parameter, {}).items())
            # Step counters are equal on all ranks, which take equal steps.
            if isinstance(value, Tensor) and value.is_floating_point() and name != "step"
        ]


def _exchange(tensors: list[Tensor], world: World) -> FlatBuffers | SharedTensors:
    filled = [tensor for tensor in tensors if tensor.numel()]
    return SharedTensors.of(filled, world) or FlatBuffers(tensor.data for tensor in filled)
