"""BSON dumps: nothing is read twice, nothing is lost but what is damaged, and every byte is accounted for."""

from __future__ import annotations

import io
import struct
from itertools import pairwise
from typing import Any

import bson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firesteel.formats.bson import MAX_DOCUMENT_BYTES, Broken, Chunk, Record, read, split
from tests.conftest import real_data

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | NAMES | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
DUMPED = st.builds(
    lambda number, rest: {"_id": number, **rest}, INT64, DOCUMENTS.map(lambda d: {"doc": d} if d else {})
)
"""Documents as MongoDB writes them: the first field is ``_id``."""


def whole(data: bytes) -> list[Record | Broken]:
    """All items of a dump that is read as one chunk."""
    return list(read(io.BytesIO(data), len(data), Chunk(0, len(data))))


def in_chunks(data: bytes, chunk_bytes: int) -> list[Record | Broken]:
    """All items of a dump that is cut into chunks, each of which is read by itself."""
    chunks = list(split(io.BytesIO(data), len(data), chunk_bytes=chunk_bytes))
    return [item for chunk in chunks for item in read(io.BytesIO(data), len(data), chunk)]


def edges(items: list[Record | Broken], data: bytes) -> list[tuple[int, int]]:
    """Where each item begins and ends in the file."""
    return [
        (item.offset, item.offset + (item.size if isinstance(item, Broken) else _length_at(data, item.offset)))
        for item in items
    ]


def assert_tiles(found: list[tuple[int, int]], size: int) -> None:
    """Regions lie one behind the other, from the first byte to the last, and none is empty."""
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])][: len(found)]
    assert (found[-1][1] if found else 0) == size
    assert all(start < stop for start, stop in found)


def good(items: list[Record | Broken]) -> list[dict[str, Any]]:
    return [item.document for item in items if isinstance(item, Record)]


def broken(items: list[Record | Broken]) -> list[Broken]:
    return [item for item in items if isinstance(item, Broken)]


def records(count: int, *, pad: int = 0) -> list[bytes]:
    """Encoded records ``{_id: 0, imgs: ...}``, ``{_id: 1, ...}``, ... as a dump holds them."""
    return [
        bson.encode({"_id": i, "imgs": [{"picture": bytes([255]) * (pad + i)}], "category_id": 7}) for i in range(count)
    ]


def _length_at(data: bytes, offset: int) -> int:
    return struct.unpack_from("<i", data, offset)[0]


# -- sound dumps ----------------------------------------------------------------------------------------------------


@given(documents=st.lists(DOCUMENTS, max_size=12), chunk_bytes=st.integers(1, 400))
def test_every_record_is_read_exactly_once_in_order(documents, chunk_bytes):
    """However a dump is cut, its chunks together give all documents, as pymongo decodes them, each at its offset."""
    encoded = [bson.encode(document) for document in documents]
    data = b"".join(encoded)

    items = in_chunks(data, chunk_bytes)

    assert good(items) == [bson.decode(part) for part in encoded]
    assert [item.offset for item in items] == [sum(map(len, encoded[:i])) for i in range(len(encoded))]
    assert good(whole(data)) == good(items)


@given(documents=st.lists(DOCUMENTS, max_size=12), chunk_bytes=st.integers(1, 400))
def test_chunks_tile_the_file_and_are_as_large_as_asked(documents, chunk_bytes):
    """Chunks lie one behind the other; each but the last is at least as large as asked, and by one record at most."""
    encoded = [bson.encode(document) for document in documents]
    data = b"".join(encoded)

    chunks = list(split(io.BytesIO(data), len(data), chunk_bytes=chunk_bytes))

    assert_tiles([(chunk.start, chunk.stop) for chunk in chunks], len(data))
    for chunk in chunks[:-1]:
        assert chunk_bytes <= chunk.stop - chunk.start < chunk_bytes + max(map(len, encoded))


