"""The split: stratified to the row, fixed by the seed, the same however the rows are shared between tasks."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.data.index import class_index
from firesteel.data.split import (
    SplitRule,
    boundaries_of,
    parse_fractions,
    split_counts,
    split_key,
)
from firesteel.errors import ConfigError

PERCENT = (
    st.lists(st.integers(1, 98), min_size=2, max_size=4)
    .filter(lambda parts: sum(parts) <= 99)
    .map(lambda parts: [100 - sum(parts[1:]), *parts[1:]])
)
"""Shares of two to four splits in percent, which add up to 100."""


def rule_from_keys(names, fractions, seed, keys_of):
    """The rule for rows whose keys lie in memory."""
    return SplitRule(tuple(names), seed, {label: boundaries_of(keys, fractions) for label, keys in keys_of.items()})


# -- how many -------------------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 5000), percent=PERCENT)
def test_rows_are_shared_by_largest_remainder(rows, percent):
    """Counts are the exact shares, rounded down or up, and up where most is cut off; but train is never left empty."""
    counts = split_counts(rows, [part / 100 for part in percent])

    exact = [Fraction(rows * part, 100) for part in percent]
    assert sum(counts) == rows
    if rows and exact[0] < 1:  # train may have been given its one row
        assert counts[0] == 1
        return
    remainders = [value - int(value) for value in exact]
    assert all(count - int(value) in (0, 1) for count, value in zip(counts, exact))
    up = [remainder for remainder, count, value in zip(remainders, counts, exact) if count > int(value)]
    down = [remainder for remainder, count, value in zip(remainders, counts, exact) if count == int(value)]
    assert min(up, default=1) >= max(down, default=0)


@pytest.mark.parametrize(
    ("rows", "fractions", "counts"),
    [
        (0, (0.8, 0.2), [0, 0]),
        (1, (0.8, 0.2), [1, 0]),
        (1, (0.2, 0.8), [1, 0]),
        (2, (0.8, 0.2), [2, 0]),
        (3, (0.8, 0.2), [2, 1]),
        (10, (0.8, 0.2), [8, 2]),
        (10, (0.7, 0.15, 0.15), [7, 2, 1]),
        (2, (0.1, 0.45, 0.45), [1, 1, 0]),
        (100, (0.29, 0.71), [29, 71]),
        (7, (1.0,), [7]),
    ],
)
def test_small_classes(rows, fractions, counts):
    """Worked by hand: a single row is for training, and equal remainders go to the split named first."""
    assert sorted(split_counts(rows, fractions)[1:]) == sorted(counts[1:])
    assert split_counts(rows, fractions)[0] == counts[0]


@given(rows=st.integers(1, 10**7))
def test_fractions_that_add_up_almost_still_share_all_rows(rows):
    """Three thirds written with six digits share every row."""
    fractions = list(parse_fractions("train=0.333334,validation=0.333333,test=0.333333").values())
    counts = split_counts(rows, fractions)

    assert sum(counts) == rows
    assert max(counts) - min(counts) <= 1 + rows // 10**5


# -- which ----------------------------------------------------------------------------------------------------------


def test_the_key_is_the_beginning_of_an_md5_sum():
    """Documented, so that Spark SQL computes the same: 15 hexadecimal digits of the MD5 of SEED:GROUP."""
    for seed, group in [(0, ""), (12345, "a/1.png"), (7, "é")]:
        assert split_key(seed, group) == int(hashlib.md5(f"{seed}:{group}".encode()).hexdigest()[:15], 16)
        assert 0 <= split_key(seed, group) < 2**60


def oracle(groups: list[str], seed: int, names: list[str], fractions: list[float]) -> dict[str, str]:
    """The split of each group of one class by brute force: rows sorted by key, cut where the counts say.

    A group whose rows would lie on both sides of a cut stays whole in the split where it begins.
    """
    ordered = sorted(groups, key=lambda group: split_key(seed, group))
    by_row = [name for name, count in zip(names, split_counts(len(ordered), fractions)) for _ in range(count)]
    return {group: by_row[ordered.index(group)] for group in ordered}


@given(
    classes=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=25), min_size=1, max_size=4),
    percent=PERCENT,
    seed=st.integers(0, 1000),
)
def test_the_rule_is_the_sorted_list_cut_in_parts(classes, percent, seed):
    """Deciding row by row, with boundaries alone, gives what sorting all rows of a class and cutting gives."""
    names = ["train", "a", "b", "c"][: len(percent)]
    fractions = [part / 100 for part in percent]
    groups = {
        f"class {c}": [f"{c}/{g}" for g, size in enumerate(sizes) for _ in range(size)]
        for c, sizes in enumerate(classes)
    }
    keys = {label: np.array([split_key(seed, group) for group in members]) for label, members in groups.items()}

    rule = rule_from_keys(names, fractions, seed, keys)

    for label, members in groups.items():
        found = {group: rule.split_of(label, group) for group in members}
        assert found == oracle(members, seed, names, fractions)
        assert "train" in found.values()


@given(rows=st.integers(1, 300), percent=PERCENT, seed=st.integers(0, 100))
def test_the_split_is_stratified_to_the_row(rows, percent, seed):
    """Where each row is its own group, each split has exactly its share of the class."""
    names, fractions = ["train", "a", "b", "c"][: len(percent)], [part / 100 for part in percent]
    ids = [f"{i}.png" for i in range(rows)]
    rule = rule_from_keys(names, fractions, seed, {"x": np.array([split_key(seed, name) for name in ids])})

    counts = Counter(rule.split_of("x", name) for name in ids)

    assert [counts[name] for name in names] == split_counts(rows, fractions)


def test_pictures_of_one_product_are_never_in_two_splits():
    """Of 500 products with one to four pictures, none is divided, and the shares are kept within a product's size."""
    groups = [f"product {i}" for i in range(500) for _ in range(1 + i % 4)]
    rule = rule_from_keys(["train", "test"], [0.8, 0.2], 1, {"x": np.array([split_key(1, group) for group in groups])})
    splits = defaultdict(set)
    for group in groups:
        splits[group].add(rule.split_of("x", group))

    counts = Counter(rule.split_of("x", group) for group in groups)

    assert all(len(found) == 1 for found in splits.values())
    assert 0 <= counts["train"] - 0.8 * len(groups) <= 4


