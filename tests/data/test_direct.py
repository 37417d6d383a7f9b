"""Dealing a source to lanes: each row to one, the same ones every time, whatever the number of workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.data.direct import deal
from firesteel.data.order import LaneOrder, lanes_of_worker
from firesteel.data.sources import open_source
from firesteel.errors import ConfigError


def test_a_source_that_can_be_cut_is_dealt_by_partitions(image_folder: Path) -> None:
    partitions, dealt = deal(open_source(image_folder), 3, seed=1)
    assert dealt is not None
    assert sorted(number for lane in dealt for number in lane) == list(range(len(partitions)))
    sizes = [len(lane) for lane in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert deal(open_source(image_folder), 3, seed=1) == (partitions, dealt)
    assert deal(open_source(image_folder), 3, seed=2)[1] != dealt


def test_one_that_cannot_is_dealt_by_rows(idx_folder: Path) -> None:
    """A gzip file has few parts, and each is reached through all before it."""
    partitions, dealt = deal(open_source(idx_folder), 3, seed=1)
    assert partitions
    assert dealt is None
    assert deal(open_source(idx_folder), 1, seed=1)[1] == (tuple(range(len(partitions))),)


@given(
    lane_rows=st.lists(st.integers(1, 40), min_size=1, max_size=6), batch=st.integers(1, 9), workers=st.integers(1, 6), seed=st.integers(0, 99)
)  # fmt: skip
def test_lanes_are_read_whole_and_each_row_comes_once(
    lane_rows: list[int], batch: int, workers: int, seed: int
) -> None:
    lanes = len(lane_rows)
    workers = min(workers, lanes)
    order = LaneOrder(tuple(lane_rows), lanes, batch * lanes, seed)
    starts = np.concatenate([[0], np.cumsum(lane_rows)])
    seen: list[int] = []
    for rank in range(workers):
        mine = order.lanes_of(rank, workers)
        offset = starts[mine.start]
        permutations = order.permutations(0, rank, workers)
        for step in range(order.steps_per_epoch):
            seen += (order.batch(permutations, step, rank, workers) + offset).tolist()
            assert len(order.batch(permutations, step, rank, workers)) == order.rows_at(step, rank, workers)
    assert sorted(seen) == list(range(sum(lane_rows)))


@given(lane_rows=st.lists(st.integers(1, 30), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_global_batches_do_not_depend_on_the_number_of_workers(lane_rows: list[int], seed: int) -> None:
    lanes = len(lane_rows)
    order = LaneOrder(tuple(lane_rows), lanes, 4 * lanes, seed)
    starts = np.concatenate([[0], np.cumsum(lane_rows)])

    def batches(workers: int) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(order.steps_per_epoch)]
        for rank in range(workers):
            permutations = order.permutations(1, rank, workers)
            for step, rows in enumerate(found):
                rows += (
                    order.batch(permutations, step, rank, workers) + starts[order.lanes_of(rank, workers).start]
                ).tolist()
        return [sorted(rows) for rows in found]

    assert all(batches(workers) == batches(lanes) for workers in range(1, lanes))


def test_more_workers_than_lanes_are_refused() -> None:
    assert [list(lanes_of_worker(5, rank, 2)) for rank in range(2)] == [[0, 1], [2, 3, 4]]
    with pytest.raises(ConfigError, match="3 workers cannot share rows that were dealt to 2"):
        lanes_of_worker(2, 0, 3)
