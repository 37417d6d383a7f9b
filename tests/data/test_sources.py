"""Sources: every file, record and row is read exactly once, under a name of its own, or is said to be unusable."""

from __future__ import annotations

import gzip
import os
import pickle
import unicodedata
from collections import Counter
from pathlib import Path

import bson
import fsspec
import numpy as np
import pytest

import firesteel
from firesteel.data.sources import (
    BATCH_BYTES,
    SCHEMA,
    ArraySpec,
    BsonSource,
    IdxSource,
    ImageFolderSource,
    Source,
    open_source,
)
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.storage import Place
from tests.archives import cifar10_files, write_archive
from tests.conftest import picture, real_data, write_idx

COUNTS = [1, 2, 3, 5, 8, 13, 100, 1000]


def rows_of(source: Source, count: int = 1, **options: bool) -> list[dict]:
    """All rows of a source that is read in about ``count`` partitions."""
    return [
        row
        for partition in source.partitions(count)
        for batch in source.read(partition, **options)
        for row in batch.to_pylist()
    ]


def write_tree(root: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def write_bson(path: Path, documents: list[dict]) -> Path:
    path.write_bytes(b"".join(bson.encode(document) for document in documents))
    return path


def products(count: int) -> list[dict]:
    """Records with 1, 2, 3, 4, 1, 2, ... pictures in classes 0, 10, 20, 0, ..."""
    return [
        {"_id": i, "imgs": [{"picture": b"%d-%d" % (i, n)} for n in range(1 + i % 4)], "category_id": i % 3 * 10}
        for i in range(count)
    ]


def some_source(kind: str, tmp_path: Path) -> tuple[Source, int]:
    """A source of each kind, and how many rows it has."""
    if kind == "images":
        write_tree(tmp_path / "src", {f"class {i % 3}/{i}.png": b"%d" % i for i in range(41)})
        return open_source(tmp_path / "src"), 41
    if kind == "bson":
        return open_source(write_bson(tmp_path / "a.bson", products(40))), 100
    if kind.startswith("archive"):
        files = {f"class {i % 3}/{i}.png": b"%d" % i for i in range(41)}
        return open_source(write_archive(tmp_path / f"a{kind.partition(' ')[2]}", files)), 41
    if kind == "labels":
        files = {f"{i}.png": b"%d" % i for i in range(41)}
        table = "".join(f"{i},class {i % 3}\n" for i in range(40))
        (tmp_path / "a.csv").write_text(table)
        return open_source(write_tree(tmp_path / "src", files), labels=str(tmp_path / "a.csv")), 41
    if kind == "cifar":
        return open_source(write_tree(tmp_path / "cifar", cifar10_files())), 50
    if kind == "dataset":
        files = {f"class {i % 3}/{i}.png": picture(i, (4, 4), format="PNG") for i in range(41)}
        source = write_tree(tmp_path / "src", files)
        firesteel.prepare(source, tmp_path / "ds", engine="local", workers=1, shard_bytes=1 << 10)
        return open_source(tmp_path / "ds"), 41
    for stem, rows in (("train", 37), ("t10k", 5)):
        compress = ".gz" if kind == "idx gzip" else ""
        write_idx(
            tmp_path / f"{stem}-images-idx3-ubyte{compress}", np.arange(rows * 6, dtype=np.uint8).reshape(rows, 2, 3)
        )
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte{compress}", np.arange(rows, dtype=np.uint8) % 7)
    return open_source(tmp_path), 42


KINDS = ["images", "labels", "archive .zip", "archive .tar", "bson", "cifar", "dataset", "idx", "idx gzip"]
any_kind = pytest.mark.parametrize("kind", KINDS)


# -- what all sources promise ---------------------------------------------------------------------------------------


@any_kind
def test_partitions_cover_each_row_exactly_once(kind, tmp_path):
    """However many partitions are asked for, together they give the same rows in the same order, each once."""
    source, expected = some_source(kind, tmp_path)
    whole = rows_of(source)

    assert len(whole) == expected
    assert len({row["id"] for row in whole}) == expected
    for count in COUNTS:
        assert rows_of(source, count) == whole
        assert 1 <= len(source.partitions(count)) <= count + 1


@any_kind
def test_rows_without_data_are_the_same_rows(kind, tmp_path):
    """Reading without data gives the same ids, groups, labels, splits and problems."""
    source, _ = some_source(kind, tmp_path)
    kept = ("id", "group", "label", "split", "problem")

    bare = [{name: row[name] for name in kept} for row in rows_of(source, 3, with_data=False)]

    assert bare == [{name: row[name] for name in kept} for row in rows_of(source, 3)]


@any_kind
def test_a_source_travels(kind, tmp_path):
    """A source and its partitions, pickled and unpickled, give the same rows: tasks get them so."""
    source, _ = some_source(kind, tmp_path)

    copy, parts = pickle.loads(pickle.dumps((source, source.partitions(3))))

    assert [row for part in parts for batch in copy.read(part) for row in batch.to_pylist()] == rows_of(source)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("labels", "dataset")]
)  # have tests of their own
def test_the_fingerprint_changes_with_the_content(kind, tmp_path):
    """Opened twice, a source says the same of itself; after a file has changed, something else."""
    source, _ = some_source(kind, tmp_path)
    assert open_source(source.place).fingerprint_parts() == source.fingerprint_parts()

    changed = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file())
    os.utime(changed, ns=(1, 1))

    assert open_source(source.place).fingerprint_parts() != source.fingerprint_parts()


