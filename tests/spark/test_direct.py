"""Training on a DataFrame, and on a source through Spark: Spark brings each worker its rows, or the workers read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import firesteel
from tests.conftest import picture
from tests.training.test_direct import SMALL, evaluations, manifest_of, weights

pytestmark = pytest.mark.spark

OPTIONS = {name: value for name, value in SMALL.items() if name not in ("engine", "direct")}


@pytest.fixture
def frame(spark: Any) -> Any:
    """45 pictures of three classes, one of them broken, in products of two."""
    rows = [
        (f"r{i}", f"g{i // 2}", "abc"[i % 3], picture(20 + 90 * (i % 3), (8, 8), format="PNG", seed=i))
        for i in range(45)
    ]
    return spark.createDataFrame(
        [*rows, ("bad", "g99", "a", b"no picture")], "name string, product string, kind string, image binary"
    )


def test_a_dataframe_is_trained_on(frame: Any, tmp_path: Path) -> None:
    """Its rows are those of a dataset prepared of it, and the bits do not depend on how they come."""
    columns: dict[str, Any] = {"features": "image", "label": "kind", "id": "name", "group": "product"}
    prepared = firesteel.prepare(frame, tmp_path / "dataset", **columns).dataset.manifest
    first = firesteel.train(frame, tmp_path / "first", workers=2, **columns, **OPTIONS)
    firesteel.train(frame.repartition(5), tmp_path / "second", workers=2, **columns, **OPTIONS)

    found = manifest_of(tmp_path / "first")
    assert found.counts == prepared.counts
    assert found.counts.quarantined == 1
    assert found.statistics == prepared.statistics
    assert {name: split.rows_per_class for name, split in found.splits.items()} == {
        name: split.rows_per_class for name, split in prepared.splits.items()
    }
    assert first.rows == 3 * found.splits["train"].rows
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    assert len(evaluations(tmp_path / "first")) == 1


def test_a_dataframe_of_plain_columns_is_trained_on(spark: Any, tmp_path: Path) -> None:
    rows = [(float(i % 7), float(i), "ab"[i % 2], ["x", "y"][i % 2]) for i in range(40)]
    table = spark.createDataFrame(rows, "one double, two double, three string, kind string")
    schema = "one double, two double, three categorical(a|b), kind categorical(x|y)"
    firesteel.train(table, tmp_path / "run", label="kind", prepare={"schema": schema}, workers=1, **OPTIONS)
    found = manifest_of(tmp_path / "run")
    assert found.counts.written == 40
    assert found.feature.shape == (4,)
    (prediction,) = firesteel.Predictor(tmp_path / "run").predict_rows([{"one": 1.0, "two": 2.0, "three": "a"}], top=2)
    assert sorted(prediction.labels) == found.labels


def test_workers_read_a_source_in_spark_tasks_as_local_ones_do(spark: Any, image_folder: Path, tmp_path: Path) -> None:
    firesteel.train(image_folder, tmp_path / "spark", direct=True, workers=2, spark=spark, **OPTIONS)
    firesteel.train(image_folder, tmp_path / "local", direct=True, workers=2, engine="local", **OPTIONS)
    assert weights(tmp_path / "spark") == weights(tmp_path / "local")
