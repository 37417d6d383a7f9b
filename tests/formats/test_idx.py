"""Idx files: the values that numpy wrote come back, and a damaged file says so instead of giving wrong ones."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from firesteel.errors import FormatError
from firesteel.formats import idx
from firesteel.formats.idx import Header
from tests.conftest import real_data

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
"""Type bytes of the format's description."""


def idx_bytes(array: np.ndarray) -> bytes:
    """An idx file as its description demands: two zero bytes, type, dimensions, big-endian values in C order."""
    head = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_all(data: bytes, start: int = 0, stop: int | None = None, block_rows: int = 1024) -> np.ndarray:
    with idx.opened(io.BytesIO(data)) as stream:
        header = idx.read_header(stream)
        stop = header.rows if stop is None else stop
        blocks = list(idx.read_rows(stream, header, start=start, stop=stop, block_rows=block_rows))
    return np.concatenate([np.zeros((0, *header.shape[1:]), header.dtype), *blocks])


def peak_bytes_of(action) -> int:
    """Most bytes that Python held at once while the action ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ANY_ARRAY = st.sampled_from(sorted(CODES)).flatmap(
    lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


# -- sound files ----------------------------------------------------------------------------------------------------


@given(array=ANY_ARRAY, compressed=st.booleans(), block_rows=st.integers(1, 6), data=st.data())
def test_any_rows_of_any_array_come_back(array, compressed, block_rows, data):
    """Whatever the type and shape, rows start to stop are numpy's array[start:stop], compressed or not."""
    file = gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array)
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))

    rows = read_all(file, start, stop, block_rows)

    assert rows.dtype == array.dtype
    np.testing.assert_array_equal(rows, array[start:stop])


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_the_header_of_each_type_is_read(name, compressed):
    """Type, shape and the place of the first value follow from the first bytes, for each of the six types."""
    data = idx_bytes(np.ones((3, 5, 7), name))

    with idx.opened(io.BytesIO(gzip.compress(data) if compressed else data)) as stream:
        header = idx.read_header(stream)

    assert header == Header(np.dtype(name), (3, 5, 7), 16)
    assert (header.rows, header.row_bytes) == (3, 35 * np.dtype(name).itemsize)
    assert header.dtype.isnative


def test_blocks_hold_as_many_rows_as_asked():
    """Ten rows in blocks of four come as four, four and two."""
    data = idx_bytes(np.arange(20, dtype=np.int32).reshape(10, 2))
    stream = io.BytesIO(data)

    blocks = list(idx.read_rows(stream, idx.read_header(stream), start=0, stop=10, block_rows=4))

    assert [len(block) for block in blocks] == [4, 4, 2]


