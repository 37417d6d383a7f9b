"""The whole path on an object store: a server that speaks S3, on this machine, reached as any other would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firesteel
from firesteel.data.sources import open_source
from firesteel.errors import DataError, DatasetError, StorageError
from firesteel.storage import Place
from tests.archives import write_archive
from tests.data.test_preparation import rows_of
from tests.export.test_export import tree

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment in which the server is found."""
    pytest.importorskip("s3fs", reason="needs s3fs and moto: pip install '.[dev]'")
    moto = pytest.importorskip("moto.server", reason="needs moto's server: pip install '.[dev]'")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-central-1",
    }
    running.stop()


@pytest.fixture
def bucket(server: dict[str, str], monkeypatch: Any) -> Iterator[str]:
    """An empty bucket, and the environment variables that lead to it."""
    import s3fs

    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem(client_kwargs={"region_name": "eu-central-1"})
    filesystem.mkdir("firesteel-test", region_name="eu-central-1")
    yield "s3://firesteel-test"
    filesystem.rm("firesteel-test", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def upload(folder: Path, where: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            Place.of(f"{where}/{path.relative_to(folder)}").write_bytes(path.read_bytes())


def test_prepare_train_and_evaluate_in_a_bucket(bucket: str, image_folder: Path, tmp_path: Path) -> None:
    """Source, dataset and run lie in the bucket; workers are processes; the rows are those of a local folder."""
    upload(image_folder, f"{bucket}/pictures")

    prepared = firesteel.prepare(f"{bucket}/pictures", f"{bucket}/data", engine="local", workers=2)
    local = firesteel.prepare(image_folder, tmp_path / "data", engine="local", workers=1)
    assert firesteel.prepare(f"{bucket}/pictures", f"{bucket}/data", engine="local", workers=2).reused
    firesteel.train(f"{bucket}/data", f"{bucket}/run", model="mlp", epochs=2, workers=2, engine="local", threads=1)
    evaluated = firesteel.evaluate(f"{bucket}/run", f"{bucket}/data", engine="local")

    assert rows_of_place(prepared.dataset) == [row[1] for row in rows_of(local.dataset)]
    assert evaluated.rows == 12
    left = [entry.path for entry in Place.of(f"{bucket}/data").files()]
    named = {shard.path for split in prepared.dataset.manifest.splits.values() for shard in split.shards}
    assert set(left) == named | {"manifest.json"}
    with pytest.raises(DatasetError, match="holds another dataset"):
        firesteel.prepare(f"{bucket}/pictures", f"{bucket}/data", seed=1, engine="local", workers=1)


def rows_of_place(dataset: Any) -> list[str]:
    from firesteel.data.shards import read_ids

    return [
        row
        for split in sorted(dataset.manifest.splits)
        for row in sorted(
            row_id for shard in dataset.manifest.splits[split].shards for row_id in read_ids(dataset.place, shard, 0, shard.rows)
        )
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["p.zip", "p.tar", "p.tar.gz"])
def test_archives_in_a_bucket_are_read_by_range(name: str, bucket: str, image_folder: Path, tmp_path: Path) -> None:
    files = {str(path.relative_to(image_folder)): path.read_bytes() for path in image_folder.rglob("*.png")}
    Place.of(f"{bucket}/{name}").write_bytes(write_archive(tmp_path / name, files).read_bytes())

    source = open_source(f"{bucket}/{name}")

    assert {row.id: row.data for part in source.partitions(3) for row in source.rows_of(part)} == files


def test_an_export_goes_into_a_bucket_and_out_of_it(bucket: str, image_folder: Path, tmp_path: Path) -> None:
    there = firesteel.export_images(image_folder, f"{bucket}/out", engine="local", workers=1)
    back = firesteel.export_images(f"{bucket}/out", tmp_path / "back", engine="local", workers=1)

    assert (there.written, back.written) == (60, 60)
    assert firesteel.export_images(image_folder, f"{bucket}/out", engine="local", workers=1).reused
    assert tree(tmp_path / "back") == {
        str(path.relative_to(image_folder)): path.read_bytes() for path in image_folder.rglob("*.png")
    }


@pytest.mark.spark
def test_spark_tasks_read_and_write_a_bucket(bucket: str, image_folder: Path) -> None:
    """From the shell: the driver and the tasks find the store by the usual variables."""
    upload(image_folder, f"{bucket}/pictures")
    command = [sys.executable, "-m", "firesteel.cli.main", "prepare", f"{bucket}/pictures", f"{bucket}/data"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [*command, "--master", "local[2]", "--json"], capture_output=True, text=True, timeout=200, env=environment
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 60


def test_what_is_missing_is_said_in_a_line(bucket: str, monkeypatch: Any) -> None:
    """No such folder, no such bucket, no credentials, nobody there."""
    import s3fs

    with pytest.raises(DataError, match="there is no source at s3://firesteel-test/nothing"):
        open_source(f"{bucket}/nothing")
    with pytest.raises(StorageError, match=r"cannot (write|look at) s3://no-such-bucket-here/x"):
        Place.of("s3://no-such-bucket-here/x").write_bytes(b"x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        StorageError, match=r"s3://firesteel-test/x: Unable to locate credentials.\nSet AWS_ACCESS_KEY_ID"
    ):
        Place.of(f"{bucket}/x").exists()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_driver_that_is_not_installed_is_named(monkeypatch: Any) -> None:
    import fsspec

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StorageError, match="cannot use gs://b/x: Install gcsfs"):
        Place.of("gs://b/x").exists()
