"""Tables that a transform process is applied to: when they are prepared, and again when rows are predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firesteel
from firesteel.errors import ConfigError
from firesteel.tables.conditions import column
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Schema
from tests.data.test_preparation import rows_of

pytestmark = pytest.mark.spark

SCHEMA = (
    Schema()
    .string("note")
    .double("width", "height")
    .categorical("kind", ["low", "high"])
    .categorical("class", ["a", "b"])
)
PROCESS = TransformProcess(SCHEMA).then(
    {"do": "keep_rows", "where": (column("width") > 0).to_mapping()},
    {"do": "maths", "columns": ["width"], "operator": "multiply", "value": 10},
    {"do": "normalize", "columns": ["height"], "method": "standardize"},
    {"do": "drop", "columns": ["note"]},
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """40 rows, of which 4 are left out by the filter, and 1 is broken."""
    lines = [f"n{i},{-1 if i % 10 == 9 else i % 7 + 1},{i},{('low', 'high')[i % 2]},{'ab'[i % 2]}" for i in range(40)]
    lines[3] = "n3,wide,3,low,b"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.csv"


def prepared(spark: Any, table: Path, where: Path, **options: Any) -> firesteel.Dataset:
    return firesteel.prepare(
        table, where, spark=spark, transform=PROCESS, header=False, label="class", **options
    ).dataset


def test_the_process_is_applied_saved_and_applied_again(spark: Any, table: Path, tmp_path: Path) -> None:
    dataset = prepared(spark, table, tmp_path / "dataset", split={"train": 1.0})
    counts = dataset.manifest.counts
    assert (counts.read, counts.written, counts.dropped, counts.quarantined) == (40, 35, 4, 1)
    encoding = dataset.manifest.feature.table
    assert encoding is not None
    assert encoding.names == ("width", "height", "kind=low", "kind=high")
    kept = [i for i in range(40) if i % 10 != 9 and i != 3]
    heights = np.array(kept, np.float64)
    wanted = {
        (10.0 * (i % 7 + 1), round((i - heights.mean()) / heights.std(ddof=1), 5), 1.0 - i % 2, float(i % 2))
        for i in kept
    }
    found = {tuple(round(float(v), 5) for v in np.frombuffer(data, np.float32)) for _, _, _, data in rows_of(dataset)}
    assert {tuple(np.round(each, 4)) for each in found} == {tuple(np.round(each, 4)) for each in wanted}

    firesteel.train(
        dataset, tmp_path / "run", model="mlp:hidden=[4]", epochs=30, engine="local", threads=1, learning_rate=0.05
    )
    predictor = firesteel.Predictor(tmp_path / "run")
    rows = [{"width": 3, "height": i, "kind": ("low", "high")[i % 2]} for i in range(6)]
    assert [each.label for each in predictor.predict_rows(rows)] == ["a", "b"] * 3
    # A filter says what to train on; a row that it would leave out can still be predicted.
    assert predictor.predict_rows([{"width": -1, "height": 4, "kind": "low"}])[0].label == "a"
    outcomes = list(predictor.predict_table(table))
    assert len(outcomes) == 40
    assert [number for number, each in enumerate(outcomes) if each.problem] == [3]
    assert "column width is not a double: 'wide'" in str(outcomes[3].problem)


def test_the_same_process_again_is_the_same_dataset(spark: Any, table: Path, tmp_path: Path) -> None:
    PROCESS.write(tmp_path / "process.yaml")
    prepared(spark, table, tmp_path / "dataset")
    again = firesteel.prepare(
        table, tmp_path / "dataset", transform=tmp_path / "process.yaml", header=False, label="class"
    )
    assert again.reused


def test_a_process_that_needs_other_rows_is_refused_when_one_is_predicted(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "key,value,class\n" + "".join(f"k{i % 9},{i},{'ab'[i % 9 % 2]}\n" for i in range(36))
    )
    process = TransformProcess("key string, value double, class string").then(
        {"do": "group", "by": ["key", "class"], "values": {"mean": {"reduce": "mean", "column": "value"}}}
    )
    dataset = firesteel.prepare(
        tmp_path / "rows.csv",
        tmp_path / "dataset",
        spark=spark,
        transform=process,
        label="class",
        features=["mean"],
    ).dataset
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[]", epochs=1, engine="local", threads=1)
    with pytest.raises(ConfigError, match="computes rows from other rows"):
        firesteel.Predictor(tmp_path / "run").predict_rows([{"value": 1.0}])


def test_wrong_names_are_said_before_spark_starts(table: Path, image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="note"):
        firesteel.prepare(table, tmp_path / "d", transform=PROCESS, header=False, label="class", features=["note"])
    with pytest.raises(ConfigError, match="transform is for tables"):
        firesteel.prepare(image_folder, tmp_path / "d", transform=PROCESS)


def test_a_table_keeps_so_many_rows_of_a_class(spark: Any, table: Path, tmp_path: Path) -> None:
    dataset = prepared(spark, table, tmp_path / "dataset", max_per_class=5)
    assert dataset.manifest.splits["train"].rows_per_class == [5, 5]
    assert dataset.manifest.counts.read == dataset.manifest.counts.written + dataset.manifest.counts.dropped + 1


def test_statistics_of_the_process_are_those_of_the_training_split(spark: Any, tmp_path: Path) -> None:
    """Where the source names it; else a warning says whose they are."""
    lines = [f"{i},{'train' if i < 10 else 'test'},{'ab'[i % 2]}" for i in range(30)]
    (tmp_path / "rows.csv").write_text("x,split,class\n" + "\n".join(lines) + "\n")
    schema = Schema().double("x").string("split").categorical("class", ["a", "b"])
    process = TransformProcess(schema).then({"do": "normalize", "columns": ["x"], "method": "subtract_mean"})
    options: dict[str, Any] = {"spark": spark, "transform": process, "label": "class", "features": ["x"]}

    def mean_of(dataset: firesteel.Dataset) -> float:
        table = dataset.manifest.feature.table
        assert table is not None
        assert table.process is not None
        return TransformProcess.of(table.process).to_mapping()["steps"][0]["statistics"]["x"]["mean"]

    own = firesteel.prepare(tmp_path / "rows.csv", tmp_path / "own", split_column="split", **options).dataset
    assert mean_of(own) == 4.5
    assert not any("statistics" in warning for warning in own.manifest.warnings)
    random = firesteel.prepare(tmp_path / "rows.csv", tmp_path / "random", split={"train": 0.5, "test": 0.5}, **options)
    assert mean_of(random.dataset) == 14.5
    assert any("the statistics of x in the transform" in warning for warning in random.dataset.manifest.warnings)
