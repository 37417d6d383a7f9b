"""Mean and standard deviation: numpy's, whatever parts they were summed in."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from firesteel.data.statistics import ChannelSums

ROWS = st.one_of(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))),
    arrays.arrays(np.int16, st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 5))),
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 20), st.integers(1, 6)), elements=st.floats(-1000, 1000, width=32)
    ),
)
"""Pictures (n, channels, height, width), signals (n, channels, length) and tables (n, columns)."""


def numpy_statistics(rows: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    wide = rows.astype(np.float64) * scale
    axes = tuple(axis for axis in range(rows.ndim) if axis != 1)
    return wide.mean(axes), wide.std(axes)


@given(rows=ROWS, scale=st.sampled_from([1.0, 1 / 255]))
def test_mean_and_deviation_are_numpys(rows, scale):
    """Per channel, over all rows and places, of the scaled values; the deviation is that of the population."""
    mean, std = ChannelSums.of(rows).mean_and_std(scale)

    expected_mean, expected_std = numpy_statistics(rows, scale)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(std, expected_std, rtol=1e-6, atol=2e-5)


@given(rows=ROWS, cuts=st.lists(st.integers(1, 19), max_size=4), order=st.randoms(use_true_random=False))
def test_parts_can_be_added_in_any_order(rows, cuts, order):
    """Cut anywhere, summed in parts and added in any order: for uint8 the same to the last bit, else to rounding."""
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [ChannelSums.of(rows[start:stop]) for start, stop in pairwise(edges)]
    order.shuffle(parts)

    merged, whole = reduce(add, parts), ChannelSums.of(rows)

    if rows.dtype == np.uint8:
        assert merged == whole
        assert merged.mean_and_std(1 / 255) == whole.mean_and_std(1 / 255)
    assert merged.count == whole.count
    np.testing.assert_allclose(merged.mean_and_std(), whole.mean_and_std(), rtol=1e-6, atol=1e-4)


def test_a_small_deviation_beside_a_large_mean_is_not_lost():
    """Times in seconds and coordinates: the difference of two sums of squares would have no correct digit."""
    rows = (np.float32(8e8) + 64 * np.arange(-50, 50, dtype=np.float32))[:, None]
    parts = [ChannelSums.of(rows[start : start + 7]) for start in range(0, 100, 7)]
    for sums in (ChannelSums.of(rows), reduce(add, parts), reduce(add, reversed(parts))):
        np.testing.assert_allclose(sums.mean_and_std()[1], rows.astype(np.float64).std(), rtol=1e-6)


def test_sums_of_millions_of_pixels_are_exact():
    """Six million bright pixels: the sums of uint8 values do not overflow and do not round."""
    rows = np.full((60, 1, 100, 1000), 255, np.uint8)
    rows[0] = 254

    sums = ChannelSums.of(rows)

    assert sums == ChannelSums(6_000_000, [255 * 5_900_000 + 254 * 100_000], [255**2 * 5_900_000 + 254**2 * 100_000])
    mean, std = sums.mean_and_std()
    assert mean == [pytest.approx(255 - 1 / 60, rel=1e-15)]
    assert std == [pytest.approx((1 / 60 * 59 / 60) ** 0.5, rel=1e-12)]


def test_a_channel_that_never_varies_has_no_deviation():
    """Equal values have a deviation of exactly 0, not the root of a rounding error."""
    for rows in (np.full((50, 2, 7, 7), 201, np.uint8), np.full((50, 3), 0.1, np.float32)):
        assert ChannelSums.of(rows).mean_and_std(1 / 255)[1] == [0.0] * rows.shape[1]


def test_values_far_from_zero_keep_their_deviation():
    """Table columns such as years or prices in cents: a large mean costs the deviation a thousandth at most."""
    rows = np.stack([2000 + np.arange(100) % 30, 1e7 + np.arange(100) % 30], axis=1).astype(np.float32)

    found = ChannelSums.of(rows).mean_and_std()

    np.testing.assert_allclose(found, numpy_statistics(rows, 1.0), rtol=1e-3)
