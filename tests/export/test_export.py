"""Exports: every record is a file or is set aside, its bytes are those of the source, and an interruption costs nothing."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest
from PIL import Image

import firesteel
from firesteel.data.sources import open_source
from firesteel.errors import ConfigError, DataError, DatasetError, WorkerFailed
from firesteel.export import task
from tests.archives import cifar10_files, write_archive
from tests.conftest import picture, real_data
from tests.data.test_sources import rows_of, write_bson, write_tree


def export(source: Path, folder: Path, *, workers: int = 1, **options: Any) -> Any:
    return firesteel.export_images(source, folder, engine="local", workers=workers, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """All files but those that tell of the export."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if ".export" not in p.parts}


def table(folder: Path, kind: str) -> list[dict[str, str]]:
    found = []
    for path in sorted((folder / ".export").glob(f"{kind}-*.csv")):
        found += list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    return found


def assert_whole(result: Any, folder: Path) -> None:
    """The counts add up, every file is in the index once, every record set aside is listed, nothing else lies there."""
    index = table(folder, "index")
    assert result.read == result.written + result.set_aside
    assert (len(index), len(table(folder, "set-aside"))) == (result.written, result.set_aside)
    assert sorted(row["file"] for row in index) == sorted(tree(folder))
    assert result.set_aside == sum(result.reasons.values())
    assert result.bytes == sum(map(len, tree(folder).values()))
    assert not list(folder.rglob("*.tmp"))
    assert not list(folder.glob(".export/done-*"))
    assert not (folder / ".export" / "preparing.json").exists()


def records(count: int) -> list[dict[str, Any]]:
    return [
        {"_id": i, "category_id": 10 + i % 3, "imgs": [{"picture": picture(i, (8, 8), seed=4 * i + n)} for n in range(1 + i % 3)]}
        for i in range(count)
    ]  # fmt: skip


def test_records_with_several_pictures_are_numbered(tmp_path):
    """CATEGORY/ID.jpg, ID_1.jpg, ID_2.jpg, byte for byte."""
    documents = records(9)
    source = write_bson(tmp_path / "a.bson", documents)

    result = export(source, tmp_path / "out")

    expected = {
        f"{d['category_id']}/{d['_id']}{f'_{n}' if n else ''}.jpg": image["picture"]
        for d in documents
        for n, image in enumerate(d["imgs"])
    }
    assert tree(tmp_path / "out") == expected
    assert_whole(result, tmp_path / "out")
    assert {row["group"] for row in table(tmp_path / "out", "index")} == {str(d["_id"]) for d in documents}


def test_a_folder_and_its_archive_export_the_same_tree(image_folder, tmp_path):
    """Which is the folder itself; and what was exported is prepared as what it came from."""
    files = {str(path.relative_to(image_folder)): path.read_bytes() for path in image_folder.rglob("*.png")}
    packed = write_archive(tmp_path / "p.tar.gz", {f"top/{name}": data for name, data in files.items()})

    for number, source in enumerate((image_folder, packed)):
        assert_whole(export(source, tmp_path / f"out{number}", workers=2), tmp_path / f"out{number}")
        assert tree(tmp_path / f"out{number}") == files
    again = open_source(tmp_path / "out0")
    assert [row["label"] for row in rows_of(again)] == [row["label"] for row in rows_of(open_source(image_folder))]


def test_splits_are_folders_unless_not_wanted(tmp_path):
    source = write_tree(tmp_path / "c", cifar10_files())

    kept, flat = export(source, tmp_path / "kept"), export(source, tmp_path / "flat", splits=False)

    assert {name.split("/")[0] for name in tree(tmp_path / "kept")} == {"train", "test"}
    assert {name.split("/")[0] for name in tree(tmp_path / "flat")} == {f"class {i}" for i in range(10)}
    assert_whole(kept, tmp_path / "kept")
    assert_whole(flat, tmp_path / "flat")


def test_arrays_become_png_without_loss(idx_folder, tmp_path):
    """Of idx files and of a prepared dataset, in grey and in colour."""
    firesteel.prepare(idx_folder, tmp_path / "ds", engine="local", workers=1)
    rows = {row["id"]: row for row in rows_of(open_source(idx_folder))}
    for number, source in enumerate((idx_folder, tmp_path / "ds")):
        folder = tmp_path / f"out{number}"
        assert_whole(export(source, folder), folder)
        for line in table(folder, "index"):
            pixels = np.asarray(Image.open(folder / line["file"]))
            assert pixels.tobytes() == rows[line["id"]]["data"]
            assert line["file"] == f"{line['split']}/{line['label']}/{line['id']}.png"


