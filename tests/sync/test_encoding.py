"""Messages of threshold compression: what is encoded is decoded, in both encodings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from firesteel.sync.encoding import BITMAP, SPARSE, Message, add_decoded, encode, encode_bitmap, encode_sparse

# Multiples of 1/8: all sums here are exact.
VALUES = st.lists(st.integers(-40, 40).map(lambda value: value / 8), min_size=0, max_size=200)
THRESHOLDS = st.integers(1, 24).map(lambda value: value / 8)


def signs(values: Tensor, threshold: float) -> Tensor:
    """The definition, by comparison of each element."""
    return torch.tensor([float(v >= threshold) - float(v <= -threshold) for v in values.tolist()])


def decoded(message: Message, size: int) -> Tensor:
    target = torch.zeros(size)
    add_decoded(target, message, 1.0)
    return target


@given(VALUES, THRESHOLDS)
def test_both_encodings_hold_the_signs_of_what_reaches_the_threshold(numbers: list[float], threshold: float) -> None:
    values = torch.tensor(numbers)
    hits = (values.abs() >= threshold).nonzero().flatten()
    sparse, bitmap = encode_sparse(values, hits), encode_bitmap(values, threshold, len(hits))
    for message in (sparse, bitmap, encode(values, threshold)):
        assert torch.equal(decoded(message, len(values)), signs(values, threshold))
        assert message.count == len(hits)
    assert len(sparse.data) == 2 * len(hits)
    assert len(bitmap.data) == -(-len(values) // 4)


@given(VALUES, THRESHOLDS)
def test_the_smaller_encoding_is_taken(numbers: list[float], threshold: float) -> None:
    values = torch.tensor(numbers)
    message = encode(values, threshold)
    assert len(message.data) <= min(2 * message.count, -(-len(values) // 4))


@given(VALUES, THRESHOLDS)
def test_what_is_sent_and_what_stays_is_what_was_there(numbers: list[float], threshold: float) -> None:
    values = torch.tensor(numbers)
    message = encode(values, threshold)
    residual, sent = values.clone(), torch.zeros_like(values)
    add_decoded(residual, message, -threshold)
    add_decoded(sent, message, threshold)
    assert torch.equal(sent + residual, values)
    assert set(sent.tolist()) <= {0.0, threshold, -threshold}


@pytest.mark.parametrize(("sent", "encoding"), [(0, SPARSE), (7, SPARSE), (8, BITMAP), (64, BITMAP)])
def test_an_eighth_of_the_elements_makes_it_a_bitmap(sent: int, encoding: int) -> None:
    values = torch.zeros(64)
    values[:sent] = -1.0
    assert encode(values, 0.5).encoding == encoding


def test_bytes_on_the_wire() -> None:
    """As the documentation says: gaps with the sign; 2 bits, the first in the lowest."""
    values = torch.zeros(100)
    values[0], values[99] = 1.0, -1.0
    assert encode(values, 1.0).data.view(torch.int16).tolist() == [1, -99]
    bitmap = encode(torch.tensor([1.0, -1.0, 0.0, 1.0, -1.0]), 1.0)
    assert bitmap.data.tolist() == [0b01_00_10_01, 0b00_00_00_10]


@given(
    st.sets(
        st.sampled_from([near + far for near in (32766, 32767, 32768, 65533, 65534, 65535) for far in (0, 1, 98302)])
    )
)
def test_gaps_longer_than_two_bytes_can_say_are_bridged(indices: set[int]) -> None:
    values = torch.zeros(300_000)
    values[sorted(indices)] = torch.tensor([(-1.0) ** index for index in sorted(indices)])
    message = encode_sparse(values, values.nonzero().flatten())
    assert torch.equal(decoded(message, len(values)), values)
    assert message.data.view(torch.int16).count_nonzero() == len(indices)
