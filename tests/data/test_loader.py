"""The loader: batches of the order, normalised, the same with and without fetching ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firesteel.data.cache import Rows
from firesteel.data.loader import Batch, Loader, Normalizer
from firesteel.data.order import Order
from firesteel.world import World

CPU = torch.device("cpu")
IDENTITY = Normalizer.of([0.0], [1.0], 1.0, 1, CPU)


def numbered(rows: int) -> Rows:
    """Rows of one value, their number; the label is the number too."""
    return Rows(np.arange(rows, dtype=np.float32).reshape(-1, 1), np.arange(rows, dtype=np.int64), in_memory=True)


def loader(rows: int = 40, *, lanes: int = 1, batch: int = 8, world: World | None = None, prefetch: int = 0) -> Loader:
    """Of one worker that holds all lanes, unless the world says otherwise."""
    order = Order((rows,), lanes, lanes * batch, seed=1)
    world = world or World()
    held = sum(int(order.lane_rows[lane]) for lane in order.lanes_of(world.rank, world.world_size))
    return Loader(numbered(held), order, world, IDENTITY, prefetch=prefetch)


def contents(batches: list[Batch]) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


# -- normalising ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6), (7,)], ids=["picture", "signal", "table"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_features_are_standardised_by_channel(shape, dtype):
    """(value * scale - mean) / std in float32, one mean and deviation a channel, as numpy computes it in float64."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, 120, (6, *shape)).astype(dtype)
    mean, std = generator.random(shape[0]).tolist(), (generator.random(shape[0]) + 0.1).tolist()

    found = Normalizer.of(mean, std, 1 / 255, len(shape), CPU)(torch.from_numpy(values))

    broadcast = (shape[0],) + (1,) * (len(shape) - 1)
    expected = (values.astype(np.float64) / 255 - np.reshape(mean, broadcast)) / np.reshape(std, broadcast)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_channel_that_never_varies_is_only_shifted():
    """A deviation of 0 divides by nothing: the channel becomes 0, not infinite."""
    found = Normalizer.of([0.5, 0.25], [0.0, 0.5], 1.0, 1, CPU)(torch.tensor([[0.5, 0.75]]))

    assert found.tolist() == [[0.0, 1.0]]


def test_features_are_left_as_they_were():
    """Normalising makes new values; the rows in memory are not touched."""
    rows = Rows(np.full((4, 1), 200, np.uint8), np.zeros(4, np.int64), in_memory=True)
    order = Order((4,), 1, 2, seed=0)

    batches = list(Loader(rows, order, World(), Normalizer.of([0.5], [0.1], 1 / 255, 1, CPU)).epoch(0))

    assert all(batch.features.dtype == torch.float32 for batch in batches)
    assert rows.features.tolist() == [[200]] * 4


# -- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_an_epoch_is_the_batches_of_the_order(prefetch):
    """Each row comes once, with its own label, in the order's batches, whatever is fetched ahead."""
    order = Order((40,), 1, 8, seed=1)

    batches = list(loader(prefetch=prefetch).epoch(3))

    permutations = order.permutations(3, 0, 1)
    assert contents(batches) == [order.batch(permutations, step, 0, 1).tolist() for step in range(5)]
    assert all(batch.features[:, 0].tolist() == batch.labels.tolist() for batch in batches)
    assert [(batch.rows, batch.global_rows) for batch in batches] == [(8, 8)] * 5
    assert loader().steps_per_epoch == 5


@given(first_step=st.integers(0, 5), prefetch=st.integers(0, 3), epoch=st.integers(0, 3))
def test_an_epoch_can_begin_anywhere(first_step, prefetch, epoch):
    """From a later step on, the batches are those of the whole epoch: a resumed run reads what is left."""
    whole = contents(list(loader(prefetch=prefetch).epoch(epoch)))

    assert contents(list(loader(prefetch=prefetch).epoch(epoch, first_step=first_step))) == whole[first_step:]


