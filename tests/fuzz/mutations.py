"""Damage: what happens to files on the way, and what somebody does to them on purpose."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

_HUGE = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_LAYOUTS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")


def mutate(data: bytes, generator: random.Random) -> bytes:
    """One to six damages of random kinds; the same for the same state of the generator."""
    damaged = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        generator.choice(_KINDS)(damaged, generator)
    if generator.random() < 0.3:
        _mend_tar_checksums(damaged)
    return bytes(damaged)


def _place(data: bytearray, generator: random.Random) -> int:
    """Anywhere, but most often where headers are: at the beginning or the end."""
    if not data:
        return 0
    where = generator.random()
    near = min(len(data), 600)
    if where < 0.4:
        return generator.randrange(near)
    return generator.randrange(len(data)) if where < 0.8 else len(data) - 1 - generator.randrange(near)


def _flip(data: bytearray, generator: random.Random) -> None:
    if data:
        data[_place(data, generator)] ^= 1 << generator.randrange(8)


def _overwrite(data: bytearray, generator: random.Random) -> None:
    place = _place(data, generator)
    data[place : place + 64] = generator.randbytes(min(generator.randrange(1, 64), max(0, len(data) - place)))


def _cut(data: bytearray, generator: random.Random) -> None:
    del data[_place(data, generator) :]


def _remove(data: bytearray, generator: random.Random) -> None:
    place = _place(data, generator)
    del data[place : place + generator.randrange(1, 700)]


def _insert(data: bytearray, generator: random.Random) -> None:
    place = _place(data, generator)
    data[place:place] = generator.randbytes(generator.randrange(1, 700))


def _repeat(data: bytearray, generator: random.Random) -> None:
    place = _place(data, generator)
    data[place:place] = data[place : place + generator.randrange(1, 2000)]


def _zero(data: bytearray, generator: random.Random) -> None:
    place = _place(data, generator)
    count = min(generator.randrange(1, 600), len(data) - place)
    data[place : place + count] = bytes(count)


def _number(data: bytearray, generator: random.Random) -> None:
    """A length, a size or an offset becomes huge, negative or nothing."""
    layout, value = generator.choice(_LAYOUTS), generator.choice(_HUGE)
    width = struct.calcsize(layout)
    if len(data) >= width:
        place = min(_place(data, generator), len(data) - width)
        struct.pack_into(layout, data, place, value & ((1 << 8 * width) - 1))


def _swap(data: bytearray, generator: random.Random) -> None:
    """Two numbers change places, as lengths of two records do."""
    first, second = _place(data, generator), _place(data, generator)
    if max(first, second) + 4 <= len(data) and abs(first - second) >= 4:
        data[first : first + 4], data[second : second + 4] = data[second : second + 4], data[first : first + 4]


def _octal(data: bytearray, generator: random.Random) -> None:
    """The size in a tar header, in its own way of writing numbers."""
    if len(data) >= 512:
        header = 512 * generator.randrange(len(data) // 512)
        value = generator.choice(
            (b"77777777777\0", b"00000000000\0", b"00000001000\0", b"\x80" + b"\0" * 7 + b"\xff" * 4, b"-1 \0" * 3)
        )
        data[header + 124 : header + 136] = value
        if generator.random() < 0.5:
            data[header + 156] = generator.choice(b"0123456LKSxgXDV")


def _mend_tar_checksums(data: bytearray) -> None:
    """So that what was done to a header of a tar is believed."""
    for header in range(0, len(data) - 511, 512):
        if data[header + 257 : header + 262] == b"ustar":
            total = 256 + sum(data[header : header + 148]) + sum(data[header + 156 : header + 512])
            data[header + 148 : header + 156] = b"%06o\0 " % total


_KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _overwrite, _cut, _remove, _insert, _repeat, _zero, _number, _swap, _octal,
)  # fmt: skip
