"""Preparing: every record is written, dropped or quarantined, and a folder holds a whole dataset or nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import bson
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import firesteel
from firesteel.data import commit
from firesteel.data.manifest import Dataset
from firesteel.data.shards import read_ids, read_slice
from firesteel.data.sources.dataset import DatasetSource
from firesteel.errors import ConfigError, DataError, DatasetError, FormatError, WorkerFailed
from firesteel.formats import images
from firesteel.storage import Place
from tests.conftest import picture, real_data, write_idx


def prepare(source: Path | str, dataset: Path | str, *, workers: int = 1, **options: Any) -> Any:
    return firesteel.prepare(source, dataset, engine="local", workers=workers, **options)


def rows_of(dataset: Dataset) -> list[tuple[str, str, str, bytes]]:
    """(split, id, label, features) of every row of a raw dataset, sorted."""
    found = []
    for split, part in dataset.manifest.splits.items():
        for shard in part.shards:
            ids = read_ids(dataset.place, shard, 0, shard.rows)
            blocks = list(read_slice(dataset.place, shard, dataset.feature, 0, shard.rows))
            labels = [dataset.manifest.labels[label] for _, block in blocks for label in block]
            features = [row.tobytes() for block, _ in blocks for row in block]
            found += zip([split] * len(ids), ids, labels, features, strict=True)
    return sorted(found)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_whole(dataset: Dataset) -> None:
    """The counts of the manifest add up, and nothing lies in the folder that it does not name."""
    manifest, counts = dataset.manifest, dataset.manifest.counts
    assert counts.read + counts.generated == counts.written + counts.dropped + counts.quarantined
    assert counts.written == sum(split.rows for split in manifest.splits.values()) == len(rows_of(dataset))
    for name, split in manifest.splits.items():
        assert split.rows == sum(shard.rows for shard in split.shards) == sum(split.rows_per_class)
        labels = Counter(row[2] for row in rows_of(dataset) if row[0] == name)
        assert [labels[label] for label in manifest.labels] == split.rows_per_class
    assert counts.quarantined == sum(manifest.quarantine.reasons.values())
    assert counts.quarantined == sum(shard.rows for shard in manifest.quarantine.shards)
    named = {shard.path for split in manifest.splits.values() for shard in split.shards}
    named |= {shard.path for shard in manifest.quarantine.shards}
    assert {entry.path for entry in dataset.place.files()} == named | {"manifest.json"}


def quarantined(dataset: Dataset) -> dict[str, tuple[str, bytes]]:
    """Reason and first bytes by place."""
    tables = [pq.read_table(f"{dataset.place}/{shard.path}") for shard in dataset.manifest.quarantine.shards]
    return {row["place"]: (row["reason"], row["head"]) for table in tables for row in table.to_pylist()}


# -- what is in the dataset -----------------------------------------------------------------------------------------


def test_every_picture_is_there_pixel_by_pixel(image_folder, tmp_path):
    """Rows are the pictures of the folder, (channels, height, width), under their paths and classes."""
    result = prepare(image_folder, tmp_path / "ds")
    dataset = Dataset.open(tmp_path / "ds")

    expected = {
        str(path.relative_to(image_folder)): (
            path.parent.name,
            np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(),
        )
        for path in image_folder.rglob("*.png")
    }
    assert {row[1]: row[2:] for row in rows_of(dataset)} == expected
    assert (dataset.manifest.labels, dataset.feature.shape, dataset.feature.dtype) == (
        ["dark", "grey", "white"],
        (3, 8, 8),
        "uint8",
    )
    assert {name: split.rows_per_class for name, split in dataset.manifest.splits.items()} == {
        "train": [16, 16, 16],
        "test": [4, 4, 4],
    }
    assert_whole(dataset)
    assert not result.reused
    assert result.dataset.manifest == dataset.manifest


def test_the_statistics_are_numpys(image_folder, tmp_path):
    """Mean and deviation by channel of the training rows alone, of values scaled to 0..1."""
    dataset = prepare(image_folder, tmp_path / "ds").dataset

    train = (
        np.stack([np.frombuffer(row[3], np.uint8).reshape(3, 64) for row in rows_of(dataset) if row[0] == "train"])
        / 255
    )

    found = dataset.manifest.statistics
    np.testing.assert_allclose(found.mean, train.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, train.std((0, 2)), rtol=1e-9)
    assert found.scale == 1 / 255


def test_idx_files_keep_their_own_split(idx_folder, tmp_path):
    """train and t10k stay what they are; the values are those of the files."""
    dataset = prepare(idx_folder, tmp_path / "ds").dataset

    assert {name: split.rows for name, split in dataset.manifest.splits.items()} == {"train": 120, "test": 30}
    assert dataset.manifest.labels == [str(i) for i in range(10)]
    assert dataset.feature.shape == (1, 8, 8)
    assert_whole(dataset)


def test_split_folders_are_kept_unless_a_split_is_asked_for(image_folder, tmp_path):
    """train/ and test/ of the source decide; with a split given, all rows are split anew."""
    for split, numbers in (("train", range(5)), ("test", range(5, 20))):
        for name in ("dark", "grey", "white"):
            (tmp_path / "own" / split / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(image_folder / name / f"{number:03d}.png", tmp_path / "own" / split / name)

    kept = prepare(tmp_path / "own", tmp_path / "kept").dataset
    anew = prepare(tmp_path / "own", tmp_path / "anew", split="train=0.5,validation=0.25,test=0.25").dataset

    assert {name: split.rows_per_class for name, split in kept.manifest.splits.items()} == {
        "train": [5] * 3,
        "test": [15] * 3,
    }
    assert all(row[1].startswith(f"{row[0]}/") for row in rows_of(kept))
    assert {name: split.rows for name, split in anew.manifest.splits.items()} == {
        "train": 30,
        "validation": 15,
        "test": 15,
    }
    assert_whole(kept)
    assert_whole(anew)


def test_products_are_not_divided(tmp_path):
    """Pictures of one record lie in one split; a class with a single product is for training."""
    documents = [
        {
            "_id": i,
            "category_id": min(i, 2),
            "imgs": [{"picture": picture(i, (8, 8), format="PNG", seed=10 * i + n)} for n in range(1 + i % 4)],
        }
        for i in range(40)
    ]
    (tmp_path / "a.bson").write_bytes(b"".join(bson.encode(document) for document in documents))

    dataset = prepare(tmp_path / "a.bson", tmp_path / "ds").dataset

    splits = {}
    for split, row_id, *_ in rows_of(dataset):
        splits.setdefault(row_id.partition("_")[0], set()).add(split)
    assert len(splits) == 40
    assert all(len(found) == 1 for found in splits.values())
    assert dataset.manifest.splits["test"].rows_per_class[:2] == [0, 0]
    assert dataset.manifest.splits["test"].rows_per_class[2] > 0
    assert_whole(dataset)


def test_numbers_are_ordered_by_value(tmp_path):
    """Classes 9, 10 and 100 come in this order, words behind them by name."""
    for name in ("100", "9", "b", "10", "a", "-1"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "1.png").write_bytes(picture(format="PNG"))

    assert prepare(tmp_path / "src", tmp_path / "ds").dataset.manifest.labels == ["-1", "9", "10", "100", "a", "b"]


def test_jpeg_keeps_the_pictures_in_less_space(tmp_path):
    """Encoded rows are JPEGs that Pillow reads, near the source's pixels, with the statistics of the decoded pixels."""
    y, x = np.mgrid[0:32, 0:32]
    for number in range(20):
        (tmp_path / "src" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        plane = np.stack([x * 4 + number, y * 4 + number, x + y], axis=2).astype(np.uint8)
        Image.fromarray(plane).save(tmp_path / "src" / f"{number % 2}" / f"{number}.png")

    raw = prepare(tmp_path / "src", tmp_path / "raw").dataset
    small = prepare(tmp_path / "src", tmp_path / "jpeg", encoding="jpeg").dataset

    pixels = {row[1]: np.frombuffer(row[3], np.uint8).reshape(3, 32, 32) for row in rows_of(raw)}
    seen = 0
    for split in small.manifest.splits.values():
        for shard in split.shards:
            ids = read_ids(small.place, shard, 0, shard.rows)
            ((block, _),) = read_slice(small.place, shard, small.feature, 0, shard.rows)
            for row_id, data in zip(ids, block, strict=True):
                image = Image.open(io.BytesIO(data))
                assert (image.format, image.size) == ("JPEG", (32, 32))
                assert len(data) < 3 * 32 * 32
                assert np.abs(np.asarray(image).transpose(2, 0, 1).astype(int) - pixels[row_id]).mean() < 2
                seen += 1
    assert seen == 20
    assert small.feature.encoding == "jpeg"
    np.testing.assert_allclose(small.manifest.statistics.mean, raw.manifest.statistics.mean, atol=0.01)


def test_size_and_channels_are_as_asked_or_as_the_pictures_agree(tmp_path):
    """Without options the size that nine of ten share; grey only if all are grey; else as said."""
    for number in range(20):
        (tmp_path / "src" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        size = (9, 9) if number == 7 else (12, 10)
        (tmp_path / "src" / f"{number % 2}" / f"{number}.png").write_bytes(
            picture(number, size, mode="L", format="PNG")
        )

    agreed = prepare(tmp_path / "src", tmp_path / "a").dataset
    asked = prepare(tmp_path / "src", tmp_path / "b", size="5x7", channels=3).dataset

    assert agreed.feature.shape == (1, 12, 10)
    assert "1 pictures of another size were resized to 12x10" in agreed.manifest.warnings
    assert asked.feature.shape == (3, 5, 7)
    assert asked.manifest.parameters["size"] == [5, 7]


def test_pictures_of_many_sizes_need_a_size(tmp_path):
    """The message names two of the sizes and the option; nothing is written."""
    for number in range(6):
        (tmp_path / "src" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / "a" / f"{number}.png").write_bytes(picture(size=(8 + number, 8), format="PNG"))

    with pytest.raises(ConfigError, match=r"different sizes .*6 in 6 sampled.*\n.*--size HEIGHTxWIDTH"):
        prepare(tmp_path / "src", tmp_path / "ds")
    assert files_in(tmp_path / "ds") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "axb"}, "size must be HEIGHTxWIDTH"),
        ({"size": (0, 5)}, "height and width must be 1 to 4096 pixels, got 0x5"),
        ({"channels": 2}, "channels"),
        ({"split": "train=0.5"}, "must add up to 1"),
        ({"encoding": "png"}, "encoding"),
        ({"min_per_class": 0}, "min_per_class"),
        ({"format": "xls"}, "format must be one of .*idx, cifar, dataset, csv"),
        ({"schema": "lat double"}, "schema is for tables and DataFrames"),
        ({"sise": 3}, "sise"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(options, message, image_folder, tmp_path):
    """A ConfigError that names the option."""
    with pytest.raises(ConfigError, match=message):
        prepare(image_folder, tmp_path / "ds", **options)
    assert not (tmp_path / "ds").exists()


# -- what cannot be used --------------------------------------------------------------------------------------------


def test_broken_records_are_set_aside_with_place_and_reason(image_folder, tmp_path):
    """Cut, empty, textual and misplaced files are quarantined with their first bytes; all counts add up."""
    cut = (image_folder / "dark" / "000.png").read_bytes()[:60]
    (image_folder / "dark" / "000.png").write_bytes(cut)
    (image_folder / "grey" / "001.png").write_bytes(b"")
    (image_folder / "grey" / "notes.txt").write_bytes(b"these are grey")
    (image_folder / "readme.md").write_bytes(b"# three classes")

    dataset = prepare(image_folder, tmp_path / "ds").dataset

    assert_whole(dataset)
    counts = dataset.manifest.counts
    assert (counts.read, counts.written, counts.dropped, counts.quarantined) == (62, 58, 0, 4)
    found = quarantined(dataset)
    assert found["dark/000.png"][0].startswith("damaged picture")
    assert found["dark/000.png"][1] == cut
    assert found["grey/001.png"] == ("empty: 0 bytes", b"")
    assert found["grey/notes.txt"] == (
        "not a picture: 14 bytes that begin with 74 68 65 73 65 20 61 72",
        b"these are grey",
    )
    assert found["readme.md"][0] == "not in a class folder"
    assert "4 records could not be used; they are listed in quarantine/" in dataset.manifest.warnings


def test_damage_of_one_kind_is_counted_together(tmp_path):
    """The reasons of the manifest have no particulars: ten cut records with ten lengths are one line."""
    documents = [
        bson.encode({"_id": i, "category_id": i % 2, "imgs": [{"picture": picture(seed=i)}]}) for i in range(20)
    ]
    for i in range(0, 20, 4):
        documents[i] = (-i - 1).to_bytes(4, "little", signed=True) + documents[i][4:]
    (tmp_path / "a.bson").write_bytes(b"".join(documents))

    dataset = prepare(tmp_path / "a.bson", tmp_path / "ds").dataset

    assert dataset.manifest.quarantine.reasons == {"garbage length": 5}
    assert len(quarantined(dataset)) == 5
    assert_whole(dataset)


def test_a_file_that_goes_away_meanwhile_is_set_aside(image_folder, tmp_path, monkeypatch):
    """A picture deleted between the listing and the reading costs itself alone, and the reason has no path in it."""
    planned = commit.planned

    def plan_and_delete(*arguments, **options):
        (image_folder / "dark" / "003.png").unlink()
        (image_folder / "white" / "004.png").unlink()
        return planned(*arguments, **options)

    monkeypatch.setattr(commit, "planned", plan_and_delete)

    dataset = prepare(image_folder, tmp_path / "ds").dataset

    assert dataset.manifest.counts.written == 58
    assert dataset.manifest.quarantine.reasons == {"cannot be read": 2}
    assert_whole(dataset)


def test_small_classes_are_dropped_and_counted(image_folder, tmp_path):
    """Classes with fewer usable rows than asked for are left out; their rows are dropped, and a warning names them."""
    for path in sorted((image_folder / "grey").iterdir())[3:]:
        path.unlink()
    (image_folder / "empty").mkdir()

    dataset = prepare(image_folder, tmp_path / "ds", min_per_class=4).dataset

    assert dataset.manifest.labels == ["dark", "white"]
    counts = dataset.manifest.counts
    assert (counts.read, counts.written, counts.dropped) == (43, 40, 3)
    assert "1 class was dropped for having fewer than 4 rows ('grey'): 3 rows" in dataset.manifest.warnings
    assert "1 class has no row and is left out ('empty')" in dataset.manifest.warnings
    assert_whole(dataset)


def test_when_no_class_is_left_nothing_is_written(image_folder, tmp_path):
    """The message says how many classes and rows there were."""
    with pytest.raises(DataError, match=r"no class is left: the source has 3 classes with 60 usable rows.*needs 21"):
        prepare(image_folder, tmp_path / "ds", min_per_class=21)
    assert files_in(tmp_path / "ds") == {}


@pytest.mark.parametrize("options", [{}, {"size": (8, 8), "channels": 3}], ids=["guessed size", "given size"])
def test_a_source_of_broken_pictures_is_a_data_error(options, image_folder, tmp_path):
    """If no picture can be read, the message says why, and nothing is written."""
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"broken!!")

    with pytest.raises(DataError, match="not a picture"):
        prepare(image_folder, tmp_path / "ds", **options)

    assert files_in(tmp_path / "ds") == {}
    assert list(tmp_path.glob("ds/*")) == []


