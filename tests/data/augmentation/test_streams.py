"""Random numbers that are functions of their key."""

from __future__ import annotations

import numpy as np

from firesteel.data.augmentation import copy_keys, step_keys
from firesteel.data.augmentation.streams import uniforms


def test_the_numbers_are_those_of_splitmix64():
    """The published sequence of seed 1234567 (Vigna, splitmix64.c; as listed by Rosetta Code)."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    found = uniforms(np.array([1234567], np.uint64), 0, 5)[0]
    np.testing.assert_array_equal(found, [(value >> 11) * 2.0**-53 for value in expected])


def test_operations_draw_different_numbers():
    keys = np.arange(50, dtype=np.uint64)
    drawn = np.concatenate([uniforms(keys, number, 6) for number in range(9)], axis=1)
    assert len(np.unique(drawn)) == drawn.size


def test_numbers_are_uniform_and_rows_independent():
    """Mean and deviation of a uniform; neighbouring rows, epochs and seeds do not go together."""
    places = np.arange(20_000)
    drawn = [uniforms(step_keys(seed, epoch, places), 3, 1)[:, 0] for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for each in drawn:
        assert abs(each.mean() - 0.5) < 0.01
        assert abs(each.std() - 12**-0.5) < 0.01
        assert abs(np.corrcoef(each[:-1], each[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[0], drawn[2])[0, 1]) < 0.03


def test_keys_of_copies_name_seed_original_and_number():
    keys = copy_keys(1, [("a", 1), ("a", 2), ("b", 1)])
    assert len(set(keys.tolist())) == 3
    assert copy_keys(1, [("b", 1)])[0] == keys[2]
    assert copy_keys(2, [("b", 1)])[0] != keys[2]