def test_an_empty_file_has_no_chunk_and_no_record():
    """Zero bytes are no error: there is nothing to read."""
    assert list(split(io.BytesIO(b""), 0, chunk_bytes=10)) == []
    assert whole(b"") == []


def test_splitting_reads_only_the_lengths_of_large_records():
    """To cut a dump of large records, far less than its bytes are read: the first block, then lengths."""

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    data = b"".join(records(20, pad=2_000_000))
    file = Counting(data)

    chunks = list(split(file, len(data), chunk_bytes=6_000_000))

    assert len(chunks) == 7
    assert file.taken < (1 << 20) + 1000


@pytest.mark.parametrize("damaged", [None, 3, 40])
def test_records_of_all_sizes_are_read_across_what_is_read_ahead(damaged):
    """Records from 1 KB to 2.5 MB, through blocks of 1 MB: each is there, and one that is no document costs itself only."""
    sizes = [1 << 10, 300_000, 1 << 20, 2_500_000, 40_000, 1 << 10] * 8
    encoded = [bson.encode({"_id": i, "text": "a", "pad": bytes(size)}) for i, size in enumerate(sizes)]
    expected = list(range(len(sizes)))
    if damaged is not None:
        encoded[damaged] = encoded[damaged].replace(b"a\0\x05pad", b"\xff\0\x05pad")  # no UTF-8
        expected.remove(damaged)
    data = b"".join(encoded)

    items = whole(data)

    assert [document["_id"] for document in good(items)] == expected
    assert [item.offset for item in broken(items)] == ([] if damaged is None else [sum(map(len, encoded[:damaged]))])
    assert_tiles(edges(items, data), len(data))
    assert in_chunks(data, 1_500_000) == items


def test_the_real_sample_is_read_as_pymongo_reads_it():
    """The 82 product records of the Cdiscount sample, cut into any number of chunks, are those that pymongo decodes."""
    data = (real_data("cdiscount") / "train_example.bson").read_bytes()
    expected = bson.decode_all(data)

    assert len(expected) == 82
    for chunk_bytes in (1, 10_000, 200_000, len(data)):
        assert good(in_chunks(data, chunk_bytes)) == expected


# -- damaged dumps --------------------------------------------------------------------------------------------------


@given(data=st.binary(max_size=300), chunk_bytes=st.integers(1, 100))
@example(data=b"\x05\0\0\0\0" * 3, chunk_bytes=1)
@example(data=b"\x09\0\0\0\x02_id\0" * 4, chunk_bytes=3)
def test_any_bytes_are_accounted_for(data, chunk_bytes):
    """Whatever the bytes are, each lies in exactly one record or broken region, read at once or in chunks."""
    assert_tiles(edges(whole(data), data), len(data))
    assert_tiles(edges(in_chunks(data, chunk_bytes), data), len(data))


@given(
    documents=st.lists(DUMPED, min_size=1, max_size=8),
    at=st.floats(0, 1),
    removed=st.integers(0, 60),
    inserted=st.binary(max_size=60),
    chunk_bytes=st.integers(1, 300),
)
def test_only_what_is_damaged_is_lost(documents, at, removed, inserted, chunk_bytes):
    """Bytes replaced or put in between cost no record that they did not touch; bytes removed at most the one behind."""
    encoded = [bson.encode(document) for document in documents]
    dump = b"".join(encoded)
    start = round(at * len(dump))
    stop = min(start + removed, len(dump))
    damaged = dump[:start] + inserted + dump[stop:]
    # What is left of a record may, with the first bytes of the next one, happen to be a document.
    behind = 1 if stop - start > len(inserted) else 0
    expected = {}
    offset = 0
    for part in encoded:
        if offset + len(part) <= start:
            expected[offset] = bson.decode(part)
        elif offset >= stop:
            if not behind:
                expected[offset + len(damaged) - len(dump)] = bson.decode(part)
            behind = 0
        offset += len(part)

    for items in (whole(damaged), in_chunks(damaged, chunk_bytes)):
        assert_tiles(edges(items, damaged), len(damaged))
        found = {item.offset: item.document for item in items if isinstance(item, Record)}
        assert {place: found.get(place) for place in expected} == expected


