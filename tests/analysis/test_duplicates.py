"""Duplicates: what is found, what is not, and that the passes find what comparing all pairs would."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from firesteel.analysis.duplicates import (
    NEAR_BITS,
    NEAR_CORRELATION,
    difference_hashes,
    find_duplicates,
    near_groups,
)


def grid(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BILINEAR))


def scene(seed: int) -> Image.Image:
    """A smooth random picture of 120 x 90."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)


def reencoded(image: Image.Image, **options: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return Image.open(out)


def test_bits_say_whether_a_pixel_is_darker_than_its_neighbour() -> None:
    ramp = np.tile(np.arange(9, dtype=np.uint8), (9, 1))
    hashes = difference_hashes(np.stack([ramp, ramp.T]))
    assert hashes[0].tolist() == [255] * 8 + [0] * 8
    assert hashes[1].tolist() == [0] * 8 + [255] * 8


def test_copies_that_were_changed_a_little_are_found_and_other_pictures_are_not() -> None:
    first = scene(0)
    copies = [first, reencoded(first, quality=30), first.resize((60, 45)), first.point(lambda value: value * 0.9)]
    others = [scene(seed) for seed in range(1, 200)]
    grids = np.stack([grid(image) for image in [*copies, *others]])
    found = find_duplicates(np.arange(len(grids), dtype=np.uint64), grids)
    assert found.exact == []
    assert [group.members for group in found.near] == [(0, 1, 2, 3)]
    assert found.near[0].distance is not None
    assert found.near[0].distance <= NEAR_BITS


def test_the_same_bytes_are_exact_and_come_with_their_near_ones() -> None:
    first = scene(0)
    grids = np.stack([grid(first), grid(scene(1)), grid(first), grid(reencoded(first, quality=40))])
    found = find_duplicates(np.array([7, 8, 7, 9], np.uint64), grids)
    assert [group.members for group in found.exact] == [(0, 2)]
    assert [group.members for group in found.near] == [(0, 2, 3)]


def test_pictures_of_one_colour_are_compared_by_their_bytes_only() -> None:
    grids = np.stack([np.full((9, 9), value, np.uint8) for value in (0, 255, 255)])
    found = find_duplicates(np.array([1, 2, 2], np.uint64), grids)
    assert (found.flat, found.near) == (3, [])
    assert [group.members for group in found.exact] == [(1, 2)]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_picture_have_no_duplicates(count: int) -> None:
    found = find_duplicates(np.zeros(count, np.uint64), np.zeros((count, 9, 9), np.uint8))
    assert (found.exact, found.near) == ([], [])


def test_no_pair_within_the_threshold_is_missed() -> None:
    """Against all pairs: pictures with 0 to 12 bits of their hashes changed."""
    generator = np.random.default_rng(3)
    bases = [np.asarray(grid(scene(seed)), np.int64) for seed in range(40)]
    grids = []
    for base in bases:
        noises = (generator.integers(-strength, strength + 1, (9, 9)) for strength in range(4))
        grids += [(base + noise).clip(0, 255) for noise in noises]
    stack = np.stack(grids).astype(np.uint8)
    bits = np.unpackbits(difference_hashes(stack), axis=1)
    flat = stack.reshape(len(stack), -1)
    expected = set()
    for a, b in combinations(range(len(stack)), 2):
        if (bits[a] != bits[b]).sum() <= NEAR_BITS and np.corrcoef(flat[a], flat[b])[0, 1] >= NEAR_CORRELATION:
            expected.add((a, b))
    together = {pair for members, _ in near_groups(stack) for pair in combinations(members, 2)}
    assert len(expected) > 40
    assert expected <= together


def test_a_thousand_equal_hashes_are_one_group() -> None:
    """More than the neighbours that each is compared with: they hang together in a chain."""
    noise = np.random.default_rng(0).integers(0, 2, (1000, 9, 9))
    ramp = np.add.outer(np.arange(9) * 20, np.arange(9) * 8)
    found = near_groups((ramp + noise).astype(np.uint8))
    assert len(found) == 1
    assert len(found[0][0]) == 1000
