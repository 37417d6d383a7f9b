"""Compressed sharing of updates: only what has grown past a threshold is sent, by sign; the rest waits."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.sync.base import SyncStrategy
from firesteel.sync.encoding import Message, add_decoded, bitmap_bytes, encode
from firesteel.sync.flat import FlatBuffers, FlatVector, broadcast_model
from firesteel.world import World


class Threshold(SyncStrategy):
    """After each local optimizer step the workers share which parameters should move by plus or minus one threshold.

    ::

        residual += parameters after the optimizer's step - before
        sent      = threshold * sign(residual) where |residual| >= threshold, else 0
        residual -= sent                                     waits for the next step: nothing is lost
        parameters = before + mean over workers of sent      the same bits on every rank

    Optimizer state stays local. Where batches differ by a row, an update is weighted by its rows. Messages are 2 bytes
    for each element sent, or 2 bits for each element where that is less, see :mod:`firesteel.sync.encoding`. Buffers
    (batch-norm statistics) stay local within an epoch and are averaged, weighted by rows, at its end; so is the threshold.

    Args:
        algorithm: how the threshold changes. ``adaptive`` divides it by ``decay`` where more than ``max_density`` of all
            elements were sent at the last step and multiplies it where fewer than ``min_density`` were; ``target``
            does so above and below ``density``; ``fixed`` leaves it.
        threshold: the first one, in the unit of an update. Adam's first updates are as large as the learning rate: take
            that. Higher sends less, later. A tenth of it (Deeplearning4j: 0.0001, for a learning rate of 0.001) costs
            the first hundred steps, in which parameters move by one threshold at most.
        min_density, max_density: shares of the elements sent, of ``adaptive`` (Deeplearning4j: sparsity).
        density: share of the elements sent, of ``target`` (Deeplearning4j: sparsity target).
        decay: of the threshold a step; the default halves or doubles it in 20 steps.
        updates: ``mean`` over workers, or ``sum`` (Deeplearning4j): then the learning rate grows with the workers.
        clip: thresholds that a residual is clipped to, None for never (Deeplearning4j: 5). What is clipped is lost.
        clip_every: steps from one clipping to the next.

    Source: Strom, "Scalable Distributed DNN Training Using Commodity GPU Cloud Computing", Interspeech 2015, as in
    Deeplearning4j's SharedTrainingMaster, from which the defaults are. Differs from it: workers exchange at each step
    and apply the same sum, so that replicas stay equal; the mean of the updates by default; a first threshold of 0.001
    and a maximum density of 0.02 (Deeplearning4j: 0.01, of twice the bytes each); no residual is clipped unless asked
    for; gaps instead of indices, the smaller of the two encodings at each step, bitmaps without half steps.
    """

    def __init__(
        self,
        algorithm: str = "adaptive",
        threshold: float = 1e-3,
        min_density: float = 1e-4,
        max_density: float = 2e-2,
        density: float = 1e-3,
        decay: float = 0.5 ** (1 / 20),
        updates: str = "mean",
        clip: float | None = None,
        clip_every: int = 5,
    ):
        self._threshold = float(threshold)
        self._bounds = {
            "adaptive": (min_density, max_density),
            "target": (density, density),
            "fixed": (0.0, math.inf),
        }[algorithm]
        self._decay, self._updates, self._clip, self._clip_every = decay, updates, clip, clip_every
        self._density: float | None = None
        self._steps = 0
        self._buffers: FlatBuffers | None = None

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        trainable = [p.data for p in model.parameters() if p.requires_grad]
        self._before, self._after = FlatVector(trainable), FlatVector(trainable)
        self._residual = torch.zeros_like(self._before.values)
        buffers = [buffer.data for buffer in model.buffers() if buffer.is_floating_point() and buffer.numel()]
        self._buffers = FlatBuffers(buffers) if buffers else None
        return model

    def after_backward(self, batch: Batch) -> None:
        self._before.read()

    def after_step(self, batch: Batch) -> None:
        update = self._after.read().sub_(self._before.values)
        weight = batch.rows * self._world.world_size / batch.global_rows
        self._residual.add_(update if weight == 1.0 else update.mul_(weight))
        parameters = self._before.values.add_(self._exchange())
        self._before.write(parameters)
        self._count(batch)
        self._steps += 1
        if self._clip and self._steps % self._clip_every == 0:
            self._residual.clamp_(-self._clip * self._threshold, self._clip * self._threshold)

    def on_epoch_end(self) -> None:
        if not self._global_rows:
            return
        adapted = torch.tensor([self._threshold, self._density or 0.0], dtype=torch.float64)
        adapted = adapted.to(self._world.torch_device)
        dist.all_reduce(adapted)
        self._threshold, self._density = (adapted / self._world.world_size).tolist()
        sent = adapted.numel() * adapted.element_size()
        if self._buffers is not None:
            self._buffers.weighted_sum(self.weight)
            sent += self._buffers.num_bytes
        self._exchanged(sent)

    @property
    def ranks_agree(self) -> bool:
        return False  # parameters do, optimizer states do not

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "steps": self._steps, "threshold": self._threshold, "density": self._density, "residual": self._residual,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._steps, self._threshold, self._density = state["steps"], state["threshold"], state["density"]
        self._residual.copy_(state["residual"])

    @property
    def bytes_per_step(self) -> float:
        """An expectation: of messages with the most elements that the threshold settles at; of bitmaps if it is fixed."""
        size = len(self._before.values)
        return min(2 * size * self._bounds[1], bitmap_bytes(size)) + 12

    def _exchange(self) -> Tensor:
        """What all workers send at this step, together; leaves the rest in the residual."""
        self._adapt()
        threshold = torch.tensor(self._threshold, dtype=torch.float32)  # as the others read it
        if self._residual.sum().isfinite():
            message = encode(self._residual, threshold.item())
        else:
            # No number reaches a threshold of NaN: nothing would be sent ever again. Let all workers see a loss of NaN.
            message = encode(self._residual.fill_(1.0), 1.0)
            threshold.fill_(math.nan)
        add_decoded(self._residual, message, -threshold.item())
        self._density = message.count / max(1, len(self._residual))
        total = torch.zeros_like(self._residual)
        for each, step in self._gather(message, threshold):
            add_decoded(total, each, step)
        return total if self._updates == "sum" else total.div_(self._world.world_size)

    def _adapt(self) -> None:
        if self._density is None:
            return
        low, high = self._bounds
        if self._density < low:
            self._threshold *= self._decay
        elif self._density > high:
            self._threshold /= self._decay

    def _gather(self, message: Message, threshold: Tensor) -> list[tuple[Message, float]]:
        """The messages of all ranks, in the order of the ranks, with their thresholds."""
        device = message.data.device
        header = torch.tensor(
            [message.encoding, len(message.data), threshold.view(torch.int32).item()], dtype=torch.int32
        )
        headers = self._all_gather(header.to(device))
        encodings, sizes, thresholds = torch.stack(headers).cpu().unbind(1)
        steps = thresholds.contiguous().view(torch.float32).tolist()
        longest = int(sizes.max())
        if longest == 0:
            return []
        padded = torch.zeros(longest, dtype=torch.uint8, device=device)
        padded[: len(message.data)] = message.data
        return [
            (Message(encoding, data[:size], 0), step)
            for encoding, size, step, data in zip(encodings.tolist(), sizes.tolist(), steps, self._all_gather(padded))
        ]

    def _all_gather(self, data: Tensor) -> list[Tensor]:
        gathered = [torch.empty_like(data) for _ in range(self._world.world_size)]
        dist.all_gather(gathered, data)
        self.bytes_sent += data.numel() * data.element_size()
        return gathered