@given(documents=st.lists(DUMPED, min_size=1, max_size=6), kept=st.floats(0, 1))
def test_a_cut_file_loses_its_last_record_only(documents, kept):
    """Of a file cut anywhere, all whole records are read; what is left of the next is one broken region."""
    encoded = [bson.encode(document) for document in documents]
    data = b"".join(encoded)[: round(kept * sum(map(len, encoded)))]
    ends = [sum(map(len, encoded[: i + 1])) for i in range(len(encoded))]
    whole_records = sum(end <= len(data) for end in ends)
    rest = len(data) - ([0, *ends][whole_records])

    items = whole(data)

    assert good(items[:whole_records]) == [bson.decode(part) for part in encoded[:whole_records]]
    assert sum(stop - start for start, stop in edges(items[whole_records:], data)) == rest
    if rest:
        assert isinstance(items[whole_records], Broken)


@pytest.mark.parametrize("length", [-1, -(2**31), 0, 1, 4, MAX_DOCUMENT_BYTES + 1, 2**31 - 1])
@pytest.mark.parametrize("which", [0, 2, 4])
def test_a_length_that_cannot_be_costs_one_record(length, which):
    """A length below 5 or above MongoDB's limit is garbage; the next record is found by its ``_id``."""
    parts = records(5)
    parts[which] = struct.pack("<i", length) + parts[which][4:]
    data = b"".join(parts)

    items = whole(data)

    assert [document["_id"] for document in good(items)] == [i for i in range(5) if i != which]
    assert broken(items) == [
        Broken(sum(map(len, parts[:which])), len(parts[which]), broken(items)[0].reason, parts[which][:64])
    ]
    assert str(length) in broken(items)[0].reason


@pytest.mark.parametrize("delta", [-30, -8, -5, -1, 1, 4, 9, 12, 40])
def test_a_plausible_but_wrong_length_costs_one_record(delta):
    """A length off by a few bytes swallows nothing of the next record, also where a zero byte stands at its end."""
    parts = [bson.encode({"_id": i, "a": 0, "b": 0, "c": bytes(30)}) for i in range(5)]
    parts[2] = struct.pack("<i", len(parts[2]) + delta) + parts[2][4:]
    data = b"".join(parts)

    for items in (whole(data), in_chunks(data, 1), in_chunks(data, 200)):
        assert [document["_id"] for document in good(items)] == [0, 1, 3, 4]
        assert [(item.offset, item.size) for item in broken(items)] == [(len(parts[0]) * 2, len(parts[2]))]


@pytest.mark.parametrize("swallowed", [1, 2, 3])
def test_a_length_that_ends_with_another_record_costs_one_record(swallowed):
    """A length that reaches exactly to the end of a later record does not take the records between with it."""
    parts = records(6)
    parts[1] = struct.pack("<i", sum(map(len, parts[1 : 2 + swallowed]))) + parts[1][4:]
    data = b"".join(parts)

    for items in (whole(data), in_chunks(data, 1)):
        assert [document["_id"] for document in good(items)] == [0, 2, 3, 4, 5]
        assert [(item.offset, item.size) for item in broken(items)] == [(len(parts[0]), len(parts[1]))]


def test_documents_within_a_damaged_record_are_not_taken_for_records():
    """A record with a bad field is one broken region, though documents with an ``_id`` lie in it."""
    inner = [{"_id": 10, "name": "a"}, {"_id": 11, "name": "b"}]
    bad = bytearray(bson.encode({"_id": 1, "parts": inner, "end": 5}))
    bad[bad.index(b"\x10end")] = 0x77  # a type that does not exist
    data = bson.encode({"_id": 0}) + bytes(bad) + bson.encode({"_id": 2})

    items = whole(data)

    assert [document["_id"] for document in good(items)] == [0, 2]
    assert [(item.offset, item.size) for item in broken(items)] == [(14, len(bad))]