def test_a_damaged_array_file_is_named_and_nothing_is_written(idx_folder, tmp_path):
    """Arrays have no records to set aside: a cut file is an error that names it."""
    images = next(idx_folder.glob("train-images*"))
    images.write_bytes(images.read_bytes()[:-40])

    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte\.gz: idx file"):
        prepare(idx_folder, tmp_path / "ds")
    assert files_in(tmp_path / "ds") == {}


def test_the_real_sample_is_prepared_whole(tmp_path):
    """The Cdiscount sample: 110 pictures of 36 categories, of which 28 have one product and are for training only."""
    dataset = prepare(real_data("cdiscount") / "train_example.bson", tmp_path / "ds", size=(16, 16)).dataset

    manifest = dataset.manifest
    assert (manifest.counts.read, manifest.counts.written, manifest.counts.quarantined) == (110, 110, 0)
    assert len(manifest.labels) == 36
    assert all(manifest.splits["train"].rows_per_class)
    assert_whole(dataset)


# -- once, and again ------------------------------------------------------------------------------------------------


def test_the_same_again_is_reused(image_folder, tmp_path):
    """The same source with the same parameters: nothing is done, and that is said."""
    prepare(image_folder, tmp_path / "ds", size=(8, 8))
    before = files_in(tmp_path / "ds")

    again = prepare(str(image_folder), tmp_path / "ds", size="8x8")

    assert again.reused
    assert files_in(tmp_path / "ds") == before
    assert again.dataset.manifest.counts.written == 60


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"size": (4, 4)},
        {"split": "train=0.5,test=0.5"},
        {"encoding": "jpeg"},
        {"min_per_class": 2},
        "touch",
        "add",
    ],
    ids=str,
)
def test_another_dataset_is_refused_and_left_untouched(change, image_folder, tmp_path):
    """Other parameters or another content: the message says whose folder it is, and not a byte changes."""
    prepare(image_folder, tmp_path / "ds", size=(8, 8))
    before = files_in(tmp_path / "ds")
    options = {"size": (8, 8)}
    if change == "touch":
        os.utime(image_folder / "dark" / "000.png", (1, 1))
    elif change == "add":
        (image_folder / "dark" / "new.png").write_bytes(picture(format="PNG"))
    else:
        options |= change

    with pytest.raises(DatasetError, match=r"holds another dataset, prepared .* from .*pictures.*\n.*--overwrite"):
        prepare(image_folder, tmp_path / "ds", **options)

    assert files_in(tmp_path / "ds") == before