@pytest.mark.parametrize(("lanes", "world_size"), [(2, 2), (4, 2), (3, 2), (1, 3)])
def test_workers_together_read_the_global_batches(lanes, world_size):
    """Rows of all workers at a step add up to global_rows; each has as many as it says."""
    worlds = [World(rank, world_size, rank, world_size) for rank in range(world_size)]

    epochs = [list(loader(30, lanes=lanes, batch=2, world=world).epoch(0)) for world in worlds]

    for batches in zip(*epochs, strict=True):
        assert sum(batch.rows for batch in batches) == batches[0].global_rows
        assert len({batch.global_rows for batch in batches}) == 1
        assert all(len(batch.labels) == max(1, batch.rows) for batch in batches)
    assert sum(batch.rows for batches in epochs for batch in batches) == 30


def test_a_worker_without_a_row_gets_one_that_does_not_count():
    """Where a step has fewer rows than workers, a stand-in of one row comes with rows 0, so that the model can run."""
    batches = [list(loader(4, lanes=2, batch=1, world=World(rank, 4, rank, 4)).epoch(0)) for rank in range(4)]

    assert {len(of_rank) for of_rank in batches} == {2}
    for step in range(2):
        of_step = [of_rank[step] for of_rank in batches]
        assert sorted(batch.rows for batch in of_step) == [0, 0, 1, 1]
        assert all(batch.features.shape == (1, 1) for batch in of_step)
        assert all(batch.global_rows == 2 for batch in of_step)


# -- fetching ahead -------------------------------------------------------------------------------------------------


def fetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "firesteel-prefetch"]


def test_the_thread_ends_with_the_epoch():
    """After the last batch, and after leaving an epoch in its middle, no thread is left."""
    list(loader(prefetch=2).epoch(0))
    assert fetching_threads() == []

    batches = loader(prefetch=2).epoch(0)
    next(batches)
    assert len(fetching_threads()) == 1
    batches.close()
    assert fetching_threads() == []


def test_no_more_is_fetched_than_asked_for():
    """With a depth of 2, two batches wait and one is in the thread's hand, not the whole epoch."""
    fetched = []

    class Watched(Order):
        def batch(self, permutations, step, rank, world_size):
            fetched.append(step)
            return super().batch(permutations, step, rank, world_size)

    batches = Loader(numbered(100), Watched((100,), 1, 1, seed=1), World(), IDENTITY, prefetch=2).epoch(0)
    next(batches)
    threading.Event().wait(0.2)  # time for the thread to go too far
    batches.close()

    assert len(fetched) <= 4


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_arrives_where_its_batch_would(prefetch):
    """The batches before the error come, then it is raised in the caller's thread, and no thread is left."""

    class Failing(Order):
        def batch(self, permutations, step, rank, world_size):
            if step == 3:
                raise RuntimeError("no more")
            return super().batch(permutations, step, rank, world_size)

    batches = Loader(numbered(40), Failing((40,), 1, 8, seed=1), World(), IDENTITY, prefetch=prefetch).epoch(0)

    assert len([next(batches) for _ in range(3)]) == 3
    with pytest.raises(RuntimeError, match="no more"):
        next(batches)
    assert fetching_threads() == []


def test_channels_are_reversed_after_they_are_normalised() -> None:
    pictures = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).reshape(2, 3, 2, 2)
    rgb = Normalizer.of([123.0, 117.0, 104.0], [1.0, 1.0, 1.0], 1.0, 3, CPU)(pictures)
    bgr = Normalizer.of([123.0, 117.0, 104.0], [1.0, 1.0, 1.0], 1.0, 3, CPU, reverse=True)(pictures)
    assert torch.equal(bgr, rgb[:, [2, 1, 0]])
    assert float(bgr[0, 0, 0, 0]) == 8 - 104.0  # the blue of the first pixel, less the mean of blue