@pytest.mark.parametrize("kind", ["images", "bson"])
def test_a_sample_is_made_of_rows_of_the_source(kind, tmp_path):
    """A sample has as many rows as asked for, all of the source, with data, and is the same at every call."""
    source, _ = some_source(kind, tmp_path)
    rows = {row["id"]: row for row in rows_of(source)}

    sampled = [{**row._asdict(), "group": row.group or row.id} for row in source.sample(10)]

    assert len(sampled) == 10
    assert all(rows[row["id"]] == row for row in sampled)
    assert [row["id"] for row in sampled] == [row.id for row in source.sample(10)]


def test_batches_have_the_schema_and_a_bounded_size(tmp_path):
    """A batch is closed once its data exceeds a few megabytes, whatever the number of rows."""
    source = open_source(write_tree(tmp_path / "src", {f"a/{i:02d}": bytes(1_000_000) for i in range(20)}))

    batches = list(source.read(source.partitions(1)[0]))

    assert all(batch.schema == SCHEMA for batch in batches)
    assert sum(batch.num_rows for batch in batches) == 20
    assert max(batch.nbytes for batch in batches) < BATCH_BYTES + 2_000_000


# -- class folders --------------------------------------------------------------------------------------------------


def test_a_class_is_the_folder_at_the_top(tmp_path):
    """Names with spaces and signs stay as they are; below the class folder, depth does not matter."""
    root = write_tree(
        tmp_path, {"a cat/x.png": b"1", "a cat/deep/deeper/x.png": b"2", "dog (big), 50%/x=1.png": b"3", "7/x": b"4"}
    )
    source = open_source(root)

    assert isinstance(source, ImageFolderSource)
    assert {row["id"]: (row["label"], row["data"], row["problem"]) for row in rows_of(source)} == {
        "a cat/x.png": ("a cat", b"1", None),
        "a cat/deep/deeper/x.png": ("a cat", b"2", None),
        "dog (big), 50%/x=1.png": ("dog (big), 50%", b"3", None),
        "7/x": ("7", b"4", None),
    }
    assert source.class_names() == ["7", "a cat", "dog (big), 50%"]
    assert (source.rows, source.size_bytes, source.declared_splits(), source.notes()) == (4, 4, [], [])


def test_one_name_in_two_folders_is_two_rows(tmp_path):
    """Two files of one name in different folders are told apart by their ids, also where the class is the same."""
    root = write_tree(tmp_path, {"a/x.png": b"1", "b/x.png": b"2", "a/sub/x.png": b"3"})

    assert {row["id"]: row["data"] for row in rows_of(open_source(root))} == {
        "a/x.png": b"1",
        "b/x.png": b"2",
        "a/sub/x.png": b"3",
    }