def test_a_jpeg_dataset_keeps_its_bytes(image_folder, tmp_path):
    firesteel.prepare(image_folder, tmp_path / "ds", engine="local", workers=1, encoding="jpeg")
    stored = {row["id"]: row["data"] for row in rows_of(open_source(tmp_path / "ds"))}

    result = export(tmp_path / "ds", tmp_path / "out")

    assert_whole(result, tmp_path / "out")
    files = tree(tmp_path / "out")
    assert {line["id"]: files[line["file"]] for line in table(tmp_path / "out", "index")} == stored
    assert all(name.endswith(".jpg") for name in files)


def test_broken_records_are_set_aside_and_listed(image_folder, tmp_path):
    """Not a picture, cut, empty, in no class; a cut picture passes where only headers are looked at."""
    cut = picture(1, (64, 64), seed=1)[:-300]
    write_tree(image_folder, {"dark/no.png": b"no", "grey/cut.jpg": cut, "white/empty.png": b"", "stray.txt": b"x"})

    full, header = export(image_folder, tmp_path / "full"), export(image_folder, tmp_path / "header", check="header")

    assert (full.read, full.written, full.set_aside) == (64, 60, 4)
    assert full.reasons == {"not a picture": 1, "damaged picture": 1, "empty": 1, "not in a class folder": 1}
    assert {line["id"] for line in table(tmp_path / "full", "set-aside")} == {
        "dark/no.png",
        "grey/cut.jpg",
        "white/empty.png",
        "stray.txt",
    }
    assert (header.written, header.set_aside) == (61, 3)
    assert_whole(full, tmp_path / "full")
    assert_whole(header, tmp_path / "header")


def test_hostile_names_stay_inside(tmp_path):
    """Labels and ids of a dump may be anything."""
    documents = [
        {"_id": name, "category_id": label, "imgs": [{"picture": picture(9, (8, 8))}]}
        for name, label in [("../../x", ".."), ("/etc/x", "/"), ("a\0b", "con"), ("..", "a/../.."), ("n", ".export")]
    ]

    result = export(write_bson(tmp_path / "a.bson", documents), tmp_path / "deep" / "out")

    assert result.written == 5
    assert_whole(result, tmp_path / "deep" / "out")
    assert sorted(os.listdir(tmp_path)) == ["a.bson", "deep"]
    assert os.listdir(tmp_path / "deep") == ["out"]
    assert {line["label"] for line in table(tmp_path / "deep" / "out", "index")} == {
        d["category_id"] for d in documents
    }


def test_names_that_collide_get_files_of_their_own(tmp_path):
    """The same id twice, case, an extension that is wrong, A_1 beside the second picture of A."""
    image = [{"picture": picture(i, (8, 8), seed=i)} for i in range(9)]
    documents = [
        {"_id": "a", "category_id": 1, "imgs": [image[0]]},
        {"_id": "a", "category_id": 1, "imgs": [image[1]]},
        {"_id": "B", "category_id": 1, "imgs": [image[2]]},
        {"_id": "b", "category_id": 1, "imgs": [image[3], image[4]]},
        {"_id": "b_1", "category_id": 1, "imgs": [image[5]]},
        {"_id": "c.png", "category_id": 1, "imgs": [image[6]]},
        {"_id": "c.jpg", "category_id": 1, "imgs": [image[7]]},
        {"_id": "d", "category_id": 1, "imgs": [image[8]]},
    ]

    result = export(write_bson(tmp_path / "a.bson", documents), tmp_path / "out")

    assert_whole(result, tmp_path / "out")
    files = tree(tmp_path / "out")
    assert sorted(files.values()) == sorted(each["picture"] for each in image)
    assert len({name.lower() for name in files}) == 9
    assert files["1/d.jpg"] == image[8]["picture"]


# -- a second time --------------------------------------------------------------------------------------------------


def test_the_same_again_does_nothing(image_folder, tmp_path):
    first = export(image_folder, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}

    second = export(image_folder, tmp_path / "out")

    assert (second.reused, second.written) == (True, first.written)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()], ids=["bug", "ctrl-c"])
