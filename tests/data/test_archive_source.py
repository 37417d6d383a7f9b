"""Archives as sources: the same rows as from the folder that was packed, and nothing is ever written to disk."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import firesteel
from firesteel.data.sources import ArchiveSource, CifarSource, open_source
from firesteel.errors import DataError
from tests.archives import SUFFIXES, TAR_MODES, tar_bytes, write_archive, zip_bytes
from tests.conftest import picture, real_data
from tests.data.test_preparation import assert_whole
from tests.data.test_preparation import rows_of as dataset_rows
from tests.data.test_sources import rows_of, write_tree

TREE = {f"{name}/{i}.jpg": f"{name}{i}".encode() for name in ("cat", "dog") for i in range(7)}


def short(source) -> dict[str, tuple]:
    return {row["id"]: (row["label"], row["split"], row["data"], row["problem"]) for row in rows_of(source, 3)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_gives_the_rows_of_its_folder(suffix, tmp_path):
    """Also where all lies in one folder more, with hidden files among it."""
    expected = short(open_source(write_tree(tmp_path / "tree", TREE)))
    packed = {f"photos/{name}": data for name, data in TREE.items()}
    hidden = {"__MACOSX/photos/cat/._1.jpg": b"x", "photos/.DS_Store": b"x"}
    source = open_source(write_archive(tmp_path / f"p{suffix}", packed | hidden))

    assert isinstance(source, ArchiveSource)
    assert short(source) == expected
    assert source.class_names() == ["cat", "dog"]
    assert source.notes()[:2] == [
        "the top folder 'photos' of the archive is left out of the names",
        "2 hidden members (names that begin with a dot, __MACOSX) were left alone",
    ]
    streamed = any("one task reads each from its beginning" in note for note in source.notes())
    assert streamed == (suffix not in (".zip", ".tar"))
    assert len(source.partitions(4)) == (1 if streamed else 4)


def test_split_folders_in_an_archive_are_splits(tmp_path):
    files = {f"set/{split}/{name}": data for split in ("train", "val") for name, data in TREE.items()}
    source = open_source(write_archive(tmp_path / "p.zip", files))

    assert source.declared_splits() == ["train", "validation"]
    assert {row["label"] for row in rows_of(source)} == {"cat", "dog"}


def test_an_archive_takes_tables_and_patterns(tmp_path):
    """Names are those below the common folder; a flat archive needs one of them."""
    path = write_archive(tmp_path / "p.zip", {f"x/{'cat' if i % 2 else 'dog'}.{i}.jpg": b"%d" % i for i in range(6)})
    (tmp_path / "t.csv").write_text("".join(f"{'cat' if i % 2 else 'dog'}.{i},{'AB'[i % 2]}\n" for i in range(6)))

    by_pattern = open_source(path, label_pattern=r"^(\w+)\.\d")
    by_table = open_source(path, labels=str(tmp_path / "t.csv"))

    assert {row["id"]: row["label"] for row in rows_of(by_pattern)}["cat.1.jpg"] == "cat"
    assert {row["id"]: row["label"] for row in rows_of(by_table)}["cat.1.jpg"] == "B"
    flat = write_archive(tmp_path / "flat.tar", {"1.jpg": b"", "2.jpg": b""})
    with pytest.raises(DataError, match="holds no class folders"):
        open_source(flat)


def test_a_folder_of_archives_is_one_source(tmp_path):
    """Shards with class folders; archives called as splits; one archive a class."""
    for name in ("shards", "splits", "classes"):
        (tmp_path / name).mkdir()
    for i in range(3):
        write_archive(tmp_path / "shards" / f"s{i}.tar", {f"{c}/{j}.jpg": b"%d" % i for c in "ab" for j in range(2)})
    write_archive(tmp_path / "splits/train.zip", {f"train/{name}": data for name, data in TREE.items()})
    write_archive(tmp_path / "splits/test.tar.gz", TREE)
    write_archive(tmp_path / "classes/n01.tar", {"n01_1.jpg": b"1", "n01_2.jpg": b"2"})
    write_archive(tmp_path / "classes/n02.zip", {"n02_1.jpg": b"3"})

    shards, splits, classes = (short(open_source(tmp_path / name)) for name in ("shards", "splits", "classes"))

    assert len(shards) == 12
    assert shards["s1/a/0.jpg"] == ("a", None, b"1", None)
    assert splits["train/cat/1.jpg"] == ("cat", "train", b"cat1", None)
    assert splits["test/dog/1.jpg"] == ("dog", "test", b"dog1", None)
    assert classes == {
        "n01/n01_1.jpg": ("n01", None, b"1", None),
        "n01/n01_2.jpg": ("n01", None, b"2", None),
        "n02/n02_1.jpg": ("n02", None, b"3", None),
    }


def test_of_two_members_of_one_name_the_last_one_counts(tmp_path):
    """As for who unpacks an archive that was added to; the first is set aside, under another id."""
    (tmp_path / "p.tar").write_bytes(tar_bytes({"a/1": b"old", "b/1": b"x"})[:2048] + tar_bytes({"a/1": b"new"}))

    rows = short(open_source(tmp_path / "p.tar"))

    assert rows["a/1"] == ("a", None, b"new", None)
    assert rows["a/1@512"][3] == "name comes again later in the archive"


@pytest.mark.parametrize("kind", ["zip", *sorted(set(TAR_MODES.values()))])
def test_hostile_members_are_set_aside_and_nothing_is_written(kind, tmp_path, monkeypatch):
    """Names that lead out, and links: quarantined one by one, while the good ones are prepared."""
    good = {f"{c}/{i}.png": picture(i, (8, 8), format="PNG") for c in "ab" for i in range(8)}
    evil = {"../../evil.png": b"x", "/tmp/evil.png": b"y", "a/../../evil2.png": b"z"}
    (tmp_path / "p").mkdir()
    name = "p.zip" if kind == "zip" else "p.tar"
    data = zip_bytes(good | evil) if kind == "zip" else tar_bytes(good | evil, kind)
    (tmp_path / "p" / name).write_bytes(data)
    before = set(tmp_path.rglob("*"))

    dataset = firesteel.prepare(tmp_path / "p" / name, tmp_path / "ds", engine="local", workers=1).dataset

    assert (dataset.manifest.counts.written, dataset.manifest.quarantine.reasons) == (16, {"unsafe name": 3})
    assert_whole(dataset)
    assert {path for path in tmp_path.rglob("*") if "ds" not in path.parts} == before
    assert not Path("/tmp/evil.png").exists()


def test_broken_members_are_counted(tmp_path):
    """A cut archive: what is there is used, the rest is a record with its reason."""
    data = tar_bytes(
        {f"{c}/{i}.png": picture(i, (8, 8), format="PNG", seed=i) for c in "ab" for i in range(20)}, "w:gz"
    )
    (tmp_path / "p.tgz").write_bytes(data[: len(data) // 2])

    dataset = firesteel.prepare(tmp_path / "p.tgz", tmp_path / "ds", engine="local", workers=2).dataset

    assert dataset.manifest.counts.written > 5
    assert dataset.manifest.counts.quarantined >= 1
    assert_whole(dataset)


def test_one_and_two_workers_make_the_same_dataset(tmp_path):
    """And the same as from the folder, row by row."""
    files = {f"{c}/{i}.png": picture(i, (8, 8), format="PNG", seed=i) for c in "abc" for i in range(12)}
    write_tree(tmp_path / "tree", files)
    write_archive(tmp_path / "p.zip", files)

    made = [
        firesteel.prepare(tmp_path / source, tmp_path / f"ds{workers}{source}", engine="local", workers=workers).dataset
        for source, workers in (("tree", 1), ("p.zip", 1), ("p.zip", 2))
    ]

    assert dataset_rows(made[0]) == dataset_rows(made[1]) == dataset_rows(made[2])


def test_an_archive_can_lie_behind_fsspec(tmp_path):
    """A zip and a tar in memory://, read by range."""
    from firesteel.storage import Place

    for name, data in (("a.zip", zip_bytes(TREE)), ("a.tar", tar_bytes(TREE)), ("a.tar.gz", tar_bytes(TREE, "w:gz"))):
        place = Place.of(f"memory://archives/{name}")
        place.write_bytes(data)
        assert short(open_source(place)) == short(open_source(write_tree(tmp_path / "tree", TREE)))
        place.delete()


