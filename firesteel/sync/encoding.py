"""Messages of threshold compression: which elements move by plus or minus one threshold, as few bytes as possible."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SPARSE, BITMAP = 0, 1

_SIGNS = torch.tensor([[(0.0, 1.0, -1.0, 0.0)[byte >> shift & 3] for shift in (0, 2, 4, 6)] for byte in range(256)])
"""Of shape (256, 4): the four signs that a byte of a bitmap stands for. Looking them up takes a tenth of shifting."""


_LONGEST_GAP = 2**15 - 1


@dataclass(frozen=True)
class Message:
    """Signs of the elements that are sent.

    Attributes:
        encoding: SPARSE or BITMAP.
        data: uint8 of shape (bytes,). SPARSE holds int16 numbers, one for each element that is sent: how far its index
            is behind that of the one before (the first counts from -1), negative for a negative sign; before a gap
            of more than 32767 stand zeros, each of which bridges 32767. BITMAP holds 2 bits for each element, the
            first in the lowest bits of the first byte: 0 not sent, 1 positive, 2 negative.
        count: elements that are sent.
    """

    encoding: int
    data: Tensor
    count: int


def encode(values: Tensor, threshold: float) -> Message:
    """The signs of all elements with ``|value| >= threshold``, in the smaller of the two encodings.

    A bitmap takes n/4 bytes whatever it says, so it is smaller from about n/8 elements on.

    Args:
        values: floats of shape (n,). Not changed.
        threshold: above 0, in the unit of the values.
    """
    hits = (values.abs() >= threshold).nonzero().flatten()
    if 8 * len(hits) < len(values):
        sparse = encode_sparse(values, hits)
        if len(sparse.data) <= bitmap_bytes(len(values)):  # a few elements far apart may take more
            return sparse
    return encode_bitmap(values, threshold, len(hits))


def bitmap_bytes(size: int) -> int:
    """Of a bitmap of ``size`` elements."""
    return -(-size // 4)


def encode_sparse(values: Tensor, hits: Tensor) -> Message:
    """The indices ``hits``, int64 of shape (count,) and rising, with the signs of their values."""
    gaps = torch.diff(hits, prepend=hits.new_tensor([-1]))
    bridges = (gaps - 1) // _LONGEST_GAP
    rest = gaps - bridges * _LONGEST_GAP
    last = torch.cumsum(bridges + 1, 0)
    numbers = torch.zeros(int(last[-1]) if len(hits) else 0, dtype=torch.int16, device=values.device)
    numbers[last - 1] = torch.where(values[hits] > 0, rest, -rest).to(torch.int16)
    return Message(SPARSE, numbers.view(torch.uint8), len(hits))


def encode_bitmap(values: Tensor, threshold: float, count: int) -> Message:
    """2 bits an element; ``count`` of them reach the threshold."""
    codes = torch.zeros(bitmap_bytes(len(values)) * 4, dtype=torch.uint8, device=values.device)
    codes[: len(values)] = (values >= threshold).to(torch.uint8).add_(values <= -threshold, alpha=2)
    first, second, third, fourth = codes.view(-1, 4).unbind(1)
    return Message(BITMAP, first | second << 2 | third << 4 | fourth << 6, count)


def add_decoded(target: Tensor, message: Message, step: float) -> None:
    """Add ``step`` to the elements of ``target`` that the message names as positive, take it from the negative ones.

    Args:
        target: floats of shape (n,), changed in place.
        message: of n elements.
        step: usually the threshold of the sender, or minus that.
    """
    if message.encoding == SPARSE:
        numbers = message.data.view(torch.int16)
        gaps = torch.where(numbers == 0, _LONGEST_GAP, numbers.abs()).to(torch.int64)
        # Bridges add nothing to the element that they come to.
        target.index_add_(0, torch.cumsum(gaps, 0) - 1, numbers.sign().to(target.dtype), alpha=step)
        return
    signs = _SIGNS.to(target.device, target.dtype).index_select(0, message.data.to(torch.int32))
    target.add_(signs.flatten()[: len(target)], alpha=step)