def test_an_interrupted_export_goes_on(error, image_folder, tmp_path, monkeypatch):
    """What is done is not written again; the result is that of an export that was not interrupted."""
    calls = Counter()
    real = task.images.format_of

    def failing(data):
        calls["n"] += 1
        if calls["n"] == 30:
            raise error
        return real(data)

    monkeypatch.setattr(task.images, "format_of", failing)
    with pytest.raises((WorkerFailed, KeyboardInterrupt)):
        export(image_folder, tmp_path / "out")
    done = len(list((tmp_path / "out" / ".export").glob("done-*")))
    assert 0 < done < 8
    calls["n"] = 100
    result = export(image_folder, tmp_path / "out")

    assert result.written == 60
    assert_whole(result, tmp_path / "out")
    assert calls["n"] - 100 < 60
    export(image_folder, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_other_things_in_the_folder_are_refused_and_left_alone(image_folder, tmp_path):
    """A foreign folder, another export, a file; a folder that somebody is writing; the source itself."""
    write_tree(tmp_path / "foreign", {"x": b"1"})
    (tmp_path / "file").write_bytes(b"")
    export(image_folder, tmp_path / "out")
    (image_folder / "dark" / "new.png").write_bytes(picture(1, (8, 8), format="PNG"))

    with pytest.raises(DatasetError, match="not empty and is no export"):
        export(image_folder, tmp_path / "foreign")
    with pytest.raises(DatasetError, match="is a file"):
        export(image_folder, tmp_path / "file")
    with pytest.raises(DatasetError, match="export of another source, or with other options"):
        export(image_folder, tmp_path / "out")
    with pytest.raises(ConfigError, match="would lie inside its source"):
        export(image_folder, image_folder / "out")
    home = tmp_path / "busy" / ".export"
    home.mkdir(parents=True)
    marker = {"host": os.uname().nodename, "pid": os.getppid(), "token": "x"}
    (home / "preparing.json").write_text(json.dumps(marker))
    with pytest.raises(DatasetError, match=rf"another firesteel command \(process {os.getppid()}\)"):
        export(image_folder, tmp_path / "busy")
    assert tree(tmp_path / "foreign") == {"x": b"1"}


def test_what_is_no_picture_is_refused(tmp_path, image_folder):
    from tests.conftest import write_idx

    (tmp_path / "rows").mkdir()
    write_idx(tmp_path / "rows" / "train-images-idx2-ubyte", np.zeros((5, 4), np.uint8))
    write_idx(tmp_path / "rows" / "train-labels-idx1-ubyte", np.zeros(5, np.uint8))

    with pytest.raises(ConfigError, match=r"arrays of uint8 and shape \(4,\), which are no pictures"):
        export(tmp_path / "rows", tmp_path / "out")
    with pytest.raises(ConfigError, match="check must be full or header"):
        export(image_folder, tmp_path / "out", check="some")
    with pytest.raises(ConfigError, match=r"takes a path, got dict. Prepare a DataFrame, then export the dataset"):
        export({}, tmp_path / "out")
    with pytest.raises(DataError, match=r"no record of .* has a class"):
        export(write_bson(tmp_path / "a.bson", [{"_id": 1}]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_an_export_can_lie_behind_fsspec(image_folder):
    from firesteel.storage import Place

    place = Place.of("memory://exported")
    result = export(image_folder, place)

    names = {entry.path for entry in place.files() if ".export" not in entry.path}
    assert names == {str(path.relative_to(image_folder)) for path in image_folder.rglob("*.png")}
    assert result.written == 60
    place.delete()


def test_the_real_sample_is_exported_whole(tmp_path):
    """110 pictures of 82 products in 36 categories."""
    data = real_data("cdiscount") / "train_example.bson"

    result = export(data, tmp_path / "out", workers=2)

    assert (result.read, result.written, len(result.folders)) == (110, 110, 36)
    expected = Counter()
    for document in bson.decode_all(data.read_bytes()):
        for number, image in enumerate(document["imgs"]):
            suffix = f"_{number}" if number else ""
            expected[f"{document['category_id']}/{document['_id']}{suffix}.jpg"] = image["picture"]
    assert tree(tmp_path / "out") == expected
    assert_whole(result, tmp_path / "out")