def test_overwriting_replaces_the_whole_dataset(image_folder, tmp_path):
    """With overwrite the other dataset is there in full, and no file of the first is left."""
    prepare(image_folder, tmp_path / "ds", split="train=0.6,validation=0.2,test=0.2")
    old = set(files_in(tmp_path / "ds"))

    new = prepare(image_folder, tmp_path / "ds", size=(4, 4), overwrite=True)

    assert not new.reused
    assert new.dataset.feature.shape == (3, 4, 4)
    assert set(files_in(tmp_path / "ds")) & old == {"manifest.json"}
    assert_whole(Dataset.open(tmp_path / "ds"))
    assert prepare(image_folder, tmp_path / "ds", size=(4, 4), overwrite=True).reused


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_refused(overwrite, image_folder, tmp_path):
    """A folder with files of another kind is never written to, also not to overwrite it."""
    (tmp_path / "home" / "papers").mkdir(parents=True)
    (tmp_path / "home" / "papers" / "thesis.tex").write_bytes(b"words")

    with pytest.raises(DatasetError, match=r"is not empty and is not a prepared dataset\. Nothing was changed"):
        prepare(image_folder, tmp_path / "home", overwrite=overwrite)

    assert files_in(tmp_path / "home") == {"papers/thesis.tex": b"words"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_manifest_of_something_else_is_left_alone(overwrite, image_folder, tmp_path):
    """A manifest.json of another program (a web page has one) does not make its folder ours to overwrite."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text(json.dumps({"name": "my page", "icons": []}))
    before = files_in(tmp_path / "web")

    with pytest.raises(DatasetError, match="manifest"):
        prepare(image_folder, tmp_path / "web", overwrite=overwrite)

    assert files_in(tmp_path / "web") == before


def test_a_file_in_the_place_of_the_dataset_is_refused(image_folder, tmp_path):
    """The message asks for a folder."""
    (tmp_path / "ds").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"is a file\. Choose a folder"):
        prepare(image_folder, tmp_path / "ds")


def test_an_empty_folder_is_taken(image_folder, tmp_path):
    """A folder that was made for the dataset is as good as none."""
    (tmp_path / "ds").mkdir()
    assert prepare(image_folder, tmp_path / "ds").dataset.manifest.counts.written == 60


# -- broken off -----------------------------------------------------------------------------------------------------


def fail_at(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ``number``-th picture that is decoded raise."""
    decode, seen = images._decode, []

    def failing(*arguments):
        seen.append(1)
        if len(seen) == number:
            raise error
        return decode(*arguments)

    monkeypatch.setattr(images, "_decode", failing)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(RuntimeError("a bug"), WorkerFailed), (MemoryError(), WorkerFailed), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["bug", "memory", "ctrl-c"],
)
@pytest.mark.parametrize("number", [1, 30, 60])
def test_a_preparation_that_breaks_off_leaves_nothing(error, raised, number, image_folder, tmp_path, monkeypatch):
    """Whatever ends it and when: no manifest, no shard, no marker; and the next attempt succeeds."""
    fail_at(number, error, monkeypatch)

    with pytest.raises(raised):
        prepare(image_folder, tmp_path / "ds", shard_bytes=1024)

    assert list(tmp_path.glob("ds/*")) == []
    monkeypatch.undo()
    assert_whole(prepare(image_folder, tmp_path / "ds").dataset)


