"""Threshold compression in real groups: nothing is lost, all ranks have the same bits, thresholds follow their rule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firesteel.data.loader import Batch
from firesteel.world import World
from tests.sync.small import (
    Training,
    batch_at,
    equal_on_all_ranks,
    in_group,
    network,
    parameters_of,
    sum_over_ranks,
)

HEADER = 12
"""Bytes of encoding, size and threshold."""

KINDS = [
    "threshold",
    "threshold:algorithm=target,density=0.02,threshold=0.03",
    "threshold:algorithm=fixed,threshold=0.05",
    "threshold:algorithm=fixed,threshold=0.05,updates=sum",
]


@pytest.mark.parametrize("workers", [2, 3])
def test_sent_plus_residual_is_what_was_computed_at_every_step(workers: int) -> None:
    """Over all ranks: what the model has moved, times the workers for the mean, plus what waits = all local updates."""
    for encodings in in_group(_nothing_is_lost, KINDS, workers):
        assert encodings == ["bitmap", "sparse"], "both encodings must have been seen"


def _nothing_is_lost(syncs: list[str], world: World) -> list[str]:
    seen = set()
    for sync in syncs:
        training = Training(sync, world, model=network(batch_norm=False).double())
        start = parameters_of(training.model)
        computed = torch.zeros_like(start)
        bitmap_bytes = -(-len(start) // 4)
        for number in range(20):
            batch = batch_at(number, world)
            batch = Batch(batch.features.double(), batch.labels, batch.rows, batch.global_rows)
            before, sent_before = parameters_of(training.model), training.sync.bytes_sent
            training.local_step(batch)
            weight = batch.rows * world.world_size / batch.global_rows
            computed += (parameters_of(training.model) - before) * weight
            training.sync.after_step(batch)
            moved = parameters_of(training.model) - start
            assert equal_on_all_ranks(moved)
            sent = moved * (1 if "sum" in sync else world.world_size)
            waiting = sum_over_ranks(training.sync.state()["residual"])
            torch.testing.assert_close(sent + waiting, sum_over_ranks(computed), rtol=1e-12, atol=1e-12)
            size = training.sync.bytes_sent - sent_before - HEADER
            seen.add("bitmap" if size == bitmap_bytes else "sparse" if size else "none")
    return sorted(seen - {"none"})


def test_thresholds_follow_the_density_of_the_step_before() -> None:
    results = in_group(_followed_rule, None, 2)
    assert results[0][1] == results[1][1], "the mean at the end of the epoch"
    for seen, _ in results:
        assert seen == ["down", "stay", "up"], "all three branches must have been taken"


def _followed_rule(payload: None, world: World) -> tuple[list[str], float]:
    decay = 0.5 ** (1 / 20)
    seen = set()
    for sync, low, high in [
        ("threshold", 1e-4, 2e-2),
        ("threshold:threshold=0.5", 1e-4, 2e-2),
        ("threshold:threshold=0.01,min_density=0.01,max_density=0.9", 0.01, 0.9),
        ("threshold:algorithm=target,threshold=0.02", 1e-3, 1e-3),
    ]:
        training = Training(sync, world)
        expected = training.sync.state()["threshold"]
        if sync == "threshold":
            assert expected == 1e-3
        density = None
        for number in range(15):
            training.step(number)
            if density is not None and density < low:
                expected *= decay
                seen.add("down")
            elif density is not None and density > high:
                expected /= decay
                seen.add("up")
            elif density is not None:
                seen.add("stay")
            state = training.sync.state()
            assert state["threshold"] == pytest.approx(expected, rel=1e-12)
            density = state["density"]
        own = torch.tensor([state["threshold"]], dtype=torch.float64)
        training.sync.on_epoch_end()
        mean = sum_over_ranks(own).item() / world.world_size
        assert training.sync.state()["threshold"] == pytest.approx(mean, rel=1e-12)
    return sorted(seen), training.sync.state()["threshold"]


def linear(world: World, sync: str, size: int = 64) -> Training:
    """A vector of weights 0, moved by SGD with the gradients that a test gives it."""
    model = nn.Linear(size, 1, bias=False)
    nn.init.zeros_(model.weight)
    training = Training(sync, world, model=model)
    training.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return training


def moved_by(training: Training, updates: dict[int, float], rows: int = 1, global_rows: int = 2) -> None:
    """One step whose local update is given by index."""
    batch = Batch(torch.zeros(1, 64), torch.zeros(1), rows, global_rows)
    training.sync.after_backward(batch)
    with torch.no_grad():
        for index, value in updates.items():
            training.model.weight[0, index] += value  # type: ignore[index, union-attr]
    training.sync.after_step(batch)


def test_one_threshold_is_sent_and_the_rest_waits() -> None:
    for rank, (weights, residual, sent) in enumerate(in_group(_known_updates, None, 2)):
        # Rank 0 moves element 5 by 3.5 thresholds, rank 1 element 9 by -0.75 and 0.5 at a time; a mean is half of each.
        assert weights == [[0.125, 0.0], [0.25, 0.0], [0.375, 0.0]]
        assert residual == ([0.125, 0.0] if rank == 0 else [0.0, -0.125])
        # Three headers, and a gap in each; rank 1 pads to the size of rank 0's.
        assert sent == 3 * (HEADER + 2)


def _known_updates(payload: None, world: World) -> tuple[list[list[float]], list[float], int]:
    training = linear(world, "threshold:algorithm=fixed,threshold=0.25")
    weights = []
    for number in range(3):
        if world.rank == 0:
            moved_by(training, {5: 0.875} if number == 0 else {})
        else:
            moved_by(training, [{9: -0.1875}, {9: 0.125}, {9: -0.0625}][number])
        weights.append(training.model.weight[0, [5, 9]].tolist())  # type: ignore[index, union-attr]
    return weights, training.sync.state()["residual"][[5, 9]].tolist(), training.sync.bytes_sent


def test_updates_are_weighted_by_rows_and_a_sum_is_no_mean() -> None:
    for mean, total, without_rows in in_group(_weighted_updates, None, 2):
        assert mean == 0.25  # three of four rows moved by 0.5: weight 1.5, 0.75 >= 0.5 is sent once, half of it
        assert total == 0.5
        assert without_rows == 0.0


def _weighted_updates(payload: None, world: World) -> tuple[float, float, float]:
    moved = []
    for options, update, rows in [("", 0.5, 3), (",updates=sum", 0.5, 3), ("", 1e6, 0)]:
        training = linear(world, f"threshold:algorithm=fixed,threshold=0.5{options}")
        mine = world.rank == 0
        moved_by(training, {3: update} if mine else {}, rows if mine else 4 - rows, 4)
        moved.append(training.model.weight[0, 3].item())  # type: ignore[index, union-attr]
    return moved[0], moved[1], moved[2]


def test_clipping_bounds_the_residual() -> None:
    for residuals in in_group(_clipped, None, 2):
        assert residuals == [[9.75, -9.75], [9.5, -9.5], [0.5, -0.5], [0.25, -0.25]]


def _clipped(payload: None, world: World) -> list[list[float]]:
    training = linear(world, "threshold:algorithm=fixed,threshold=0.25,clip=2,clip_every=3")
    residuals = []
    for number in range(4):
        moved_by(training, {0: 10.0, 1: -10.0} if number == 0 else {})
        residuals.append(training.sync.state()["residual"][:2].tolist())
    return residuals


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_worker_that_has_diverged_is_seen_by_all(bad: float) -> None:
    """No number reaches a threshold from NaN: the others would go on, and nobody would hear of it."""
    for finite in in_group(_diverged, bad, 2):
        assert finite == [True, False]


def _diverged(bad: float, world: World) -> list[bool]:
    training = linear(world, "threshold")
    finite = []
    for number in range(2):
        moved_by(training, {3: bad} if world.rank == 1 and number == 1 else {3: 0.01})
        finite.append(bool(training.model.weight.isfinite().all()))  # type: ignore[operator, union-attr]
    return finite
