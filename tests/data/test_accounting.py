"""Every record of every source is written, dropped or set aside: with broken records, and when a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bson
import pytest

import firesteel
from firesteel.data.sources import ArchiveSource, Row, list_archives, open_source
from firesteel.errors import WorkerFailed
from firesteel.export.driver import export
from firesteel.local import LocalProcesses
from firesteel.local_tasks import map_local
from tests.archives import cifar10_files, tar_bytes, write_archive
from tests.conftest import picture
from tests.data.test_preparation import assert_whole
from tests.data.test_sources import write_tree
from tests.export.test_export import assert_whole as assert_exported

ROWS = 300
BROKEN = 3  # 1 %


def pictures(rows: int = ROWS, broken: int = BROKEN) -> dict[str, bytes]:
    """Pictures in three classes; the first of them are none."""
    return {
        f"{'abc'[i % 3]}/{i:03d}.png": b"broken" if i < broken else picture(i % 200, (8, 8), format="PNG", seed=i)
        for i in range(rows)
    }


def some_source(kind: str, root: Path, rows: int = ROWS, broken: int = BROKEN) -> tuple[Path, dict[str, str]]:
    """A source of so many records, of which some are broken, and the options that it needs."""
    files = pictures(rows, broken)
    flat = {f"{name.replace('/', '.')}": data for name, data in files.items()}
    if kind == "folder":
        return write_tree(root / "src", files), {}
    if kind == "labels":
        (root / "labels.csv").write_text("".join(f"{name},{name[0]}\n" for name in flat))
        return write_tree(root / "src", flat), {"labels": str(root / "labels.csv")}
    if kind == "pattern":
        return write_tree(root / "src", flat), {"label_pattern": r"^(\w)\."}
    if kind == "bson":
        documents = [
            {"_id": i, "category_id": name[0], "imgs": [{"picture": data}]}
            for i, (name, data) in enumerate(files.items())
        ]
        (root / "a.bson").write_bytes(b"".join(map(bson.encode, documents)))
        return root / "a.bson", {}
    if kind == "cifar":
        batches = cifar10_files(rows * 2 // 5)
        data = bytearray(batches["data_batch_1.bin"])
        for i in range(broken):
            data[3073 * i] = 77
        return write_tree(root / "src", batches | {"data_batch_1.bin": bytes(data)}), {}
    return write_archive(root / f"a.{kind}", files), {}


@pytest.mark.parametrize(
    ("kind", "workers"),
    [*((kind, 1) for kind in ("folder", "labels", "pattern", "cifar", "tar", "tar.gz")), ("bson", 2), ("zip", 2)],
)
def test_one_percent_of_broken_records_is_accounted_for(kind, workers, tmp_path):
    """Prepared and exported: read is the number of records, and the rest adds up."""
    where, options = some_source(kind, tmp_path)

    prepared = firesteel.prepare(
        where, tmp_path / "ds", engine="local", workers=workers, format_options=options, size=(8, 8) if kind != "cifar" else None
    )  # fmt: skip
    exported = firesteel.export_images(where, tmp_path / "out", engine="local", workers=workers, format_options=options)

    counts = prepared.dataset.manifest.counts
    assert (counts.read, counts.written, counts.quarantined) == (ROWS, ROWS - BROKEN, BROKEN)
    assert_whole(prepared.dataset)
    assert (exported.read, exported.written, exported.set_aside) == (ROWS, ROWS - BROKEN, BROKEN)
    assert_exported(exported, tmp_path / "out")


@dataclass(frozen=True)
class Deadly(ArchiveSource):
    """Its reader is killed once, in the middle of a partition."""

    def rows_of(self, partition: Any, *, with_data: bool = True) -> Iterator[Row]:
        for number, row in enumerate(super().rows_of(partition, with_data=with_data)):
            flag = Path(str(self.place) + ".killed")
            if with_data and number == 10 and row.label == "b" and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield row


def test_a_worker_that_is_killed_loses_and_doubles_no_file(tmp_path):
    """The next run goes on; nothing half-written is left."""
    (tmp_path / "p.tar").write_bytes(tar_bytes(pictures(160)))
    place = open_source(tmp_path / "p.tar").place
    source = Deadly.open(place, list_archives(place))
    tasks = partial(map_local, LocalProcesses(), 2)

    with pytest.raises(WorkerFailed, match="SIGKILL"):
        export(source, tmp_path / "out", lambda: tasks)
    result = export(source, tmp_path / "out", lambda: tasks)

    assert (result.read, result.written, result.set_aside) == (160, 157, 3)
    assert_exported(result, tmp_path / "out")
