"""Shards: rows come back as they were written, in any slice, and a damaged file never gives wrong ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from firesteel.data import shards
from firesteel.data.manifest import Feature, Shard
from firesteel.data.shards import ShardWriter, WrittenShard, read_ids, read_slice, write_quarantine
from firesteel.errors import DatasetError
from firesteel.storage import Place
from tests.conftest import picture

RAW = Feature(dtype="uint8", shape=(1, 2, 3))
JPEG = Feature(dtype="uint8", shape=(3, 10, 12), encoding="jpeg")


def array_of(number: int) -> np.ndarray:
    """The features of row ``number``: no two rows are equal."""
    return np.frombuffer(number.to_bytes(6, "big"), np.uint8).reshape(1, 2, 3)


def write(folder: Path | str, rows: int, *, shard_bytes: int = 1 << 20, seed: int = 0) -> list[WrittenShard]:
    """Rows 0, 1, ... of class ``number % 3``, each named by its number."""
    writer = ShardWriter(Place.of(folder), "train", RAW, shard_bytes=shard_bytes, name="part-0", seed=seed)
    for number in range(rows):
        writer.add(f"row {number}", number % 3, array_of(number))
    return writer.close()


def read(
    folder: Path | str, shard: Shard, start: int = 0, stop: int | None = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(ids, features, labels) of a slice of a shard of RAW rows."""
    place, stop = Place.of(folder), shard.rows if stop is None else stop
    blocks = list(read_slice(place, shard, RAW, start, stop))
    features = np.concatenate([np.zeros((0, *RAW.shape), np.uint8), *(block for block, _ in blocks)])
    labels = np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in blocks)])
    return read_ids(place, shard, start, stop), features, labels


# -- what comes back ------------------------------------------------------------------------------------------------


def test_a_row_keeps_its_parts_together(tmp_path):
    """Rows are mixed, but id, label and features of one row stay one row, and none is lost or doubled."""
    (written,) = write(tmp_path, 1000)

    ids, features, labels = read(tmp_path, written.shard)

    numbers = [int(name.removeprefix("row ")) for name in ids]
    assert sorted(numbers) == list(range(1000))
    assert numbers != list(range(1000))
    assert labels.tolist() == [number % 3 for number in numbers]
    np.testing.assert_array_equal(features, [array_of(number) for number in numbers])
    assert (labels.dtype, features.dtype) == (np.int64, np.uint8)


def test_a_shard_is_mixed_throughout(tmp_path):
    """A source sorted by class: each tenth of the shard holds about a third of each class."""
    writer = ShardWriter(Place.of(tmp_path), "train", RAW, shard_bytes=1 << 20, name="a", seed=1)
    for number in range(3000):
        writer.add(str(number), number // 1000, array_of(number))
    (written,) = writer.close()

    for start in range(0, 3000, 300):
        _, _, labels = read(tmp_path, written.shard, start, start + 300)
        # 100 of each expected, standard deviation below 8.2: 60 to 140 is beyond any chance.
        assert all(60 < count < 140 for count in np.bincount(labels, minlength=3))


def test_the_seed_fixes_the_mixing(tmp_path):
    """The same rows with the same seed give the same bytes, with another seed another order."""
    first, again, other = (write(tmp_path / str(i), 50, seed=seed)[0].shard for i, seed in enumerate((1, 1, 2)))

    assert first == again
    assert (tmp_path / "0" / first.path).read_bytes() == (tmp_path / "1" / first.path).read_bytes()
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("group_bytes", [6, 60, 1 << 20])
def test_any_slice_is_that_part_of_the_whole(group_bytes, tmp_path, monkeypatch):
    """Rows start to stop are those of the whole shard, however the file is grouped inside."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", group_bytes)
    (written,) = write(tmp_path, 23)
    ids, features, labels = read(tmp_path, written.shard)

    for start in range(24):
        for stop in range(start, 24):
            part = read(tmp_path, written.shard, start, stop)
            assert part[0] == ids[start:stop]
            np.testing.assert_array_equal(part[1], features[start:stop])
            np.testing.assert_array_equal(part[2], labels[start:stop])


@given(rows=st.integers(0, 60), per_shard=st.integers(1, 20))
def test_a_shard_is_written_when_it_is_full(rows, per_shard):
    """All shards but the last hold as many rows as fit the size; together they hold every row and class count."""
    folder = f"memory://shards-{rows}-{per_shard}"

    written = write(folder, rows, shard_bytes=per_shard * 6)

    assert [w.shard.rows for w in written] == [per_shard] * (rows // per_shard) + [rows % per_shard] * bool(
        rows % per_shard
    )
    assert sorted(name for w in written for name in read(folder, w.shard)[0]) == sorted(f"row {i}" for i in range(rows))
    for w in written:
        labels = read(folder, w.shard)[2]
        assert w.rows_per_class == {label: int(count) for label, count in enumerate(np.bincount(labels)) if count}
    Place.of(folder).delete()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_arrays_of_any_type_come_back_bit_by_bit(dtype, tmp_path):
    """Values are stored as they are, not a number among them."""
    values = np.random.default_rng(0).integers(0, 256, (40, 3 * 5 * np.dtype(dtype).itemsize)).astype(np.uint8)
    values = values.view(dtype).reshape(40, 3, 5)
    feature = Feature(dtype=dtype, shape=(3, 5), kind="array")
    writer = ShardWriter(Place.of(tmp_path), "test", feature, shard_bytes=1 << 20, name="a", seed=0)
    for number, row in enumerate(values):
        writer.add(str(number), 0, row)
    (written,) = writer.close()

    ((features, _),) = read_slice(Place.of(tmp_path), written.shard, feature, 0, 40)

    order = [int(name) for name in read_ids(Place.of(tmp_path), written.shard, 0, 40)]
    assert features.tobytes() == values[order].tobytes()
    assert features.dtype == dtype


def test_encoded_pictures_come_back_as_they_are(tmp_path):
    """With encoding jpeg, a row's features are its encoded bytes, of any length."""
    encoded = [picture(10 * number, seed=number) for number in range(9)]
    writer = ShardWriter(Place.of(tmp_path), "train", JPEG, shard_bytes=1 << 20, name="a", seed=0)
    for number, data in enumerate(encoded):
        writer.add(str(number), number, data)
    (written,) = writer.close()

    found = [
        (label, data)
        for block, labels in read_slice(Place.of(tmp_path), written.shard, JPEG, 2, 8)
        for label, data in zip(labels, block)
    ]

    assert len(found) == 6
    assert all(data == encoded[label] for label, data in found)


def test_the_manifest_entry_is_what_lies_on_the_disk(tmp_path):
    """Path, rows, size and SHA-256 are those of the file, which any Parquet reader reads."""
    (written,) = write(tmp_path, 30)
    path = tmp_path / written.shard.path

    assert written.shard.path == "train/part-0-0000.parquet"
    assert path.stat().st_size == written.shard.bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == written.shard.sha256
    assert pq.read_table(path).num_rows == written.shard.rows == 30
    assert pq.read_schema(path).names == ["id", "label", "features"]


def test_shards_lie_on_any_file_system(tmp_path):
    """Written and read through fsspec, rows are the same; a shard that is gone is missing there too."""
    local, remote = tmp_path, f"memory://{tmp_path.name}"
    on_disk, in_memory = write(local, 40)[0].shard, write(remote, 40)[0].shard

    assert in_memory == on_disk
    for found, expected in zip(read(remote, in_memory, 5, 31), read(local, on_disk, 5, 31), strict=True):
        np.testing.assert_array_equal(found, expected)
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)
    with pytest.raises(DatasetError, match="is missing, though the manifest names it"):
        read(remote, in_memory)


