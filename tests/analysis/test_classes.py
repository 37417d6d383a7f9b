"""How classes are described: as pandas does, in bands that hold each class once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.analysis.classes import describe, size_bands


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=40))
def test_the_description_is_that_of_pandas(counts: list[int]) -> None:
    pandas = pytest.importorskip("pandas")
    assert describe(counts) == pytest.approx(dict(pandas.Series(counts).describe()))


def test_one_class_has_no_standard_deviation() -> None:
    assert describe([5])["std"] is None
    assert describe([])["count"] == 0


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60))
def test_bands_hold_every_class_once_and_lie_side_by_side(counts: list[int]) -> None:
    bands = size_bands(counts)
    assert sum(band.classes for band in bands) == len(counts)
    assert sum(band.images for band in bands) == sum(counts)
    assert all(left.high + 1 == right.low for left, right in pairwise(bands))
    assert len(bands) <= 10
    assert bands[0].classes
    assert bands[-1].classes


def test_bands_widen_where_a_few_classes_are_far_larger() -> None:
    """The sizes of the Cdiscount challenge: most classes below a thousand, one of 79,640."""
    skewed = [12] * 400 + [69] * 1300 + [200] * 1300 + [718] * 1200 + [2500] * 900 + [79_640]
    assert [band.low for band in size_bands(skewed)] == [10, 100, 1000, 10_000]
    assert [(band.low, band.high) for band in size_bands([500] * 6)] == [(500, 500)]
