"""Threads that compute batches: order, look-ahead, networks of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError, FormatError
from firesteel.formats.images import ImageSpec, decode
from firesteel.inference.parallel import Replicas, batches_of, decoded, map_in_order, worker_count
from firesteel.inference.pictures import Picture
from tests.conftest import picture


def _picture(name: str, data: bytes = b"", held: int = 0) -> Picture:
    return Picture(name, partial(bytes, data), held)


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_if_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return number * number

    assert list(map_in_order(slow_if_even, range(50), 4)) == [number * number for number in range(50)]
    assert list(map_in_order(slow_if_even, range(3), 1, ahead=False)) == [0, 1, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_taken_than_there_are_threads_and_one(workers: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number

    for given in map_in_order(lambda number: number, items(), workers):
        assert taken <= given + workers + 1


def test_without_looking_ahead_each_is_answered_before_the_next_is_taken() -> None:
    order: list[str] = []

    def items() -> Iterator[int]:
        for number in range(3):
            order.append(f"take {number}")
            yield number

    results = map_in_order(lambda number: number, items(), 2, ahead=False)
    order += (f"got {given}" for given in results)
    assert order == ["take 0", "got 0", "take 1", "got 1", "take 2", "got 2"]


def test_an_error_of_a_thread_comes_out_and_no_thread_is_left() -> None:
    def fail(number: int) -> int:
        if number == 3:
            raise RuntimeError("three")
        return number

    results = map_in_order(fail, range(100), 2)
    with pytest.raises(RuntimeError, match="three"):
        list(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("firesteel-predict")]


def test_who_stops_early_stops_the_threads() -> None:
    done: list[int] = []
    results = map_in_order(done.append, range(1000), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 10


class _Keeping(nn.Module):
    """Keeps its input in itself while it computes, as no network should that several threads call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        self.kept = features
        time.sleep(0.001)
        return self.kept * self.weight


def test_threads_have_networks_of_their_own_with_the_same_weights() -> None:
    network = _Keeping()
    replicas = Replicas(network, 4)

    def compute(number: int) -> float:
        with replicas.one() as mine, torch.inference_mode():
            return float(mine(torch.tensor([float(number)])))

    assert list(map_in_order(compute, range(100), 4)) == [float(number) for number in range(100)]
    with torch.no_grad():
        network.weight.fill_(2.0)
    assert list(map_in_order(compute, range(100), 4)) == [2.0 * number for number in range(100)]


def test_a_network_that_cannot_be_copied_is_shared() -> None:
    network = nn.Linear(1, 1)
    network.lock = threading.Lock()  # type: ignore[assignment]
    replicas = Replicas(network, 4)
    with replicas.one() as only:
        assert only is network
        waiting = threading.Thread(target=lambda: replicas.one().__enter__(), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_batches_end_at_their_size_or_with_the_memory_that_they_hold() -> None:
    pictures = [_picture(str(number)) for number in range(5)]
    assert [len(batch) for batch in batches_of(pictures, 2)] == [2, 2, 1]
    large = [_picture(str(number), held=40 << 20) for number in range(3)]
    assert [len(batch) for batch in batches_of(large, 256)] == [2, 1]


def test_broken_pictures_leave_no_gap_in_the_rows() -> None:
    def fail() -> bytes:
        raise FormatError("gone")

    sound = [picture(value, (9, 7)) for value in (10, 200)]
    given = [_picture("a", sound[0]), Picture("b", fail), _picture("c", b"text"), _picture("d", sound[1])]
    batch = decoded(given, ImageSpec(4, 4, 3))
    assert batch.names == ["a", "b", "c", "d"]
    assert batch.problems[1] == "gone"
    assert "not a picture" in batch.problems[2]
    expected = [decode(data, ImageSpec(4, 4, 3)).pixels.transpose(2, 0, 1) for data in sound]
    np.testing.assert_array_equal(batch.rows, np.stack(expected))


def test_a_wrong_number_of_threads_is_refused() -> None:
    assert worker_count(None) >= 1
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        worker_count(0)