def test_garbage_between_records_is_one_region():
    """Bytes that are no record are one broken region between the records around them, with their first 64 bytes."""
    parts, garbage = records(2), b"\xff" * 5000
    data = parts[0] + garbage + parts[1]

    items = whole(data)

    assert [type(item) for item in items] == [Record, Broken, Record]
    assert (items[1].offset, items[1].size, items[1].head) == (len(parts[0]), 5000, b"\xff" * 64)


def test_the_next_record_is_found_behind_megabytes_of_garbage():
    """The search goes on window by window, and a record may lie across two windows."""
    record = records(1)[0]
    for garbage in [(1 << 20) - 12, *range((1 << 20) - 10, (1 << 20) + 3), (2 << 20) - 4, 3 << 20]:
        data = record + b"\xff" * garbage + record
        assert [item.offset for item in whole(data) if isinstance(item, Record)] == [0, len(record) + garbage]


@pytest.mark.parametrize(
    "element",
    [
        b"\x02a\0\xff\xff\xff\x7fx\0",  # a string longer than the document
        b"\x05a\0\xff\xff\xff\xff\0",  # binary of negative length
        b"\x02a\0\x02\0\0\0\xff\0",  # not UTF-8
        b"\x09a\0\xff\xff\xff\xff\xff\xff\xff\x7f",  # a date in the year 292 million
        b"\x13a\0" + b"\xff" * 16,  # a decimal that is none
        b"\x0ba\0[\0\0",  # a regular expression that does not compile
        b"\x77a\0",  # an unknown type
        b"\x05a\0\x03\0\0\0\x04abc",  # a UUID of three bytes
        b"\x03a\0" + bson.encode({"$ref": 5, "$id": 6}),  # a reference to a collection that is a number
        b"\x0a",  # a field without a name
    ],
)
def test_odd_values_do_not_stop_the_reader(element):
    """A document with a value that pymongo refuses is one broken region; the documents around it are read."""
    odd = struct.pack("<i", len(element) + 5) + element + b"\0"
    data = records(1)[0] + odd + records(2)[1]

    items = whole(data)

    assert len(items) == 3
    assert (items[0].document["_id"], items[2].document["_id"]) == (0, 1)
    assert isinstance(items[1], Broken) or "a" in items[1].document


@pytest.mark.parametrize("depth", [50, 5000])
def test_deep_nesting_does_not_stop_the_reader(depth):
    """Documents within documents, however deep, are a record or a broken region."""
    nested = b"\x05\0\0\0\0"
    for _ in range(depth):
        nested = struct.pack("<i", len(nested) + 8) + b"\x03a\0" + nested + b"\0"
    data = records(1)[0] + nested + records(2)[1]

    items = whole(data)

    assert len(items) == 3
    assert isinstance(items[1], Record if depth == 50 else Broken)
    assert [document["_id"] for document in good([items[0], items[2]])] == [0, 1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("length", [1000, 1004, 20_004])
def test_a_file_made_of_false_starts_is_read_in_seconds(length):
    """Headers that promise records and hold none are refused one by one, also where a zero byte ends each."""
    header = struct.pack("<i", length) + b"\x02_id\0"
    data = (header + b"\0") * 20_000

    items = whole(data)

    assert_tiles(edges(items, data), len(data))
    assert not good(items)


def test_the_kinds_of_damage_are_told_apart():
    """The reason says whether the file ends too early, the length is garbage, or the document does not decode."""
    parts = records(3)
    cut = whole(b"".join(parts)[:-3])
    bad = bytearray(parts[1])
    bad[4] = 0x77
    undecodable = whole(parts[0] + bytes(bad) + parts[2])
    far = whole(parts[0] + struct.pack("<i", 10**6) + parts[1][4:] + parts[2])

    assert "cut at the end of the file" in broken(cut)[0].reason
    assert "not a BSON document" in broken(undecodable)[0].reason
    assert "garbage length" in broken(far)[0].reason
    assert all(a.offset < b.offset for a, b in pairwise(cut))
