"""Elastic averaging: its equations, that nobody waits for the slowest, and how it ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import firesteel
from firesteel.data.loader import Batch
from firesteel.errors import WorkerFailed
from firesteel.world import World
from tests.sync.small import Training, equal_on_all_ranks, in_group, network, operations, parameters_of

BATCH = Batch(torch.zeros(1, 1), torch.zeros(1), 1, 2)


def test_worker_and_centre_move_towards_each_other() -> None:
    """Equations (9) and (10) of the paper with a moving rate of 0.5 for two workers: a quarter of the difference."""
    (first, centre), (second, _) = in_group(_exchanges_in_order, None)
    # Rank 1 exchanges first, at 16, when the centre is at 0; then rank 0 at 8, when it is at 4; rank 1 again, from 12.
    assert second == [12.0, 12.0 - 7.0 / 4]
    assert first == [7.0]
    assert centre == 5.0 + 7.0 / 4


def _exchanges_in_order(payload: None, world: World) -> tuple[list[float], float | None]:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    training = Training("async:every=1,moving_rate=0.5", world, model=model)
    places = []
    training.sync.after_backward(BATCH)  # the centre is served from rank 0's first step on
    for rank, place in [(1, 16.0), (0, 8.0), (1, None)]:
        if world.rank == rank:
            if place is not None:
                nn.init.constant_(model.weight, place)
            training.sync.after_step(BATCH)
            places.append(model.weight.item())
        dist.barrier()
    state = training.sync.state()
    training.sync.on_epoch_end()
    return places, state["centre"].item() if "centre" in state else None


def test_nobody_waits_for_a_worker_that_has_stopped() -> None:
    """Rank 2 makes no step until the others have made all of theirs; waiting for it would never end."""
    for rank, (exchanges, agree) in enumerate(in_group(_one_is_late, None, 3)):
        # Each worker goes to the centre five times; rank 0 answers the other two.
        assert exchanges == (10 if rank == 0 else 5)
        assert agree


def _one_is_late(payload: None, world: World) -> tuple[float, bool]:
    training = Training("async:every=2", world, model=network(batch_norm=False))
    if world.rank == 2:
        dist.barrier()
    for step in range(10):
        training.step(step)
    if world.rank != 2:
        dist.barrier()
    training.sync.on_epoch_end()
    parameters = parameters_of(training.model)
    return training.sync.bytes_sent / (4 * len(parameters)) - 1, equal_on_all_ranks(parameters)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_each_epoch_ends_with_one_model(steps: int) -> None:
    """Also where it has no step, or too few for an exchange: buffers are the same too."""
    assert in_group(_whole_epochs, steps, 3) == [[True, True]] * 3


def _whole_epochs(steps: int, world: World) -> list[bool]:
    training = Training("async:every=2", world)
    same = []
    for operation in operations(2, steps):
        if operation is not None:
            training.step(operation)
            continue
        training.sync.on_epoch_end()
        floating = [value.flatten() for value in training.model.state_dict().values() if value.is_floating_point()]
        same.append(equal_on_all_ranks(torch.cat(floating)))
    return same


def test_a_slow_worker_may_be_late_by_more_than_the_timeout() -> None:
    """As long as it keeps coming to the centre: the timeout is of one exchange, not of an epoch."""
    assert in_group(_slow_worker, None, 3, timeout_s=6) == [True] * 3


def _slow_worker(payload: None, world: World) -> bool:
    training = Training("async:every=1", world)
    for step in range(5):
        if world.rank == 1:
            time.sleep(2)
        training.step(step)
    training.sync.on_epoch_end()
    return equal_on_all_ranks(parameters_of(training.model))


def test_a_worker_that_hangs_is_named() -> None:
    # A group waits twice the timeout: within once a guard ends a worker that hangs in a training.
    with pytest.raises(WorkerFailed, match="rank 1 of 2 has not come to the centre for 12 s"):
        in_group(_hanging_worker, None, timeout_s=6)


def _hanging_worker(payload: None, world: World) -> None:
    training = Training("async:every=1", world)
    training.step(0)
    if world.rank == 1:
        time.sleep(200)
    training.sync.on_epoch_end()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("what", "message"), [("raise", "ValueError: this network is tired"), ("kill", "SIGKILL")])
def test_a_worker_that_fails_ends_the_run(rank: int, what: str, message: str, dataset: Path, tmp_path: Path) -> None:
    """Whether it holds the centre or not; the threads that serve it do not keep the run alive."""
    with pytest.raises(WorkerFailed, match=rf"worker {rank} of 3 .*{message}"):
        firesteel.train(
            dataset, tmp_path / "run", model=f"tests.networks:Misbehaving:what={what},rank={rank}", workers=3,
            sync="async:every=2", engine="local", epochs=5, batch_size=4, threads=1, max_restarts=0,
        )  # fmt: skip
