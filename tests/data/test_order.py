"""The order of rows is a pure function: every row once an epoch, equal steps, the same batches on any number of workers."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.data.order import Order, Slice, lane_slices
from firesteel.errors import ConfigError

SHARDS = [(7,), (16,), (5, 5, 5), (1, 1, 1, 1, 1, 1, 1), (13, 1, 8), (0, 9, 0), (40, 3), (2, 31, 17, 4)]
LANES = [1, 2, 3, 4, 7]
WORLDS = [1, 2, 3, 4, 5]
BATCHES = [1, 3, 8, 50]

grid = pytest.mark.parametrize(
    ("shards", "lanes"), [case for case in product(SHARDS, LANES) if sum(case[0]) >= case[1]], ids=str
)


def jobs(shards: tuple[int, ...], lanes: int) -> list[tuple[Order, int]]:
    """Orders of all batch sizes, each with all world sizes."""
    return [(Order(shards, lanes, lanes * batch, seed=3), world_size) for batch in BATCHES for world_size in WORLDS]


def rows_in_memory(order: Order, rank: int, world_size: int) -> list[tuple[int, int]]:
    """(shard, row) of what lies in a worker's memory: its lanes one behind the other."""
    lanes = order.lanes_of(rank, world_size)
    return [(part.shard, row) for lane in lanes for part in order.slices[lane] for row in range(part.start, part.stop)]


def batches_of(order: Order, epoch: int, rank: int, world_size: int) -> list[list[tuple[int, int]]]:
    """What a worker reads, step by step, as (shard, row)."""
    memory = rows_in_memory(order, rank, world_size)
    permutations = order.permutations(epoch, rank, world_size)
    steps = range(order.steps_per_epoch)
    return [[memory[at] for at in order.batch(permutations, step, rank, world_size)] for step in steps]


def every_row(order: Order) -> Counter:
    return Counter((shard, row) for shard, rows in enumerate(order.shard_rows) for row in range(rows))


# -- lanes ----------------------------------------------------------------------------------------------------------


@given(shards=st.lists(st.integers(0, 50), max_size=12), lanes=st.integers(1, 9))
def test_lanes_share_every_shard_out(shards, lanes):
    """Each row of each shard is in exactly one lane; lanes differ by one row at most, also within each shard."""
    dealt = lane_slices(shards, lanes)

    found = Counter((part.shard, row) for lane in dealt for part in lane for row in range(part.start, part.stop))
    assert found == Counter((shard, row) for shard, rows in enumerate(shards) for row in range(rows))
    sizes = [sum(part.rows for part in lane) for lane in dealt]
    assert len(dealt) == lanes
    assert max(sizes) - min(sizes) <= 1
    for shard, rows in enumerate(shards):
        of_shard = [sum(part.rows for part in lane if part.shard == shard) for lane in dealt]
        assert max(of_shard) - min(of_shard) <= 1, rows
    assert all(lane == sorted(lane, key=lambda part: part.shard) for lane in dealt)
    assert all(part.rows > 0 for lane in dealt for part in lane)


def test_a_lane_is_a_slice_of_every_shard():
    """Three shards of four and five rows, dealt to two lanes: the odd row of one shard goes to the other lane next."""
    assert lane_slices([4, 5, 5], 2) == [
        [Slice(0, 0, 2), Slice(1, 0, 3), Slice(2, 0, 2)],
        [Slice(0, 2, 4), Slice(1, 3, 5), Slice(2, 2, 5)],
    ]


# -- an epoch -------------------------------------------------------------------------------------------------------


@grid
def test_every_row_is_read_exactly_once_an_epoch(shards, lanes):
    """Over all workers and steps of an epoch each row comes once, whatever shards, lanes, workers and batch size."""
    for order, world_size in jobs(shards, lanes):
        read = Counter()
        for rank in range(world_size):
            steps = batches_of(order, 1, rank, world_size)
            assert len(steps) == order.steps_per_epoch
            read.update(row for batch in steps for row in batch)
        assert read == every_row(order)


@grid
def test_batches_are_even_and_announced(shards, lanes):
    """A worker's rows are those that rows_at says; they add up to global_rows_at, which never exceeds the batch size."""
    for order, world_size in jobs(shards, lanes):
        read = [batches_of(order, 0, rank, world_size) for rank in range(world_size)]
        for step in range(order.steps_per_epoch):
            sizes = [len(of_rank[step]) for of_rank in read]
            assert sizes == [order.rows_at(step, rank, world_size) for rank in range(world_size)]
            assert sum(sizes) == order.global_rows_at(step) <= order.global_batch_size
            if lanes % world_size == 0:
                assert max(sizes) - min(sizes) <= lanes // world_size
            else:
                assert max(sizes) - min(sizes) <= 1


@grid
def test_batches_differ_by_one_row_a_lane_over_the_epoch(shards, lanes):
    """No step of an epoch is much smaller than another: there is no short last batch."""
    for order, world_size in jobs(shards, lanes):
        totals = [order.global_rows_at(step) for step in range(order.steps_per_epoch)]
        assert max(totals) - min(totals) <= lanes
        assert sum(totals) == order.rows
        if lanes == world_size:
            for rank in range(world_size):
                own = [order.rows_at(step, rank, world_size) for step in range(order.steps_per_epoch)]
                assert max(own) - min(own) <= 1


