"""Sampling by class: shares of classes, rows within a class, and an order that is still a pure function."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.data.order import Order
from firesteel.data.sampling import class_sampling, sampling_note, showings
from firesteel.errors import ConfigError
from firesteel.specs import parse_spec


def sampled(text: str, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    sampling = class_sampling(parse_spec(text), np.bincount(labels).tolist())
    assert sampling is not None
    return sampling.positions(labels, np.random.default_rng(seed))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 10**6))
def test_all_classes_come_equally_often(sizes, seed):
    """To one row; and rows of a class differ by one showing at most."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    positions = sampled("balanced", labels, seed)
    assert len(positions) == len(labels)
    for label, rows in enumerate(sizes):
        of_class = np.bincount(positions, minlength=len(labels))[labels == label]
        assert abs(of_class.sum() - len(labels) / len(sizes)) <= 1
        expected = len(labels) / len(sizes) / rows
        assert np.floor(expected) - 1e-9 <= of_class.min() <= of_class.max() <= np.ceil(expected) + 1e-9


def test_the_power_lies_between_as_they_are_and_equal():
    labels = np.repeat([0, 1], [900, 100])
    for power, share in ((0, 0.1), (0.5, 0.25), (1, 0.5)):
        found = Counter(labels[sampled(f"balanced:power={power}", labels)].tolist())
        assert found[1] == pytest.approx(1000 * share, abs=1)
    assert sorted(sampled("balanced:power=0", labels)) == list(range(1000))


def test_every_row_of_a_frequent_class_comes_in_some_epoch():
    """Which rows are left out is drawn anew."""
    labels = np.repeat([0, 1], [90, 10])
    seen = [set(sampled("balanced", labels, seed).tolist()) for seed in range(20)]
    assert len(set().union(*seen)) == 100
    assert len({frozenset(each) for each in seen}) == 20


def test_the_order_is_mixed():
    labels = np.repeat([0, 1], [500, 500])
    drawn = labels[sampled("balanced", labels)]
    assert 400 < np.count_nonzero(np.diff(drawn)) < 600


def labelled(order: Order, world_size: int, labels: np.ndarray, epoch: int = 0) -> list[list[tuple[int, int]]]:
    """For each step the (row of the split, place) of the global batch, in order of the ranks."""
    starts = np.concatenate([[0], np.cumsum(order.shard_rows)])
    rows_of_lane = [
        np.concatenate([np.arange(starts[s.shard] + s.start, starts[s.shard] + s.stop) for s in lane])
        for lane in order.slices
    ]
    steps: list[list[tuple[int, int]]] = [[] for _ in range(order.steps_per_epoch)]
    for rank in range(world_size):
        memory = np.concatenate([rows_of_lane[lane] for lane in order.lanes_of(rank, world_size)])
        permutations = order.permutations(epoch, rank, world_size, labels[memory])
        places = order.places(rank, world_size)
        for step, found in enumerate(steps):
            rows = memory[order.batch(permutations, step, rank, world_size)]
            found += zip(rows.tolist(), order.batch(places, step, rank, world_size).tolist(), strict=True)
    return steps


@pytest.mark.parametrize("text", ["uniform", "balanced"])
@pytest.mark.parametrize("lanes", [2, 4])
def test_the_global_batches_do_not_depend_on_the_number_of_workers(text, lanes):
    """Rows, and the places by which augmentation draws; every place once an epoch."""
    labels = np.random.default_rng(0).integers(0, 5, 103) ** 2 // 6
    sampling = class_sampling(parse_spec(text), np.bincount(labels).tolist())
    order = Order((50, 30, 23), lanes, 4 * lanes, 7, sampling)
    expected = labelled(order, lanes, labels)
    for world_size in (1, 2, 3):
        assert labelled(order, world_size, labels) == expected
    places = [place for step in expected for _, place in step]
    assert sorted(places) == list(range(103))
    assert labelled(order, 1, labels, epoch=1) != expected
    if text == "uniform":
        assert sorted(row for step in expected for row, _ in step) == list(range(103))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_distinct_rows_add_up_over_workers(world_size):
    labels = np.repeat([0, 1], [80, 20])
    order = Order((100,), 4, 8, 1, class_sampling(parse_spec("balanced"), [80, 20]))
    counted = 0
    for rank in range(world_size):
        lanes = order.lanes_of(rank, world_size)
        memory = np.concatenate([np.arange(order.slices[lane][0].start, order.slices[lane][0].stop) for lane in lanes])
        counted += order.distinct_rows(order.permutations(0, rank, world_size, labels[memory]), rank, world_size)
    shown = {row for step in labelled(order, 4, labels) for row, _ in step}
    assert counted == len(shown) < 100


def test_the_note_says_what_an_epoch_shows():
    sampling = class_sampling(parse_spec("balanced"), [90, 10, 0])
    assert showings(sampling, [90, 10, 0]) == pytest.approx([50 / 90, 5, 0])
    note = sampling_note(sampling, [90, 10, 0], ["cat", "dog", "none"])
    assert note == (
        "sampling by class: an epoch of 100 rows shows about 60 different ones; a row of 'dog' comes 5 times, one of 'cat'"
        " 0.556 times"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("balance", "Did you mean 'balanced'"),
        ("balanced:power=2", "power must be a number from 0 to 1, got 2"),
        ("balanced:beta=1", "has no option 'beta'"),
        ("uniform:power=1", "has no option 'power'"),
    ],
)
def test_wrong_samplings(text, message):
    with pytest.raises(ConfigError, match=message):
        class_sampling(parse_spec(text), [1, 2])