def test_an_accent_is_one_class_however_it_is_stored(tmp_path):
    """A folder from a Mac (e and an accent) and one from Linux (é) are one class, by its composed name."""
    composed, separate = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != separate
    root = write_tree(tmp_path, {f"{composed}/1.png": b"1", f"{separate}/1.png": b"2", f"{separate}/é.png": b"3"})
    source = open_source(root)

    rows = rows_of(source)

    assert source.class_names() == [composed]
    assert {row["label"] for row in rows} == {composed}
    assert len({row["id"] for row in rows}) == 3
    assert sorted(row["data"] for row in rows) == [b"1", b"2", b"3"]


def test_a_name_that_is_not_unicode_is_readable(tmp_path):
    """A file and a folder named in another encoding are read, and their names can be printed."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"\xfc.png", b"\xfd.png"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    source = open_source(tmp_path)

    rows = rows_of(source)

    assert sorted(row["data"] for row in rows) == [b"\xfc.png", b"\xfd.png"]
    assert len({row["id"] for row in rows}) == 2
    assert [row["label"] for row in rows] == source.class_names() * 2
    assert all((row["id"] + row["label"]).encode() for row in rows)


def test_hidden_files_are_left_alone_and_counted(tmp_path):
    """Files and folders whose names begin with a dot, Thumbs.db and the like are no rows; their number is said."""
    root = write_tree(
        tmp_path,
        {
            "a/x.png": b"1",
            "a/.DS_Store": b"",
            "a/._x.png": b"",
            ".git/config": b"",
            "a/Thumbs.db": b"",
            "__MACOSX/a/x": b"",
        },
    )
    source = open_source(root)

    assert [row["id"] for row in rows_of(source)] == ["a/x.png"]
    assert source.class_names() == ["a"]
    assert source.notes() == ["5 hidden files (names that begin with a dot, Thumbs.db) were left alone"]


def test_an_empty_class_folder_is_a_class(tmp_path):
    """A class folder without a file is announced, so that its loss can be said."""
    root = write_tree(tmp_path, {"a/x.png": b"1"})
    (root / "empty").mkdir()

    assert open_source(root).class_names() == ["a", "empty"]
    assert len(rows_of(open_source(root))) == 1


def test_a_file_outside_of_a_class_folder_has_a_problem(tmp_path):
    """A file that lies in no class folder is a row with a problem, with and without an own split."""
    plain = open_source(write_tree(tmp_path / "plain", {"a/x.png": b"1", "readme.txt": b"2"}))
    own = open_source(write_tree(tmp_path / "own", {"train/a/x": b"1", "test/a/y": b"2", "train/z": b"3", "w": b"4"}))

    assert {row["id"]: (row["label"], row["problem"]) for row in rows_of(plain)} == {
        "a/x.png": ("a", None),
        "readme.txt": (None, "not in a class folder"),
    }
    assert {row["id"]: row["problem"] for row in rows_of(own) if row["problem"]} == {
        "train/z": "not in a class folder",
        "w": "not in a class folder",
    }


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "test"), ["test", "train"]),
        (("Training", "Testing"), ["test", "train"]),
        (("train", "val"), ["train", "validation"]),
        (("train", "valid", "test"), ["test", "train", "validation"]),
        (("train",), ["train"]),
    ],
)
def test_split_folders_are_the_split(folders, splits, tmp_path):
    """Folders named train, test or validation, in their usual spellings, are splits, and the classes lie below them."""
    root = write_tree(tmp_path, {f"{folder}/{name}/1.png": b"" for folder in folders for name in ("a", "b")})
    source = open_source(root)

    assert source.declared_splits() == splits
    assert source.class_names() == ["a", "b"]
    assert Counter((row["split"], row["label"]) for row in rows_of(source)) == {(s, c): 1 for s in splits for c in "ab"}
    assert {row["id"] for row in rows_of(source)} == {f"{folder}/{name}/1.png" for folder in folders for name in "ab"}


def test_a_class_named_test_is_a_class(tmp_path):
    """Where other folders lie beside them, train and test are classes like others."""
    source = open_source(write_tree(tmp_path, {"train/1": b"", "test/1": b"", "car/1": b""}))

    assert source.declared_splits() == []
    assert source.class_names() == ["car", "test", "train"]
    assert {row["label"]: row["split"] for row in rows_of(source)} == {"car": None, "test": None, "train": None}


def test_a_file_that_has_gone_is_a_row_with_a_problem(tmp_path):
    """A file deleted after the listing, and a dangling link, are rows that say they cannot be read."""
    root = write_tree(tmp_path, {"a/1": b"1", "a/2": b"2"})
    (root / "a" / "3").symlink_to("nowhere")
    source = open_source(root)
    (root / "a" / "2").unlink()

    problems = {row["id"]: row["problem"] for row in rows_of(source)}

    assert problems["a/1"] is None
    assert all("cannot be read" in problems[name] and "No such file" in problems[name] for name in ("a/2", "a/3"))


@pytest.mark.parametrize(
    "files", [{}, {"x.png": b"1"}, {".hidden/x.png": b"1"}], ids=["nothing", "no folder", "hidden"]
)
def test_a_folder_without_class_folders_is_a_data_error(files, tmp_path):
    """The message says how many files lie in it directly and what is expected."""
    with pytest.raises(
        DataError, match=r"holds no class folders \(\d files lie in it directly\)\.\nExpected one folder a"
    ):
        open_source(write_tree(tmp_path, files), "images")


def test_the_same_folder_behind_fsspec_gives_the_same_rows(tmp_path):
    """Class folders on another file system are read like those on a disk."""
    files = {"a b/x.png": b"1", "é/deep/x.png": b"2", "a b/.hidden": b""}
    local = open_source(write_tree(tmp_path, files))
    memory = fsspec.filesystem("memory")
    for path, data in files.items():
        memory.pipe(f"/{tmp_path.name}/{path}", data)

    remote = open_source(f"memory://{tmp_path.name}")

    assert rows_of(remote, 2) == rows_of(local, 2)
    assert remote.class_names() == local.class_names()
    memory.rm(f"/{tmp_path.name}", recursive=True)


# -- BSON -----------------------------------------------------------------------------------------------------------


def test_each_picture_of_a_record_is_a_row(tmp_path):
    """Records with one to four pictures give as many rows, of one class and one group, with ids of their own."""
    source = open_source(write_bson(tmp_path / "a.bson", products(4)))

    assert isinstance(source, BsonSource)
    assert [(row["id"], row["group"], row["label"], row["data"], row["problem"]) for row in rows_of(source)] == [
        ("0", "0", "0", b"0-0", None),
        ("1", "1", "10", b"1-0", None),
        ("1_1", "1", "10", b"1-1", None),
        ("2", "2", "20", b"2-0", None),
        ("2_1", "2", "20", b"2-1", None),
        ("2_2", "2", "20", b"2-2", None),
        ("3", "3", "0", b"3-0", None),
        ("3_1", "3", "0", b"3-1", None),
        ("3_2", "3", "0", b"3-2", None),
        ("3_3", "3", "0", b"3-3", None),
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"_id": 1, "category_id": 5}, "record has no imgs.picture"),
        ({"_id": 1, "category_id": 5, "imgs": []}, "record has no imgs.picture"),
        ({"_id": 1, "category_id": 5, "imgs": [{"url": "x"}]}, "record has no imgs.picture"),
        ({"_id": 1, "category_id": 5, "imgs": "text"}, "record has no imgs.picture"),
        ({"_id": 1, "category_id": 5, "imgs": [{"picture": "text"}]}, "imgs.picture is str, not binary"),
        ({"_id": 1, "category_id": 5, "imgs": [{"picture": None}]}, "imgs.picture is NoneType, not binary"),
        ({"_id": 1, "imgs": [{"picture": b"x"}]}, "record has no category_id"),
        ({"_id": 1, "category_id": None, "imgs": [{"picture": b"x"}]}, "record has no category_id"),
        ({"_id": 1, "category_id": {"a": 1}, "imgs": [{"picture": b"x"}]}, "record has no category_id"),
    ],
)
def test_a_record_without_picture_or_class_is_a_row_with_a_problem(document, problem, tmp_path):
    """What is missing is said; the records around it are read."""
    good = {"imgs": [{"picture": b"x"}], "category_id": 7}
    source = open_source(write_bson(tmp_path / "a.bson", [{"_id": 0, **good}, document, {"_id": 2, **good}]))

    assert [(row["id"], row["label"], row["problem"]) for row in rows_of(source)] == [
        ("0", "7", None),
        ("1", None, problem),
        ("2", "7", None),
    ]


def test_classes_are_the_text_of_any_scalar(tmp_path):
    """Numbers, words, truth values and object ids are classes by their text."""
    labels = [5, "shoes", True, 2.5, bson.ObjectId("65a1b2c3d4e5f60718293a4b")]
    documents = [{"_id": i, "category_id": label, "imgs": [{"picture": b"x"}]} for i, label in enumerate(labels)]

    rows = rows_of(open_source(write_bson(tmp_path / "a.bson", documents)))

    assert [row["label"] for row in rows] == ["5", "shoes", "True", "2.5", "65a1b2c3d4e5f60718293a4b"]


def test_ids_are_unique_whatever_the_records_are_called(tmp_path):
    """Records without a name, of one name, or named like a second picture of another still have rows of their own."""
    image = {"category_id": 1, "imgs": [{"picture": b"x"}, {"picture": b"y"}]}
    documents = [{"_id": 1, **image}, image, image, {"_id": bson.ObjectId(), **image}, {"_id": "b", **image}]

    rows = rows_of(open_source(write_bson(tmp_path / "a.bson", documents)))

    assert len(rows) == 10
    assert len({row["id"] for row in rows}) == 10
    assert len({row["group"] for row in rows}) == 5


def test_fields_can_be_named(tmp_path):
    """Other names of the fields are given as options; a path goes through lists and documents."""
    documents = [
        {"_id": 1, "sku": "A", "kind": "hat", "media": {"photos": [{"jpg": b"1"}, {"jpg": b"2"}]}, "main": b"3"}
    ]
    path = write_bson(tmp_path / "a.bson", documents)
    options = {"id_field": "sku", "label_field": "kind"}

    nested = open_source(path, picture_field="media.photos.jpg", **options)
    flat = open_source(path, picture_field="main", **options)

    assert [(row["id"], row["label"], row["data"]) for row in rows_of(nested)] == [
        ("A", "hat", b"1"),
        ("A_1", "hat", b"2"),
    ]
    assert [(row["id"], row["data"]) for row in rows_of(flat)] == [("A", b"3")]
    assert nested.fingerprint_parts() != flat.fingerprint_parts()
    with pytest.raises(ConfigError, match=r"no option 'label'.*Did you mean 'label_field'"):
        open_source(path, label="kind")


@pytest.mark.parametrize("count", COUNTS)
def test_damage_costs_what_is_damaged(count, tmp_path):
    """A garbage length in a dump is one row with a problem and its place; all other rows come, in any partitioning."""
    parts = [bson.encode(document) for document in products(20)]
    parts[7] = b"\xff\xff\xff\xff" + parts[7][4:]
    (tmp_path / "a.bson").write_bytes(b"".join(parts))
    place = sum(map(len, parts[:7]))

    rows = rows_of(open_source(tmp_path / "a.bson"), count)

    bad = [row for row in rows if row["problem"]]
    assert {row["group"] for row in rows if not row["problem"]} == {str(i) for i in range(20) if i != 7}
    assert [(row["id"], row["label"], row["data"]) for row in bad] == [(f"a.bson@{place}", None, parts[7][:64])]
    assert bad[0]["problem"].endswith(f"({len(parts[7])} bytes)")


def test_a_file_that_is_no_dump_is_one_broken_row(tmp_path):
    """Random bytes named .bson are one row with a problem, not an exception."""
    (tmp_path / "a.bson").write_bytes(b"\xf0" * 1000)

    assert [(row["id"], row["label"]) for row in rows_of(open_source(tmp_path / "a.bson"), 4)] == [("a.bson@0", None)]


def test_an_empty_or_missing_dump_is_a_data_error(tmp_path):
    """Zero bytes, a folder, and nothing at all are refused when the source is opened."""
    (tmp_path / "a.bson").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        open_source(tmp_path / "a.bson")
    with pytest.raises(DataError, match="is not a file"):
        open_source(tmp_path, "bson")
    with pytest.raises(DataError, match="there is no source at"):
        open_source(tmp_path / "b.bson")


def test_the_real_sample_has_its_published_rows():
    """82 records with 110 pictures in 36 categories: what the sample's description says."""
    rows = rows_of(open_source(real_data("cdiscount") / "train_example.bson"), 7)

    assert (len(rows), len({row["group"] for row in rows}), len({row["label"] for row in rows})) == (110, 82, 36)
    assert Counter(Counter(row["group"] for row in rows).values()) == {1: 67, 2: 7, 3: 3, 4: 5}
    assert len({row["id"] for row in rows}) == 110
    assert all(row["problem"] is None for row in rows)


