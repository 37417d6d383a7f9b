"""Evaluation of the model while it trains, on all workers together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import nn

from firesteel.data.cache import Rows
from firesteel.data.loader import Normalizer
from firesteel.evaluation.counts import ClassificationCounts, Evaluation, metrics_of
from firesteel.evaluation.worker import count_batch
from firesteel.process import POSITION
from firesteel.training.state import generators_restored
from firesteel.world import World


class Validator:
    """Evaluates a model on a split, each worker on its share of the rows.

    Args:
        rows: this worker's share.
        labels: class names.
        world: who this worker is.
        normalize: as in training.
        batch_size: rows a forward pass.
    """

    def __init__(self, rows: Rows, labels: Sequence[str], world: World, normalize: Normalizer, *, batch_size: int):
        self._rows, self._labels = rows, list(labels)
        self._world, self._normalize, self._batch_size = world, normalize, batch_size

    def evaluate(self, model: nn.Module) -> Evaluation:
        """Metrics over the rows of all workers: the same on each.

        The model is in evaluation mode meanwhile, and draws no random number that training would have drawn.
        """
        with _evaluating(model), generators_restored(self._world.torch_device):
            counts = self._count(model)
        cells = torch.from_numpy(counts.confusion)
        sums = torch.tensor([counts.top5, counts.loss_sum], dtype=torch.float64)
        if self._world.world_size > 1:
            dist.all_reduce(cells)
            dist.all_reduce(sums)
        total = ClassificationCounts(cells.numpy(), int(sums[0]), float(sums[1]))
        return metrics_of(total, self._labels)

    def _count(self, model: nn.Module) -> ClassificationCounts:
        device = self._world.torch_device
        features, labels = torch.from_numpy(self._rows.features), torch.from_numpy(self._rows.labels)
        same = torch.arange(len(self._labels), device=device)
        counts = ClassificationCounts.zero(len(self._labels))
        for start in range(0, len(labels), self._batch_size):
            stop = start + self._batch_size
            batch = self._normalize(features[start:stop].to(device))
            counts += count_batch(model, batch, labels[start:stop].to(device), same)
            POSITION.moves += 1
        return counts


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards as it was: a user may keep some there for good."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was