def test_mnist_is_what_its_authors_published():
    """The MNIST test set: 10,000 pictures of 28x28 with labels that begin 7 2 1 0 4 and mean brightness 0.1325."""
    folder = real_data("mnist")
    images = read_all((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = read_all((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())

    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.mean() / 255 == pytest.approx(0.1325, abs=1e-4)


# -- damaged files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG", b"\0\0\x0a\x01", b"\0\0\x08\x00", b"\0\0\x08\x09" + bytes(36), b"\x01\0\x08\x01", b"{ }\n"],
    ids=["png", "unknown type", "no dimension", "nine dimensions", "bad magic", "text"],
)
def test_what_is_no_idx_file_is_refused(data):
    """The message shows the first bytes and says what an idx file begins with."""
    with pytest.raises(FormatError, match=f"it begins with {data[:4].hex(' ')}.*an idx file begins with 00 00"):
        idx.read_header(io.BytesIO(data))


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_header_or_a_format_error(data):
    """Random bytes never raise anything but FormatError, as a file or behind a gzip header."""
    for file in (data, b"\x1f\x8b" + data, b"\0\0\x08\x02" + data):
        try:
            rows = read_all(file, 0, 1)
        except FormatError:
            continue
        assert len(rows) == 1


@given(
    array=ANY_ARRAY.filter(lambda array: array.size > 0),
    kept=st.floats(0, 1, exclude_max=True),
    compressed=st.booleans(),
)
def test_a_cut_file_says_that_it_is_cut(array, kept, compressed):
    """A file cut anywhere raises FormatError that says which part is missing; no value is made up."""
    data = gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array)

    with pytest.raises(FormatError, match=r"idx file (is cut|is damaged|ends before)"):
        read_all(data[: int(kept * len(data))])


def test_the_message_of_a_cut_file_names_the_rows():
    """Of a file of 100 rows of 4 bytes, of which 250 bytes are there, the message says so."""
    data = idx_bytes(np.zeros((100, 4), np.uint8))[: 12 + 250]

    with pytest.raises(
        FormatError, match=r"rows 50 to 100 of 100 needs 200 bytes, 50 are there\. Fetch the file again"
    ):
        read_all(data, 50, 100)


@pytest.mark.parametrize("flip", [1, 16, 255])
def test_a_damaged_gzip_file_never_gives_wrong_values(flip):
    """A flipped byte, wherever it is in a gzip file, raises FormatError, or is one that does not matter."""
    array = np.random.default_rng(0).integers(0, 3, (50, 6, 6)).astype(np.uint8)
    sound = gzip.compress(idx_bytes(array))

    found = 0
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= flip
        try:
            rows = read_all(bytes(damaged))
        except FormatError:
            found += 1
        else:
            np.testing.assert_array_equal(rows, array)
    assert found > len(sound) - 10  # the rest is the time stamp and the like in the header of gzip


def test_a_file_longer_than_its_header_says_is_damaged():
    """Bytes after the last row mean that the dimensions are wrong; whoever reads the last row is told."""
    data = idx_bytes(np.zeros((4, 3), np.uint8)) + b"\0"

    assert read_all(data, 0, 3).shape == (3, 3)
    with pytest.raises(FormatError, match="goes on after the 4 rows"):
        read_all(data)


@pytest.mark.parametrize(
    "shape", [(-1,), (3, -1), (-2, -3), (10, 2**31 - 1), (1, 2**31 - 1, 2**31 - 1), (2, *[2**31 - 1] * 7)], ids=str
)
def test_a_header_with_impossible_dimensions_is_refused(shape):
    """Negative dimensions, and rows of more than a gigabyte, are refused; the message shows the dimensions."""
    data = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}i", *shape)

    with pytest.raises(FormatError, match=r"its dimensions are \("):
        idx.read_header(io.BytesIO(data))


@pytest.mark.parametrize("shape", [(2**31 - 1, 1000, 1000), (2**31 - 1, 1), (1, 1 << 30), (1024, 1 << 20)], ids=str)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_announced_rows_that_are_not_there_cost_no_memory(shape, compressed, tmp_path):
    """A short file that announces gigabytes is told to be cut, with less than 64 MB held meanwhile."""
    data = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}i", *shape) + bytes(1000)
    (tmp_path / "file").write_bytes(gzip.compress(data) if compressed else data)

    def attempt():
        with (tmp_path / "file").open("rb") as file, idx.opened(file) as stream:
            header = idx.read_header(stream)
            with pytest.raises(FormatError, match="is cut"):
                list(idx.read_rows(stream, header, start=0, stop=header.rows))

    assert peak_bytes_of(attempt) < 64 << 20


def test_large_rows_come_in_small_blocks():
    """Rows of 4 MB are not gathered by the thousand: reading 40 of them holds less than 64 MB at a time."""
    data = bytes([0, 0, 8, 2]) + struct.pack(">2i", 40, 4 << 20) + bytes(40 * (4 << 20))
    stream = io.BytesIO(data)
    header = idx.read_header(stream)

    def read_through():
        assert sum(len(block) for block in idx.read_rows(stream, header, start=0, stop=40)) == 40

    assert peak_bytes_of(read_through) < 64 << 20
