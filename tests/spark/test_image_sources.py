"""Archives, tables of labels, CIFAR and exports on Spark: the same as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pytest

import firesteel
import firesteel.spark
from firesteel.data.sources import open_source
from tests.archives import cifar10_files, write_archive
from tests.conftest import picture
from tests.data.test_preparation import assert_whole, rows_of
from tests.data.test_sources import rows_of as source_rows
from tests.data.test_sources import write_tree
from tests.export.test_export import assert_whole as assert_exported
from tests.export.test_export import tree

pytestmark = pytest.mark.spark


def pictures(count: int, broken: int = 0) -> dict[str, bytes]:
    """Pictures in three classes, of which every ``broken``-th is none."""
    return {
        f"{'abc'[i % 3]}/{i:03d}.png": b"broken"
        if broken and i % broken == 0
        else picture(i, (8, 8), format="PNG", seed=i)
        for i in range(count)
    }


def test_archives_are_prepared_as_without_spark(spark: Any, tmp_path: Path) -> None:
    """A zip that many tasks read, a compressed tar that one reads; 1 % broken: all rows are accounted for."""
    files = pictures(200, broken=100)
    for name in ("p.zip", "p.tar.gz"):
        source = write_archive(tmp_path / name, files)
        there = firesteel.prepare(source, tmp_path / f"spark-{name}", spark=spark).dataset
        here = firesteel.prepare(source, tmp_path / f"local-{name}", engine="local", workers=1).dataset
        assert rows_of(there) == rows_of(here)
        assert (there.manifest.counts.written, there.manifest.counts.quarantined) == (198, 2)
        assert there.manifest.statistics == here.manifest.statistics
        assert_whole(there)


def test_sources_with_labels_and_cifar_are_spark_data_sources(spark: Any, tmp_path: Path) -> None:
    """Rows by SQL are those of the source."""
    firesteel.spark.register(spark)
    flat = write_tree(tmp_path / "flat", {name.replace("/", "."): data for name, data in pictures(12).items()})
    packed = write_archive(tmp_path / "cifar.tar.gz", cifar10_files())

    labelled = spark.read.format("firesteel-images").option("labelPattern", r"^(\w)\.").load(str(flat))
    cifar = spark.read.format("firesteel-cifar").option("withData", "false").load(str(packed))

    assert {(row["label"], row["count"]) for row in labelled.groupBy("label").count().collect()} == {
        ("a", 4), ("b", 4), ("c", 4),
    }  # fmt: skip
    expected = sorted((row["id"], row["label"], row["split"]) for row in source_rows(open_source(packed)))
    assert sorted((row["id"], row["label"], row["split"]) for row in cifar.collect()) == expected


def test_exports_by_spark_and_locally_are_the_same_tree(spark: Any, tmp_path: Path) -> None:
    documents = [
        {"_id": i, "category_id": i % 5, "imgs": [{"picture": picture(i, (8, 8), seed=4 * i + n)} for n in range(1 + i % 3)]}
        for i in range(60)
    ]  # fmt: skip
    documents[7]["imgs"] = [{"picture": b"no picture"}]
    source = tmp_path / "a.bson"
    source.write_bytes(b"".join(map(bson.encode, documents)))

    there = firesteel.export_images(source, tmp_path / "spark", spark=spark)
    here = firesteel.export_images(source, tmp_path / "local", engine="local", workers=1)

    assert tree(tmp_path / "spark") == tree(tmp_path / "local")
    assert (there.read, there.written, there.set_aside) == (here.read, here.written, here.set_aside)
    assert_exported(there, tmp_path / "spark")