def test_what_is_no_archive_says_so(tmp_path):
    """By its name an archive, by its bytes not; and an empty one."""
    (tmp_path / "a.zip").write_bytes(b"PK no")
    (tmp_path / "b.tar.gz").write_bytes(b"no")
    with tarfile.open(tmp_path / "c.tar", "w"):
        pass

    for name, message in (("a.zip", "not a sound zip"), ("b.tar.gz", "not a tar"), ("c.tar", "not a tar archive")):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "rows", "classes", "splits"),
    [
        ("caltech101/caltech101-47x50.zip", 2350, 47, []),
        ("intel-scenes/intel-scenes-150.zip", 3000, 6, ["test", "train"]),
        ("cifar10", 25000, 10, ["test", "train"]),
    ],
)
def test_real_archives_are_read_in_place(name, rows, classes, splits):
    source = open_source(real_data(name))

    assert (source.rows, len(source.class_names()), source.declared_splits()) == (rows, classes, splits)
    assert all(row.problem is None and row.data for row in source.sample(50))


def test_pictures_that_are_called_like_cifar_stay_pictures_if_labels_are_asked_for(tmp_path):
    write_tree(tmp_path / "src", {"data_batch_1.bin": b"", "test_batch.bin": b""})

    assert isinstance(open_source(tmp_path / "src"), CifarSource)
    assert not isinstance(open_source(tmp_path / "src", label_pattern=r"(\w+)_batch|batch_"), CifarSource)
