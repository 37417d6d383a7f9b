"""Balanced datasets made by Spark: those that local processes make."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firesteel
from firesteel.data.balance import Targets
from tests.conftest import picture
from tests.data.test_preparation import assert_whole, rows_of

pytestmark = pytest.mark.spark


def test_spark_and_local_processes_generate_the_same_rows(spark: Any, image_folder: Path, tmp_path: Path) -> None:
    """One dataset, row by row, picture by picture."""
    for number in range(15):
        (image_folder / "dark" / f"{number:03d}.png").unlink()
    (image_folder / "dark" / "015.png").write_bytes(b"broken")
    options: dict[str, Any] = {"balance": 18, "max_per_class": 18, "policy": "upright"}
    by_spark = firesteel.prepare(image_folder, tmp_path / "spark", spark=spark, **options).dataset
    local = firesteel.prepare(image_folder, tmp_path / "local", engine="local", workers=1, **options).dataset

    assert rows_of(by_spark) == rows_of(local)
    assert by_spark.manifest.counts == local.manifest.counts
    assert by_spark.manifest.warnings == local.manifest.warnings
    assert by_spark.manifest.statistics == local.manifest.statistics
    assert_whole(by_spark)


def test_a_dataframe_is_balanced(spark: Any, tmp_path: Path) -> None:
    """By SQL, in 1 partition and in 3: the same rows; groups stay whole."""
    rows = [(f"r{i}", f"g{i // 2}", "ab"[i % 5 == 0], picture(9, (6, 6), format="PNG", seed=i)) for i in range(40)]
    frame = spark.createDataFrame(rows, "name string, product string, kind string, image binary")
    columns: dict[str, Any] = {"features": "image", "label": "kind", "id": "name", "group": "product"}
    datasets = [
        firesteel.prepare(frame.repartition(parts), tmp_path / str(parts), **columns, balance=30).dataset
        for parts in (1, 3)
    ]

    assert rows_of(datasets[0]) == rows_of(datasets[1])
    assert datasets[0].manifest.splits["train"].rows_per_class == [30, 30]
    where: dict[str, set[str]] = {}
    for split, row_id, *_ in rows_of(datasets[0]):
        where.setdefault(str(int(row_id.partition("+")[0][1:]) // 2), set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert_whole(datasets[0])


def test_a_split_column_is_balanced(spark: Any, tmp_path: Path) -> None:
    rows = [(i, "ab"[i % 3 == 0], "test" if i % 4 == 0 else "train", [float(i), 1.0]) for i in range(36)]
    frame = spark.createDataFrame(rows, "name int, kind string, part string, vector array<float>")
    dataset = firesteel.prepare(
        frame, tmp_path / "ds", features="vector", label="kind", id="name", split_column="part", max_per_class=10
    ).dataset
    assert dataset.manifest.splits["train"].rows_per_class == [10, 9]
    assert dataset.manifest.counts.dropped == 8
    assert_whole(dataset)


def test_quotas_by_sql_equal_quotas_in_memory(spark: Any) -> None:
    import pyarrow as pa

    from firesteel.data.index import class_index
    from firesteel.spark.index import index_by_sql

    generator = np.random.default_rng(0)
    labels = [f"c{i}" for i in generator.geometric(0.2, 400)]
    columns = {
        "label": labels, "key": generator.integers(0, 1 << 60, 400), "row_key": generator.integers(0, 1 << 60, 400),
        "training": generator.random(400) < 0.7,
    }  # fmt: skip
    frame = spark.createDataFrame(
        [tuple(row) for row in zip(*(np.asarray(column).tolist() for column in columns.values()))],
        "label string, key bigint, row_key bigint, training boolean",
    )
    batch = pa.RecordBatch.from_pydict(columns)
    for fractions, targets in (([0.8, 0.2], Targets(30, 20)), (None, Targets(None, 25)), ([1.0], Targets(10, None))):
        by_sql, in_memory = index_by_sql(frame, fractions, targets), class_index([batch], fractions, targets)
        assert by_sql.boundaries == in_memory.boundaries
        # A class without a training row has nothing to decide, and SQL does not see it.
        seen = {label: quota for label, quota in in_memory.quotas.items() if quota.shares.kept}
        assert by_sql.quotas == seen
        assert Counter(labels) == by_sql.counts


def test_spark_and_local_workers_train_to_the_same_bits(spark: Any, image_folder: Path, tmp_path: Path) -> None:
    """With augmentation, class weights and sampling: all of them go by the row, not by who computes it."""
    for number in range(12):
        (image_folder / "dark" / f"{number:03d}.png").unlink()
    firesteel.prepare(image_folder, tmp_path / "ds", engine="local", workers=1)
    options: dict[str, Any] = {
        "model": "mlp:hidden=[8]", "epochs": 1, "batch_size": 8, "threads": 1, "workers": 2, "augment": "upright",
        "class_weights": "balanced:power=0.5", "sampling": "balanced:power=0.5",
    }  # fmt: skip
    firesteel.train(tmp_path / "ds", tmp_path / "spark", spark=spark, **options)
    firesteel.train(tmp_path / "ds", tmp_path / "local", engine="local", **options)
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("spark", "local")]
    assert weights[0] == weights[1]