def test_a_failing_commit_leaves_nothing(image_folder, tmp_path, monkeypatch):
    """Also when the manifest itself cannot be written."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(commit, "commit", full)

    with pytest.raises(OSError, match="No space left"):
        prepare(image_folder, tmp_path / "ds")

    assert list(tmp_path.glob("ds/*")) == []


def test_ctrl_c_after_the_commit_leaves_the_whole_dataset(image_folder, tmp_path, monkeypatch):
    """Once the manifest is written the dataset is there: an interrupt while leftovers are cleared takes nothing from it."""
    listing, interrupted = Place.files, []

    def interrupt(place: Place):
        if (place / "manifest.json").exists() and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return listing(place)

    monkeypatch.setattr(Place, "files", interrupt)

    with pytest.raises(KeyboardInterrupt):
        prepare(image_folder, tmp_path / "ds")

    assert interrupted
    assert_whole(Dataset.open(tmp_path / "ds"))


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()], ids=["bug", "ctrl-c"])
def test_overwriting_that_breaks_off_leaves_the_old_dataset(error, image_folder, tmp_path, monkeypatch):
    """The old dataset stays, in full and alone, until the new one is committed."""
    prepare(image_folder, tmp_path / "ds")
    before = files_in(tmp_path / "ds")
    fail_at(40, error, monkeypatch)

    with pytest.raises((WorkerFailed, KeyboardInterrupt)):
        prepare(image_folder, tmp_path / "ds", size=(4, 4), shard_bytes=1024, overwrite=True)

    assert files_in(tmp_path / "ds") == before
    assert_whole(Dataset.open(tmp_path / "ds"))


def test_the_first_error_is_the_one_that_is_told(image_folder, tmp_path, monkeypatch):
    """Overwriting a dataset whose manifest is damaged, the error of the preparation is raised, not one of the cleaning."""
    prepare(image_folder, tmp_path / "ds")
    (tmp_path / "ds" / "manifest.json").write_text('{"format_version": 1, "broken": ')
    fail_at(5, RuntimeError("a bug"), monkeypatch)

    with pytest.raises(WorkerFailed, match="a bug"):
        prepare(image_folder, tmp_path / "ds", overwrite=True)

    monkeypatch.undo()
    assert_whole(prepare(image_folder, tmp_path / "ds", overwrite=True).dataset)


def test_leftovers_of_a_killed_preparation_are_replaced(image_folder, tmp_path):
    """A folder with the marker of a process that is gone is ours; its shards do not stay."""
    (tmp_path / "ds" / "train").mkdir(parents=True)
    (tmp_path / "ds" / "train" / "part-00000-dead-0000.parquet").write_bytes(b"PAR1")
    (tmp_path / "ds" / ".progress").mkdir()
    (tmp_path / "ds" / ".progress" / "00000").write_text("17")
    (tmp_path / "ds" / "preparing.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))

    assert_whole(prepare(image_folder, tmp_path / "ds").dataset)


def test_a_folder_that_is_being_written_is_refused(image_folder, tmp_path):
    """While another process of this host prepares there, its number is told and nothing changes."""
    import socket

    (tmp_path / "ds").mkdir()
    marker = json.dumps({"host": socket.gethostname(), "pid": os.getppid()})
    (tmp_path / "ds" / "preparing.json").write_text(marker)

    with pytest.raises(DatasetError, match=rf"another firesteel command \(process {os.getppid()}\) is writing"):
        prepare(image_folder, tmp_path / "ds")

    assert files_in(tmp_path / "ds") == {"preparing.json": marker.encode()}


# -- the same on any number of workers ------------------------------------------------------------------------------


def test_one_and_two_workers_make_the_same_dataset(image_folder, tmp_path):
    """Rows, mixing, bytes and statistics do not depend on how many processes shared the work."""
    (image_folder / "dark" / "broken.png").write_bytes(b"no")

    one = prepare(image_folder, tmp_path / "one", shard_bytes=1024).dataset
    two = prepare(image_folder, tmp_path / "two", shard_bytes=1024, workers=2).dataset

    def told(dataset: Dataset) -> dict[str, Any]:
        manifest = dataset.manifest
        return {
            "shards": {
                name: [(s.rows, s.bytes, s.sha256) for s in part.shards] for name, part in manifest.splits.items()
            },
            "quarantine": [(s.rows, s.sha256) for s in manifest.quarantine.shards],
            **manifest.model_dump(include={"counts", "labels", "feature", "statistics", "warnings", "fingerprint"}),
        }

    assert told(two) == told(one)
    assert rows_of(two) == rows_of(one)
    assert_whole(two)


def test_a_dataset_can_lie_behind_fsspec(image_folder, tmp_path):
    """Prepared into another file system, the dataset is the same, and is reused there."""
    where = f"memory://{tmp_path.name}/ds"

    remote = prepare(image_folder, where).dataset

    assert rows_of(remote) == rows_of(prepare(image_folder, tmp_path / "ds").dataset)
    assert {entry.path for entry in Place.of(where).files()} == {
        "manifest.json",
        *(shard.path for split in remote.manifest.splits.values() for shard in split.shards),
    }
    assert prepare(image_folder, where).reused
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_arrays_that_are_pictures_get_another_size_and_other_channels(idx_folder, tmp_path):
    """As pictures of a file would; only raw arrays of their own size are never encoded."""
    own = prepare(idx_folder, tmp_path / "own").dataset
    (channels, height, width), rows = own.feature.shape, {}
    source = DatasetSource.open(own.place)
    for part in source.partitions(1):
        for row in source.rows_of(part):
            pixels = np.frombuffer(row.data, np.uint8).reshape(height, width)
            image = Image.fromarray(pixels).resize((9, 12), Image.Resampling.BILINEAR).convert("RGB")
            rows[row.id] = np.asarray(image).transpose(2, 0, 1).tobytes()
    assert channels == 1
    other = prepare(idx_folder, tmp_path / "other", size="12x9", channels=3).dataset
    assert (other.feature.shape, other.feature.kind) == ((3, 12, 9), "image")
    source = DatasetSource.open(other.place)
    assert {row.id: row.data for part in source.partitions(1) for row in source.rows_of(part)} == rows
    assert prepare(idx_folder, tmp_path / "jpeg", size=(16, 16), encoding="jpeg").dataset.feature.encoding == "jpeg"
    with pytest.raises(ConfigError, match="encoding jpeg is for pictures"):
        prepare(idx_folder, tmp_path / "ds", encoding="jpeg")
    assert files_in(tmp_path / "ds") == {}


def test_arrays_of_numbers_keep_their_type(tmp_path):
    """float32 rows of an idx file are not scaled; the statistics are by column."""
    values = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(">f4")
    head = bytes([0, 0, 0x0D, 2]) + (50).to_bytes(4, "big") + (4).to_bytes(4, "big")
    (tmp_path / "train-images-idx2-float").write_bytes(head + values.tobytes())
    write_idx(tmp_path / "train-labels-idx1-ubyte", (np.arange(50) % 2).astype(np.uint8))

    dataset = prepare(tmp_path, tmp_path / "ds", format="idx").dataset
    with pytest.raises(DataError, match="--size and --channels are for pictures; this source holds float32 arrays"):
        prepare(tmp_path, tmp_path / "other", format="idx", size=(4, 4))

    assert (dataset.feature.dtype, dataset.feature.shape, dataset.feature.kind) == ("float32", (4,), "array")
    found = dataset.manifest.statistics
    np.testing.assert_allclose(found.mean, values.astype(np.float64).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.std, values.astype(np.float64).std(0), rtol=1e-9)
    assert found.scale == 1.0


# -- opening --------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_manifest_says_why(image_folder, tmp_path):
    """Nothing there, something else there, and a preparation that has not ended are told apart."""
    with pytest.raises(DatasetError, match=r"there is no dataset at .*firesteel prepare SOURCE"):
        Dataset.open(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"is not a prepared dataset: it has no manifest\.json"):
        Dataset.open(image_folder)
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "preparing.json").write_text("{}")
    with pytest.raises(DatasetError, match="its preparation has not ended, or was interrupted"):
        Dataset.open(tmp_path / "ds")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["splits"]["train"]["shards"][0].update(path="../../etc/passwd"),
        lambda manifest: manifest["splits"]["train"]["shards"][0].update(path="/etc/passwd"),
        lambda manifest: manifest["quarantine"].update(shards=[{"path": "..", "rows": 1, "bytes": 1, "sha256": ""}]),
        lambda manifest: manifest.pop("labels"),
        lambda manifest: manifest.update(surprise=1),
        lambda manifest: manifest["feature"].update(encoding="pickle"),
    ],
    ids=["leaves the folder", "absolute", "quarantine leaves", "no labels", "unknown field", "unknown encoding"],
)
def test_an_unsound_manifest_is_refused(change, dataset):
    """A manifest that was tampered with, or lacks something, is a DatasetError that says what is wrong."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    change(manifest)
    (dataset / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DatasetError, match="is not a sound manifest"):
        Dataset.open(dataset)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\0\0"], ids=repr)