@pytest.mark.parametrize("pictures", [1, 2, 3, 4, 10])
def test_a_class_with_one_product_goes_to_train(pictures):
    """However many pictures the only product of a class has, all are for training: no network learns without."""
    keys = np.array([split_key(3, "only")] * pictures)

    rule = SplitRule(("train", "test"), 3, {"x": boundaries_of(keys, [0.8, 0.2])})

    assert rule.split_of("x", "only") == "train"


@pytest.mark.parametrize("text", ["train=0.8,test=0.2", "test=0.2,train=0.8"])
def test_a_class_with_one_row_goes_to_train(text):
    """A single row is for training, in whatever order the splits are named."""
    fractions = parse_fractions(text)
    keys = {f"class {i}": np.array([split_key(5, f"{i}")]) for i in range(20)}

    rule = rule_from_keys(fractions, list(fractions.values()), 5, keys)

    assert {rule.split_of(f"class {i}", f"{i}") for i in range(20)} == {"train"}


def test_another_seed_gives_another_split():
    """The seed decides which rows are for training; the same seed decides the same."""
    ids = [str(i) for i in range(200)]

    def train(seed: int) -> set[str]:
        rule = rule_from_keys(["train", "test"], [0.5, 0.5], seed, {"x": np.array([split_key(seed, i) for i in ids])})
        return {i for i in ids if rule.split_of("x", i) == "train"}

    assert train(1) == train(1)
    # Two independent halves of 200 share 50 rows, give or take 7 (hypergeometric): 80 are beyond any chance.
    assert 20 < len(train(1) & train(2)) < 80


# -- the same on any number of tasks --------------------------------------------------------------------------------


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2**60 - 1)), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_the_index_does_not_depend_on_the_partitioning(rows, cuts, order):
    """The rows in one batch, or cut anywhere into batches that come in any order: counts and boundaries are equal."""
    fractions = [0.7, 0.2, 0.1]
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [rows[a:b] for a, b in pairwise(edges)]
    order.shuffle(parts)

    whole = class_index([batch_of(rows)], fractions)
    shared = class_index([batch_of(part) for part in parts], fractions)

    assert dict(shared.counts) == dict(whole.counts) == Counter(label for label, _ in rows)
    assert dict(shared.boundaries) == dict(whole.boundaries)
    assert dict(whole.boundaries) == {
        label: boundaries_of(np.array([key for name, key in rows if name == label]), fractions)
        for label in whole.counts
    }


def batch_of(rows: list[tuple[str, int]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([label for label, _ in rows], pa.string()), pa.array([key for _, key in rows], pa.int64())],
        names=["label", "key"],
    )


# -- what a user may write ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "fractions"),
    [
        ("train=0.8,test=0.2", {"train": 0.8, "test": 0.2}),
        (" train = 0.8 , test=.2", {"train": 0.8, "test": 0.2}),
        ("train=1", {"train": 1.0}),
        ({"train": 0.5, "validation": 0.25, "test": 0.25}, {"train": 0.5, "validation": 0.25, "test": 0.25}),
    ],
)
def test_fractions_are_read(given_, fractions):
    """Text or a mapping, with or without blanks."""
    assert parse_fractions(given_) == fractions


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ("", "must look like train=0.8,test=0.2"),
        ("train", "must look like"),
        ("train=a,test=b", "must look like"),
        ({"train": None}, "must look like"),
        ("train=0.8,test=0.3", "must add up to 1, got 1.1"),
        ("train=0.8", "must add up to 1, got 0.8"),
        ("test=0.5,validation=0.5", "needs a part named train"),
        ("train=1,test=0", "fraction above 0 and at most 1, got 0"),
        ("train=1.5,test=-0.5", "fraction above 0 and at most 1"),
        ("train=nan,test=1", "fraction above 0"),
        ("train=0.5,../x=0.5", "must have a plain name"),
        ("train=0.5,a/b=0.5", "must have a plain name"),
        ("train=0.5,=0.5", "must have a plain name"),
        ("train=0.8,quarantine=0.2", "must have a plain name"),
    ],
)
def test_wrong_fractions_are_refused(given_, message):
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        parse_fractions(given_)
