"""A worker's rows: the slices it asked for, one behind the other, in memory or in a scratch file that leaves no trace."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import firesteel
from firesteel.data.cache import available_memory_bytes, load_rows
from firesteel.data.manifest import Dataset
from firesteel.data.order import Slice, lane_slices
from firesteel.data.shards import read_slice
from firesteel.errors import DatasetError, StorageError
from tests.conftest import picture


@pytest.fixture
def opened(idx_folder: Path, tmp_path: Path) -> Dataset:
    """A dataset of several shards: 120 training rows of 64 bytes, 20 rows a shard at most."""
    firesteel.prepare(idx_folder, tmp_path / "dataset", engine="local", workers=1, shard_bytes=20 * 64)
    return Dataset.open(tmp_path / "dataset")


def everything(dataset: Dataset, split: str = "train") -> list[Slice]:
    return [Slice(number, 0, shard.rows) for number, shard in enumerate(dataset.split(split).shards)]


def expected(dataset: Dataset, slices: list[Slice], split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    shards = dataset.split(split).shards
    blocks = [b for s in slices for b in read_slice(dataset.place, shards[s.shard], dataset.feature, s.start, s.stop)]
    return np.concatenate([features for features, _ in blocks]), np.concatenate([labels for _, labels in blocks])


@pytest.mark.parametrize("budget_bytes", [None, 1 << 30, 0], ids=["default", "in memory", "mapped"])
def test_slices_lie_one_behind_the_other(opened, budget_bytes, tmp_path):
    """Whole shards, parts of shards, in any order: rows are those of the shards, in memory or in a mapped file."""
    shard_rows = [shard.rows for shard in opened.split("train").shards]
    assert len(shard_rows) >= 6
    for slices in (everything(opened), [Slice(3, 5, 9), Slice(0, 1, 2), Slice(3, 0, 1)], lane_slices(shard_rows, 3)[1]):
        rows = load_rows(opened, "train", slices, budget_bytes=budget_bytes, scratch=str(tmp_path))
        features, labels = expected(opened, slices)
        np.testing.assert_array_equal(rows.features, features)
        np.testing.assert_array_equal(rows.labels, labels)
        assert rows.in_memory == (budget_bytes != 0)
        assert len(rows) == sum(part.rows for part in slices)
        assert rows.features.dtype == np.uint8


def test_all_rows_of_the_source_are_there(opened, idx_folder):
    """The rows of all shards are the pictures and labels of the idx files, in another order."""
    from firesteel.data.sources import open_source

    source = open_source(idx_folder)
    rows = [row for part in source.partitions(1) for batch in source.read(part) for row in batch.to_pylist()]
    labels = opened.manifest.labels

    for split in ("train", "test"):
        found = load_rows(opened, split, everything(opened, split))
        assert sorted(
            (labels[label], features.tobytes()) for features, label in zip(found.features, found.labels)
        ) == sorted((row["label"], row["data"]) for row in rows if row["split"] == split)


def test_no_slice_is_no_row(opened):
    """A worker without rows gets empty arrays of the right shape, mapped or not."""
    for budget in (0, None):
        rows = load_rows(opened, "test", [], budget_bytes=budget)
        assert (rows.features.shape, rows.labels.shape) == ((0, 1, 8, 8), (0,))


def test_the_budget_decides_where_rows_lie(opened):
    """Exactly the size of the features still fits into memory; a byte less does not."""
    slices, size = everything(opened), 120 * 64

    assert load_rows(opened, "train", slices, budget_bytes=size).in_memory
    assert not load_rows(opened, "train", slices, budget_bytes=size - 1).in_memory


def test_the_scratch_file_has_no_name(opened, tmp_path):
    """While rows lie in a mapped file, its folder is empty: nothing can be left behind, and the rows can be changed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    rows = load_rows(opened, "train", everything(opened), budget_bytes=0, scratch=str(scratch))

    assert isinstance(rows.features, np.memmap)
    assert list(scratch.iterdir()) == []
    rows.features[0] = 7  # torch wants arrays that can be written
    assert rows.features[0].sum() == 7 * 64


def test_a_full_scratch_folder_is_said_before_it_kills(opened, tmp_path, monkeypatch):
    """The blocks are reserved first: a full disk is a StorageError that names size and folder, not a signal later."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(StorageError, match=f"rows in scratch folder {tmp_path}: No space left on device. Free space"):
        load_rows(opened, "train", everything(opened), budget_bytes=0, scratch=str(tmp_path))


def test_a_missing_scratch_folder_is_said(opened, tmp_path):
    """A folder that is not there is a StorageError that names it."""
    with pytest.raises(StorageError, match=f"rows in scratch folder {tmp_path}/nothing: No such file or directory"):
        load_rows(opened, "train", everything(opened), budget_bytes=0, scratch=str(tmp_path / "nothing"))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("budget_bytes", [None, 0], ids=["in memory", "mapped"])
def test_encoded_rows_are_decoded(threads, budget_bytes, tmp_path):
    """JPEG rows come as pixels, near those that Pillow decodes, on one thread or several."""
    for number in range(12):
        for name in ("a", "b"):
            (tmp_path / "source" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / name / f"{number}.png").write_bytes(
                picture(20 * number, (16, 24), format="PNG", seed=number)
            )
    firesteel.prepare(tmp_path / "source", tmp_path / "ds", engine="local", workers=1, encoding="jpeg")
    dataset = Dataset.open(tmp_path / "ds")
    slices = everything(dataset)
    encoded = [
        data
        for part in slices
        for block, _ in read_slice(
            dataset.place, dataset.split("train").shards[part.shard], dataset.feature, 0, part.stop
        )
        for data in block
    ]

    rows = load_rows(dataset, "train", slices, threads=threads, budget_bytes=budget_bytes)

    pillow = np.stack([np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1) for data in encoded])
    assert rows.features.shape == pillow.shape == (dataset.split("train").rows, 3, 16, 24)
    difference = np.abs(rows.features.astype(int) - pillow.astype(int))
    assert difference.mean() < 2
    assert difference.max() < 16


def test_a_damaged_shard_is_a_dataset_error(opened):
    """What the shard reader says comes through."""
    shard = opened.split("train").shards[2]
    (Path(opened.place.uri) / shard.path).write_bytes(b"PAR1")

    with pytest.raises(DatasetError, match=r"part-.*\.parquet has 4 bytes"):
        load_rows(opened, "train", everything(opened))


def test_available_memory_is_what_the_host_can_give():
    """More than nothing and not more than the machine has."""
    assert 0 < available_memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