# -- idx ------------------------------------------------------------------------------------------------------------


def idx_pair(folder: Path, stem: str, rows: int, *, ending: str = "", shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    images = np.random.default_rng(rows).integers(0, 256, (rows, *shape)).astype(np.uint8)
    write_idx(folder / f"{stem}-images-idx3-ubyte{ending}", images)
    write_idx(folder / f"{stem}-labels-idx1-ubyte{ending}", (np.arange(rows) % 3).astype(np.uint8))
    return images


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_are_paired_by_name(ending, tmp_path):
    """train and t10k are the training and test split; a row is the array's bytes, its label the number beside it."""
    images = {
        "train": idx_pair(tmp_path, "train", 11, ending=ending),
        "test": idx_pair(tmp_path, "t10k", 4, ending=ending),
    }
    source = open_source(tmp_path)

    rows = rows_of(source)

    assert isinstance(source, IdxSource)
    assert source.array == ArraySpec("uint8", (1, 2, 3))
    assert (source.rows, source.declared_splits()) == (15, ["test", "train"])
    for split, arrays in images.items():
        found = sorted((row for row in rows if row["split"] == split), key=lambda row: row["id"])
        assert [row["data"] for row in found] == [array.tobytes() for array in arrays]
        assert [row["label"] for row in found] == [str(i % 3) for i in range(len(arrays))]


def test_a_pair_of_another_name_brings_no_split(tmp_path):
    """NAME-images and NAME-labels are a pair for any name; colours come as three channels where they stand first."""
    idx_pair(tmp_path, "faces", 5, shape=(3, 2, 2))
    source = open_source(tmp_path / "faces-images-idx3-ubyte")

    assert (source.array.shape, source.declared_splits(), source.rows) == ((3, 2, 2), [], 5)
    assert {row["split"] for row in rows_of(source)} == {None}


def test_one_file_of_a_folder_can_be_chosen(tmp_path):
    """The path of one file of arrays opens that pair alone."""
    idx_pair(tmp_path, "train", 11)
    idx_pair(tmp_path, "t10k", 4)

    assert open_source(tmp_path / "t10k-images-idx3-ubyte").rows == 4


def test_a_file_that_is_there_twice_is_read_once(tmp_path):
    """Where a file lies beside its compressed form, as torchvision leaves them, each row comes once."""
    idx_pair(tmp_path, "train", 11)
    idx_pair(tmp_path, "train", 11, ending=".gz")
    source = open_source(tmp_path)

    assert source.rows == 11
    assert len({row["id"] for row in rows_of(source)}) == len(rows_of(source)) == 11


def test_hidden_files_beside_idx_files_are_left_alone(tmp_path):
    """What a Mac leaves beside each file (._NAME) is not taken for a pair."""
    idx_pair(tmp_path, "train", 11)
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / f"._train-{kind}-ubyte").write_bytes(b"\0\5\x16\7")

    assert open_source(tmp_path).rows == 11


