"""CIFAR as a source: in a folder or in its archive, every record once; what would run code is refused."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

import firesteel
from firesteel.data.sources import CifarSource, open_source
from firesteel.errors import ConfigError, DataError
from tests.archives import cifar10_files, write_archive
from tests.data.test_preparation import assert_whole
from tests.data.test_sources import rows_of, write_tree


def test_a_folder_gives_pictures_labels_and_splits(tmp_path):
    files = cifar10_files()
    source = open_source(write_tree(tmp_path / "c", files))

    rows = rows_of(source, 7)

    assert isinstance(source, CifarSource)
    assert (source.rows, source.declared_splits(), source.class_names()[3]) == (50, ["test", "train"], "class 3")
    assert [row["split"] for row in rows].count("test") == 10
    assert [row["label"] for row in rows[:3]] == ["class 0", "class 1", "class 2"]
    assert rows[1]["data"] == files["data_batch_1.bin"][3074 : 3073 * 2]
    assert rows[0]["id"] == "data_batch_1/00000"


@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "c.tar", "c.zip"])
def test_the_archive_gives_what_the_folder_gives(name, tmp_path):
    files = cifar10_files()
    packed = write_archive(tmp_path / name, {f"cifar-10-batches-bin/{key}": data for key, data in files.items()})

    assert rows_of(open_source(packed), 4) == rows_of(open_source(write_tree(tmp_path / "c", files)))


def test_cifar_100_has_fine_and_coarse_labels(tmp_path):
    files = {
        "train.bin": b"".join(bytes([i % 20, i % 100]) + bytes(3072) for i in range(100)),
        "test.bin": bytes([3, 42]) + bytes(3072),
        "fine_label_names.txt": "\n".join(f"fine{i}" for i in range(100)).encode(),
        "coarse_label_names.txt": "\n".join(f"coarse{i}" for i in range(20)).encode(),
    }
    root = write_tree(tmp_path / "c", files)

    assert rows_of(open_source(root))[0]["label"] == "fine42"
    assert rows_of(open_source(root, label_level="coarse"))[0]["label"] == "coarse3"
    assert len(open_source(root).class_names()) == 100
    with pytest.raises(ConfigError, match="label_level must be fine or coarse"):
        open_source(root, "cifar", label_level="medium")


def test_one_file_is_a_source(tmp_path):
    root = write_tree(tmp_path / "c", cifar10_files())

    assert len(rows_of(open_source(root / "data_batch_2.bin"))) == 20


def test_a_cut_record_and_a_wild_label_are_set_aside(tmp_path):
    """And counted: the whole way."""
    files = cifar10_files()
    files["data_batch_1.bin"] = b"\xff" + files["data_batch_1.bin"][1:]
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-100]

    dataset = firesteel.prepare(write_tree(tmp_path / "c", files), tmp_path / "ds", engine="local", workers=1).dataset

    assert dataset.feature.shape == (3, 32, 32)
    assert dataset.manifest.quarantine.reasons == {"label 255": 1, "cut record": 1}
    assert (dataset.manifest.counts.read, dataset.manifest.counts.written) == (50, 48)
    assert_whole(dataset)
    statistics = np.array(dataset.manifest.statistics.mean)
    assert ((statistics > 0.4) & (statistics < 0.6)).all()


@pytest.mark.parametrize("packed", [False, True])
def test_pickles_are_refused_and_not_opened(packed, tmp_path):
    """The reason is said; a pickle that would run something is not run."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    files = dict.fromkeys(("data_batch_1", "test_batch", "batches.meta"), pickle.dumps(Evil()))
    root = write_tree(tmp_path / "cifar-10-batches-py", files)
    if packed:
        root = write_archive(
            tmp_path / "c.tar.gz", {f"cifar-10-batches-py/{name}": data for name, data in files.items()}
        )

    with pytest.raises(DataError, match=r"Python version of CIFAR(.|\n)*cifar-10-binary.tar.gz"):
        open_source(root)
    assert not (tmp_path / "ran").exists()


def test_wrong_names_and_missing_files_are_said(tmp_path):
    root = write_tree(tmp_path / "c", cifar10_files() | {"batches.meta.txt": b"one\ntwo\n"})
    with pytest.raises(DataError, match=r"batches.meta.txt of .* names 2 classes; CIFAR-10 has 10"):
        open_source(root)
    with pytest.raises(DataError, match="holds no CIFAR files"):
        open_source(write_tree(tmp_path / "d", {"x": struct.pack("<i", 1)}), "cifar")


def test_labels_are_numbers_where_no_names_are(tmp_path):
    files = cifar10_files()
    del files["batches.meta.txt"]

    assert rows_of(open_source(write_tree(tmp_path / "c", files)))[3]["label"] == "3"
