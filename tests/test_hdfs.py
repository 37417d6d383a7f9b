"""hdfs:// goes to pyarrow's Hadoop file system; what that lacks is said in a few lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

import firesteel
from firesteel.errors import StorageError
from firesteel.storage import Place
from tests.data.test_sources import write_tree


@pytest.fixture(autouse=True)
def _forget_file_systems() -> Any:
    from fsspec.implementations.arrow import HadoopFileSystem

    HadoopFileSystem.clear_instance_cache()
    yield
    HadoopFileSystem.clear_instance_cache()


def test_a_uri_of_hdfs_reaches_the_hadoop_file_system(image_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """With host, port and user of the URI; a folder of this machine stands for the cluster."""
    asked = []

    def fake(**options: Any) -> pyarrow.fs.FileSystem:
        asked.append({name: options[name] for name in ("host", "port", "user")})
        return pyarrow.fs.SubTreeFileSystem(str(tmp_path / "cluster"), pyarrow.fs.LocalFileSystem())

    monkeypatch.setattr(pyarrow.fs, "HadoopFileSystem", fake)
    files = {str(path.relative_to(image_folder)): path.read_bytes() for path in image_folder.rglob("*.png")}
    write_tree(tmp_path / "cluster" / "pictures", files)

    prepared = firesteel.prepare(
        "hdfs://ann@namenode:8020/pictures", "hdfs://ann@namenode:8020/data", engine="local", workers=1
    )

    assert prepared.dataset.manifest.counts.written == 60
    assert asked == [{"host": "namenode", "port": 8020, "user": "ann"}]
    assert (tmp_path / "cluster" / "data" / "manifest.json").exists()
    assert not list((tmp_path / "cluster").rglob("*tmp-*"))
    assert firesteel.prepare(
        "hdfs://ann@namenode:8020/pictures", "hdfs://ann@namenode:8020/data", engine="local", workers=1
    ).reused  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("Unable to load libjvm\ndlopen(/usr/lib/jvm/x.so) failed\n" * 40, "Set JAVA_HOME"),
        ("Unable to load libhdfs\ndlopen(./libhdfs.so) failed: no such file", "Set HADOOP_HOME, or ARROW_LIBHDFS_DIR"),
        ("HDFS connection failed", "CLASSPATH"),
    ],
)
def test_what_hadoop_lacks_is_said(problem: str, advice: str, monkeypatch: Any) -> None:
    """Eighty lines of paths become one; what to set is named."""

    def broken(**_: Any) -> None:
        raise OSError(problem)

    monkeypatch.setattr(pyarrow.fs, "HadoopFileSystem", broken)
    with pytest.raises(StorageError, match=advice) as caught:
        Place.of("hdfs://namenode/data").exists()
    assert len(str(caught.value).splitlines()) <= 4
    assert str(caught.value).startswith(f"cannot use hdfs://namenode/data: {problem.splitlines()[0]}.")


def test_without_hadoop_the_real_thing_says_so_too(monkeypatch: Any, tmp_path: Path) -> None:
    """No library of Hadoop where it is looked for: pyarrow's own error, in a few lines."""
    if "hdfs_native" in sys.modules:
        pytest.skip("hdfs-native needs no library of Hadoop")
    for name in ("HADOOP_HOME", "CLASSPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARROW_LIBHDFS_DIR", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StorageError, match=r"(Set JAVA_HOME|Set HADOOP_HOME)") as caught:
        Place.of("hdfs://namenode/data").exists()
    assert len(str(caught.value).splitlines()) <= 4