def test_files_that_do_not_agree_are_a_data_error(tmp_path):
    """Another number of labels than of arrays, and labels that are arrays themselves, are refused with both shapes."""
    idx_pair(tmp_path, "train", 11)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(10, np.uint8))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte holds 11 rows, .* labels of shape \(10,\)"):
        open_source(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros((11, 2), np.uint8))
    with pytest.raises(DataError, match=r"labels of shape \(11, 2\)"):
        open_source(tmp_path)


def test_missing_labels_are_a_data_error(tmp_path):
    """The message names the file that is expected."""
    idx_pair(tmp_path, "train", 3)
    (tmp_path / "train-labels-idx1-ubyte").unlink()

    with pytest.raises(DataError, match=r"has no labels beside it\. Expected train-labels-idx1-ubyte"):
        open_source(tmp_path)


def test_arrays_of_two_shapes_are_a_data_error(tmp_path):
    """Training and test arrays must have one shape."""
    idx_pair(tmp_path, "train", 3)
    idx_pair(tmp_path, "t10k", 3, shape=(4, 4))

    with pytest.raises(DataError, match="hold different arrays"):
        open_source(tmp_path)


@pytest.mark.parametrize("shape", [(), (0, 4)], ids=["one value a row", "no value"])
def test_arrays_without_dimensions_or_values_are_a_data_error(shape, tmp_path):
    """Rows that are no arrays (labels in place of pictures), or hold nothing, are refused when the source is opened."""
    idx_pair(tmp_path, "train", 3, shape=shape)

    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        open_source(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    """Whether its header or its values are damaged, the message names the file."""
    idx_pair(tmp_path, "train", 50)
    images, labels = (tmp_path / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    sound = images.read_bytes(), labels.read_bytes()

    images.write_bytes(sound[0][:-7])
    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte: idx file is cut"):
        rows_of(open_source(tmp_path))
    images.write_bytes(sound[0])
    labels.write_bytes(sound[1][:-7])
    with pytest.raises(FormatError, match=r"train-labels-idx1-ubyte: idx file is cut"):
        rows_of(open_source(tmp_path))
    labels.write_bytes(sound[1])
    images.write_bytes(b"<html>")
    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte: not an idx file"):
        open_source(tmp_path)
    images.write_bytes(gzip.compress(sound[0])[:50])
    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte: idx file is damaged"):
        rows_of(open_source(tmp_path))


# -- which source is it ---------------------------------------------------------------------------------------------


def test_the_format_is_told_from_what_is_there(tmp_path):
    """Class folders, a .bson file, and idx files, as a folder or one of them, are recognised."""
    write_tree(tmp_path / "images", {"a/x.png": picture()})
    write_bson(tmp_path / "dump.bson", products(1))
    (tmp_path / "idx").mkdir()
    idx_pair(tmp_path / "idx", "train", 3, ending=".gz")

    assert isinstance(open_source(tmp_path / "images"), ImageFolderSource)
    assert isinstance(open_source(str(tmp_path / "dump.bson")), BsonSource)
    assert isinstance(open_source(Place.of(tmp_path / "idx")), IdxSource)
    assert isinstance(open_source(tmp_path / "idx" / "train-images-idx3-ubyte.gz"), IdxSource)


def test_what_cannot_be_told_has_to_be_said(tmp_path):
    """A file of unknown kind is a ConfigError that shows its first bytes; with the format said, it opens."""
    path = write_bson(tmp_path / "dump", products(2))

    with pytest.raises(
        ConfigError, match=f"begins with {path.read_bytes()[:4].hex(' ')}.*\n.*--format: images, bson, idx"
    ):
        open_source(path)
    assert len(rows_of(open_source(path, "bson"))) == 3
    with pytest.raises(ConfigError, match="is a table, which Spark reads"):
        open_source(path, "csv")


def test_options_of_another_format_are_refused(tmp_path):
    """Field names are for BSON; pictures in folders have options of their own."""
    write_tree(tmp_path / "images", {"a/x.png": b""})

    with pytest.raises(ConfigError, match=r"format images has no option 'label_field'\. It has: file_column"):
        open_source(tmp_path / "images", label_field="x")