@grid
def test_the_steps_are_as_few_as_the_batch_size_allows(shards, lanes):
    """The number of steps is the rows of the largest lane over the rows a lane gives to a batch, rounded up."""
    for order, _ in jobs(shards, lanes):
        most = -(-sum(shards) // lanes)
        assert order.steps_per_epoch == -(-most // (order.global_batch_size // lanes))


@pytest.mark.parametrize("shards", [shards for shards in SHARDS if sum(shards) >= 4])
@pytest.mark.parametrize("batch", BATCHES)
def test_any_number_of_workers_sees_the_same_global_batches(shards, batch):
    """With equal lanes and global batch, step s holds the same rows on 1, 2, 3, 4, 5 or 8 workers: only shared otherwise."""
    order = Order(shards, 4, 4 * batch, seed=11)

    def global_batches(world_size: int) -> list[Counter]:
        read = [batches_of(order, 2, rank, world_size) for rank in range(world_size)]
        return [Counter(row for of_rank in read for row in of_rank[step]) for step in range(order.steps_per_epoch)]

    alone = global_batches(1)
    for world_size in (2, 3, 4, 5, 8):
        assert global_batches(world_size) == alone


def test_one_worker_reads_the_rows_of_all_in_their_order():
    """A global batch is one lane behind the other: one worker's batch is the workers' batches joined by rank."""
    order = Order((40, 23), 4, 16, seed=1)
    alone = batches_of(order, 0, 0, 1)

    for world_size in (2, 3, 4, 6):
        shared = [batches_of(order, 0, rank, world_size) for rank in range(world_size)]
        for step, batch in enumerate(alone):
            assert [row for of_rank in shared for row in of_rank[step]] == batch


@grid
def test_a_worker_holds_only_the_lanes_it_reads(shards, lanes):
    """Its lanes are a run within all lanes; with as many lanes as workers, its own one alone."""
    for order, world_size in jobs(shards, lanes):
        for rank in range(world_size):
            held = order.lanes_of(rank, world_size)
            permutations = order.permutations(0, rank, world_size)
            assert 0 <= held.start < held.stop <= lanes  # one at least: a row must stand in at empty steps
            assert lanes % world_size or len(held) == lanes // world_size
            for step in range(order.steps_per_epoch):
                positions = order.batch(permutations, step, rank, world_size)
                assert positions.dtype == np.int64
                assert len(set(positions.tolist())) == len(positions)


@given(
    shards=st.lists(st.integers(0, 40), min_size=1, max_size=6).map(tuple).filter(sum),
    lanes=st.integers(1, 6),
    batch=st.integers(1, 20),
    world_size=st.integers(1, 8),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_any_job_reads_every_row_once(shards, lanes, batch, world_size, seed, epoch):
    """Beyond the grid: any shards, lanes, global batch, workers, seed and epoch."""
    lanes = min(lanes, sum(shards))
    order = Order(shards, lanes, max(lanes, batch), seed)

    read = Counter(
        row for rank in range(world_size) for part in batches_of(order, epoch, rank, world_size) for row in part
    )

    assert read == every_row(order)


# -- chance ---------------------------------------------------------------------------------------------------------


def test_each_epoch_has_an_order_of_its_own():
    """Ten epochs of 200 rows have ten different orders, and the first is not the order of the shards."""
    order = Order((120, 80), 2, 32, seed=5)

    epochs = [[row for batch in batches_of(order, epoch, 0, 1) for row in batch] for epoch in range(10)]

    assert len({tuple(rows) for rows in epochs}) == 10
    assert all(rows != rows_in_memory(order, 0, 1) for rows in epochs)
    assert all(sorted(rows) == sorted(epochs[0]) for rows in epochs)


def test_the_seed_fixes_the_order():
    """The same seed gives the same batches, another seed others."""
    first, again, other = (batches_of(Order((120, 80), 2, 32, seed), 4, 1, 2) for seed in (5, 5, 6))

    assert first == again
    assert first != other


def test_lanes_are_shuffled_independently():
    """Two lanes of equal size do not read their rows in the same order."""
    order = Order((200,), 2, 20, seed=0)
    permutations = order.permutations(0, 0, 1)

    assert permutations[0].tolist() != (permutations[1] - 100).tolist()


def test_rows_of_a_shard_are_spread_over_the_epoch():
    """A source sorted by class is mixed: each quarter of an epoch holds about a quarter of the first shard's rows."""
    order = Order((400, 400, 400, 400), 2, 40, seed=9)
    rows = [row for batch in batches_of(order, 0, 0, 1) for row in batch]

    for quarter in range(4):
        part = rows[quarter * 400 : (quarter + 1) * 400]
        # 400 of 1600, drawn without repetition: 100 expected, standard deviation 7.5; 60 to 140 is five of them.
        assert 60 < sum(shard == 0 for shard, _ in part) < 140


# -- what cannot be -------------------------------------------------------------------------------------------------


def test_more_workers_than_rows_are_refused():
    """Each lane needs a row; the message says how many workers would do."""
    with pytest.raises(ConfigError, match=r"3 training rows cannot be shared by 4 workers.*\nUse --workers 3 or fewer"):
        Order((2, 1), 4, 8, seed=0)


def test_a_global_batch_smaller_than_the_lanes_is_refused():
    """A batch holds a row of each lane at least."""
    with pytest.raises(ConfigError, match="a global batch needs a row a lane, got 3 for 4 lanes"):
        Order((100,), 4, 3, seed=0)
