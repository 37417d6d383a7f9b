"""Strategies that exchange parameters every few steps: averaging and DiLoCo, against torch and by their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

from firesteel.data.loader import Batch
from firesteel.world import World
from tests.sync.small import (
    Training,
    batch_at,
    equal_on_all_ranks,
    in_group,
    network,
    operations,
    parameters_of,
    sum_over_ranks,
)

STEPS = 9


def test_averaging_equals_torchs_periodic_averager() -> None:
    """What torch calls post-local SGD: equal weights, parameters only, any local optimizer."""
    for distance, moved in in_group(_against_averager, None):
        assert distance <= 1e-6 * moved


def _against_averager(payload: None, world: World) -> tuple[float, float]:
    ours = Training("average:every=3,weighting=equal", world, model=network(batch_norm=False))
    theirs = network(batch_norm=False)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    averager = PeriodicModelAverager(period=3, warmup_steps=2)  # after the steps 2, 5, 8, counted from 0
    start = parameters_of(theirs)
    for number in range(STEPS):
        ours.step(number)
        batch = batch_at(number, world)
        nn.functional.cross_entropy(theirs(batch.features), batch.labels).backward()
        optimizer.step()
        averager.average_parameters(theirs.parameters())  # of those that have a gradient
        optimizer.zero_grad()
    return (
        (parameters_of(ours.model) - parameters_of(theirs)).norm().item(),
        (parameters_of(theirs) - start).norm().item(),
    )


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        ("average:every=1", 0.75),
        ("average:every=1,weighting=equal", 0.5),
        ("diloco:every=1,outer_learning_rate=1,outer_momentum=0", 0.75),
    ],
)
def test_the_mean_is_weighted_by_rows_unless_all_shall_be_equal(sync: str, expected: float) -> None:
    """A worker with three rows moves by 1, one with a single row not at all."""
    for weight, floating_buffer in in_group(_unequal_round, sync):
        assert weight == pytest.approx(expected)
        assert floating_buffer == pytest.approx(expected)


def _unequal_round(sync: str, world: World) -> tuple[float, float]:
    model = nn.BatchNorm1d(1)
    nn.init.zeros_(model.weight)
    training = Training(sync, world, model=model)
    rows, value = (3, 1.0) if world.rank == 0 else (1, 0.0)
    nn.init.constant_(model.weight, value)
    assert model.running_mean is not None
    model.running_mean.fill_(value)
    training.sync.after_step(Batch(torch.zeros(rows, 1), torch.zeros(rows), rows, 4))
    return model.weight.item(), model.running_mean.item()


def test_diloco_without_outer_optimizer_equals_averaging() -> None:
    for distance, moved in in_group(_against_averaging, None, 3):
        assert distance <= 1e-6 * moved


def _against_averaging(payload: None, world: World) -> tuple[float, float]:
    """Also with batches of unequal size, batch norm, and rounds that the end of an epoch cuts short."""
    trainings = [
        Training(sync, world, model=network(), optimizer="sgd")  # Adam makes much of the last bits
        for sync in ("diloco:every=3,outer_learning_rate=1,outer_momentum=0", "average:every=3")
    ]
    start = parameters_of(trainings[0].model)
    for operation in operations(2, 5):
        for training in trainings:
            if operation is None:
                training.sync.on_epoch_end()
            else:
                training.step(operation)
    ends = [torch.cat([value.flatten() for value in t.model.state_dict().values()]) for t in trainings]
    return (ends[0] - ends[1]).norm().item(), (parameters_of(trainings[0].model) - start).norm().item()


@pytest.mark.parametrize("communication", ["fp32", "fp16"])
def test_the_outer_steps_are_those_of_torchs_sgd(communication: str) -> None:
    """Outer parameters given to torch.optim.SGD(nesterov=True), with the averaged way back as their gradient."""
    for distance, moved, agree in in_group(_against_outer_sgd, communication):
        # fp16 has 11 bits: what it rounds is a small part of the way that was gone.
        assert distance <= (1e-6 if communication == "fp32" else 1e-3) * moved
        assert (distance > 0) or communication == "fp32"
        assert agree


def _against_outer_sgd(communication: str, world: World) -> tuple[float, float, bool]:
    options = "every=3,outer_learning_rate=0.6,outer_momentum=0.8"
    ours = Training(f"diloco:{options},communication={communication}", world, model=network(batch_norm=False))
    theirs = network(batch_norm=False)
    inner = torch.optim.Adam(theirs.parameters(), lr=0.01)
    outer = nn.Parameter(parameters_of(theirs))
    outer_optimizer = torch.optim.SGD([outer], lr=0.6, momentum=0.8, nesterov=True)
    start = outer.detach().clone()
    for number in range(STEPS):
        ours.step(number, equal_rows=True)
        batch = batch_at(number, world, equal_rows=True)
        nn.functional.cross_entropy(theirs(batch.features), batch.labels).backward()
        inner.step()
        inner.zero_grad()
        if (number + 1) % 3 == 0:
            outer.grad = outer.detach() - sum_over_ranks(parameters_of(theirs)) / world.world_size
            outer_optimizer.step()
            nn.utils.vector_to_parameters(outer.detach().clone(), theirs.parameters())
    end = parameters_of(ours.model)
    return (end - outer.detach()).norm().item(), (outer.detach() - start).norm().item(), equal_on_all_ranks(end)


def test_bytes_of_a_round() -> None:
    """Parameters and floating buffers once every K steps; half of the parameters' bytes as fp16."""
    parameters, buffers = 4 * sum(p.numel() for p in network().parameters()), 4 * 32
    for sent in in_group(_bytes_sent, ["average:every=3", "diloco:every=3", "diloco:every=3,communication=fp16"]):
        whole = parameters + buffers
        assert sent == [
            [2 * whole, whole / 3],
            [2 * whole, whole / 3],
            [parameters + 2 * buffers, (parameters / 2 + buffers) / 3],
        ]


def _bytes_sent(syncs: list[str], world: World) -> list[tuple[int, float]]:
    results = []
    for sync in syncs:
        training = Training(sync, world)
        for number in range(4):
            training.step(number)
        training.sync.on_epoch_end()  # cuts the second round short
        training.sync.on_epoch_end()  # nothing has happened since: no round
        results.append((training.sync.bytes_sent, training.sync.bytes_per_step))
    return results