def test_quarantined_records_can_be_looked_at(tmp_path):
    """Place, reason and first bytes of each are in a Parquet file."""
    entries = [
        {"place": "a/é", "reason": "no picture", "head": b"\0\xff"},
        {"place": "b", "reason": "cut", "head": b""},
    ]

    shard = write_quarantine(Place.of(tmp_path), "part-1", entries)

    assert (shard.path, shard.rows) == ("quarantine/part-1.parquet", 2)
    assert pq.read_table(tmp_path / shard.path).to_pylist() == entries


# -- what does not --------------------------------------------------------------------------------------------------


def test_a_missing_shard_is_said(tmp_path):
    """The message names the file and what to do."""
    (written,) = write(tmp_path, 5)
    (tmp_path / written.shard.path).unlink()

    with pytest.raises(DatasetError, match=r"part-0-0000.parquet is missing, .*Prepare the dataset again"):
        read(tmp_path, written.shard)


@pytest.mark.parametrize("size", [0, 3, 100, -1], ids=["empty", "three bytes", "cut", "one byte short"])
def test_a_shard_of_another_size_is_said(size, tmp_path):
    """The message names both sizes."""
    (written,) = write(tmp_path, 5)
    path = tmp_path / written.shard.path
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(DatasetError, match=f"has {path.stat().st_size} bytes, its manifest says {written.shard.bytes}"):
        read(tmp_path, written.shard)


@pytest.mark.parametrize(("where", "flip"), [("disk", 0xFF), ("memory", 0xFF), ("memory", 0x01), ("memory", 0x80)])
def test_a_flipped_byte_never_gives_wrong_rows(where, flip, tmp_path):
    """Whichever byte of a shard is damaged, the rows are either right or refused with a DatasetError."""
    (written,) = write(tmp_path, 12)
    expected = read(tmp_path, written.shard)
    sound = (tmp_path / written.shard.path).read_bytes()
    place = Place.of(f"memory://{tmp_path.name}" if where == "memory" else tmp_path)

    def damage(data: bytes) -> None:
        if where == "memory":
            fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/{written.shard.path}", data)
        else:  # aside and moved: earlier rows may still be mapped from the old file
            (tmp_path / "aside").write_bytes(data)
            os.replace(tmp_path / "aside", tmp_path / written.shard.path)

    refused = 0
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= flip
        damage(bytes(damaged))
        try:
            found = read(place.uri, written.shard)
        except DatasetError:
            refused += 1
            continue
        for part, whole in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, whole)
    assert refused > len(sound) / 2
    place.delete()


def test_another_file_of_the_same_size_is_refused(tmp_path):
    """A Parquet file of other columns or with fewer rows than the manifest says is not read as if it were the shard."""
    (written,) = write(tmp_path, 12)
    path = tmp_path / written.shard.path
    table = pq.read_table(path)

    for other in (table.rename_columns(["id", "label", "pixels"]), table.slice(0, 5)):
        pq.write_table(other, path)
        shard = written.shard.model_copy(update={"bytes": path.stat().st_size})
        with pytest.raises(DatasetError, match="Prepare the dataset again"):
            read(tmp_path, shard)


@pytest.mark.parametrize("path", ["../secret.parquet", "/etc/passwd", "train/../../x", "", ".."])
def test_a_path_that_leaves_the_dataset_is_refused(path):
    """A manifest cannot name a file outside of its folder."""
    with pytest.raises(ValidationError, match="leaves the dataset"):
        Shard(path=path, rows=1, bytes=1, sha256="")