def test_a_manifest_that_is_no_object_is_refused(text, dataset):
    """Empty, cut and other JSON are DatasetErrors."""
    (dataset / "manifest.json").write_text(text)

    with pytest.raises(DatasetError, match="is not a sound manifest"):
        Dataset.open(dataset)


def test_a_manifest_of_another_version_says_so(dataset):
    """The message names both versions."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    (dataset / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))

    with pytest.raises(DatasetError, match="manifest version 99; this Firesteel reads version 1"):
        Dataset.open(dataset)


def test_a_split_that_is_not_there_is_named(dataset):
    """The message lists those that are."""
    with pytest.raises(DatasetError, match="has no split 'validation'; it has test, train"):
        Dataset.open(dataset).split("validation")


def test_a_dataset_inside_its_source_is_refused(image_folder, tmp_path):
    """Its shards would be taken for pictures by the next preparation."""
    for place in (image_folder, image_folder / "out"):
        with pytest.raises(ConfigError, match="inside its source"):
            firesteel.prepare(image_folder, place, engine="local", workers=1)
    assert not (image_folder / "out").exists()


def test_a_misspelled_option_is_guessed_and_a_sentence_ends_once(image_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"^there is no option 'chanels'\. Did you mean 'channels'\?$"):
        firesteel.prepare(image_folder, tmp_path / "out", engine="local", chanels=3)
    with pytest.raises(ConfigError, match=r"got '32x'\.$"):
        firesteel.prepare(image_folder, tmp_path / "out", engine="local", size="32x")


@pytest.mark.parametrize("own", [True, False])
def test_a_dataset_may_be_for_evaluation_only(own, image_folder, tmp_path):
    """A folder test/ alone, or one part of another name: statistics are those of all rows, and nothing can be trained on it."""
    source, options = image_folder, {"split": "test=1"}
    if own:
        (tmp_path / "source").mkdir()
        source, options = tmp_path / "source", {}
        image_folder.rename(source / "test")
    whole = prepare(source, tmp_path / "ds", **options).dataset
    assert whole.manifest.splits.keys() == {"test"}
    assert (whole.manifest.counts.written, len(whole.manifest.statistics.mean)) == (60, 3)
    assert any("for evaluation only" in warning for warning in whole.manifest.warnings)
    with pytest.raises(DatasetError, match="has no split 'train'; it has test"):
        firesteel.train(whole, tmp_path / "run")
    with pytest.raises(ConfigError, match="balance is for the split train"):
        prepare(source, tmp_path / "other", balance=50, **options)
