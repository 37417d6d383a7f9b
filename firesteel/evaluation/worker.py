"""Evaluation of a model on a split: each worker counts its share of the rows, the caller adds the counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firesteel.data.cache import load_rows
from firesteel.data.manifest import Dataset
from firesteel.data.order import Slice, lane_slices
from firesteel.data.progress import TaskProgress
from firesteel.evaluation.counts import ClassificationCounts
from firesteel.evaluation.driver import EvaluatePayload, match
from firesteel.models.description import ModelDescription, load_model, read_description
from firesteel.storage import Place
from firesteel.world import Meeting, World, using_threads

_CHUNK_BYTES = 64 << 20


def evaluate_worker(payload: EvaluatePayload, world: World, meeting: Meeting | None) -> dict[str, Any]:
    """Count this worker's share of the rows; returns :meth:`ClassificationCounts.to_json`."""
    world = world.on_device(payload.device)
    with using_threads(payload.threads or world.default_threads):
        folder, dataset = Place.of(payload.model_folder), Dataset.open(payload.dataset)
        description = read_description(folder)
        class_of_label = torch.tensor(match(description, dataset), device=world.torch_device)
        model = load_model(folder, description, payload.model).to(world.torch_device)
        shard_rows = [shard.rows for shard in dataset.split(payload.split).shards]
        mine = lane_slices(shard_rows, world.world_size)[world.rank]
        counts = ClassificationCounts.zero(len(description.labels))
        progress = TaskProgress(Place.of(payload.progress), world.rank) if payload.progress else None
        rows = 0
        for features, labels in _batches(dataset, payload, mine, description, world.torch_device):
            counts += count_batch(model, features, labels, class_of_label)
            rows += len(labels)
            if progress is not None:
                progress.say(rows)
    return counts.to_json()


@torch.inference_mode()
def count_batch(model: nn.Module, features: Tensor, labels: Tensor, class_of_label: Tensor) -> ClassificationCounts:
    """Counts of one batch.

    Args:
        model: in evaluation mode.
        features: (B, *input_shape), normalised.
        labels: int64 (B,), as the dataset numbers them.
        class_of_label: int64 (labels of the dataset,): the model's number of each.
    """
    logits = model(features).float()  # (B, K)
    target = class_of_label[labels]
    num_classes = logits.shape[1]
    top = logits.topk(min(5, num_classes), dim=1).indices  # (B, <= 5)
    cells = torch.bincount(target * num_classes + top[:, 0], minlength=num_classes * num_classes)
    loss = nn.functional.cross_entropy(logits, target, reduction="none").double().sum()
    return ClassificationCounts(
        cells.reshape(num_classes, num_classes).cpu().numpy(),
        int((top == target[:, None]).any(dim=1).sum()),
        float(loss),
    )


def _batches(
    dataset: Dataset, payload: EvaluatePayload, slices: list[Slice], description: ModelDescription, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of normalised features and labels; a bounded part of the rows is in memory at a time."""
    normalize = description.normalizer(device)
    row_bytes = int(np.prod(dataset.feature.shape)) * np.dtype(dataset.feature.dtype).itemsize
    for part in _cut(slices, max(payload.batch_size, _CHUNK_BYTES // row_bytes)):
        rows = load_rows(dataset, payload.split, [part], budget_bytes=1 << 62, threads=torch.get_num_threads())
        features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)
        for start in range(0, len(rows), payload.batch_size):
            stop = start + payload.batch_size
            yield normalize(features[start:stop].to(device)), labels[start:stop].to(device)


def _cut(slices: list[Slice], most_rows: int) -> Iterator[Slice]:
    for part in slices:
        for start in range(part.start, part.stop, most_rows):
            yield Slice(part.shard, start, min(part.stop, start + most_rows))
