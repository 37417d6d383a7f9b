"""What only a real Spark shows: equal bits, data sources, DataFrames, failing tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest

import firesteel
import firesteel.spark
from firesteel.data.manifest import Dataset
from firesteel.data.shards import read_ids
from firesteel.errors import ConfigError, DataError, ResourceError, WorkerFailed
from firesteel.world import Meeting, World
from tests.conftest import picture

pytestmark = pytest.mark.spark
SMALL: dict[str, Any] = {"model": "mlp:hidden=[8]", "epochs": 2, "batch_size": 16, "threads": 1, "seed": 5}


def ids(dataset: Path) -> dict[str, list[str]]:
    """Ids of each split, in the order of the shards."""
    opened = Dataset.open(str(dataset))
    return {
        name: [row for shard in split.shards for row in read_ids(opened.place, shard, 0, shard.rows)]
        for name, split in opened.manifest.splits.items()
    }


@pytest.mark.parametrize("sync", ["allreduce", "average:every=2,optimizer_state=yes"])
def test_spark_and_local_processes_give_the_same_weights(
    sync: str, spark: Any, dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    firesteel.train(dataset, tmp_path / "spark", spark=spark, workers=2, sync=sync, **SMALL)
    firesteel.train(dataset, tmp_path / "local", engine="local", workers=2, sync=sync, **SMALL)
    assert weights(tmp_path / "spark") == weights(tmp_path / "local")


def test_one_spark_worker_gives_the_weights_of_this_process(
    spark: Any, dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    firesteel.train(dataset, tmp_path / "spark", spark=spark, workers=1, **SMALL)
    firesteel.train(dataset, tmp_path / "local", engine="local", **SMALL)
    assert weights(tmp_path / "spark") == weights(tmp_path / "local")


def test_local_workers_share_the_cores_of_the_host(spark: Any) -> None:
    """As local processes do, so that both compute the same: a slot of ``local[N]`` is not one core."""
    cores = len(os.sched_getaffinity(0))
    for workers in (1, 2):
        granted = firesteel.spark.SparkWorkers(spark).run(_granted, None, workers=workers, meet=False)
        assert granted == [max(1, cores // workers)] * workers


def _granted(payload: None, world: World, meeting: Meeting | None) -> int | None:
    return world.cores


def test_evaluation_on_spark_counts_the_same(spark: Any, dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", engine="local", **SMALL)
    here = firesteel.evaluate(tmp_path / "run", dataset, engine="local")
    there = firesteel.evaluate(tmp_path / "run", dataset, spark=spark, workers=2)
    np.testing.assert_array_equal(here.confusion, there.confusion)


@pytest.mark.parametrize("sync", ["allreduce", "average:every=2"])
def test_a_failing_rank_is_named_on_the_driver(sync: str, spark: Any, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"worker 1 of 2 .*ValueError: this network is tired") as caught:
        firesteel.train(
            dataset, tmp_path / "run", model="tests.networks:Misbehaving", workers=2, sync=sync, spark=spark, epochs=5, max_restarts=0,
            batch_size=4, threads=1,
        )  # fmt: skip
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("what", "how"), [("kill", "was killed by signal SIGKILL without a report"), ("kill_parent", r"was lost \(last")]
)
def test_a_killed_worker_is_named_and_the_session_lives_on(
    what: str, how: str, spark: Any, dataset: Path, tmp_path: Path
) -> None:
    """The worker itself, or the Python process of its task, which Spark calls the Python worker."""
    before = set(Path(tempfile.gettempdir()).glob("firesteel-*"))
    with pytest.raises(WorkerFailed, match=f"worker 1 of 2 on .* {how}"):
        firesteel.train(
            dataset, tmp_path / "run", model=f"tests.networks:Misbehaving:what={what}", workers=2, spark=spark, epochs=5,
            batch_size=4, threads=1, max_restarts=0,
        )  # fmt: skip
    assert firesteel.train(dataset, tmp_path / "next", spark=spark, workers=2, **SMALL).rows == 240
    assert set(Path(tempfile.gettempdir()).glob("firesteel-*")) <= before


def test_a_users_module_travels_by_value(spark: Any, dataset: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A module that only the driver can import trains on Spark all the same."""
    (tmp_path / "my_own_nets.py").write_text(
        "from torch import nn\n"
        "def net(num_classes: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = firesteel.train(
        dataset, tmp_path / "run", **(SMALL | {"model": "my_own_nets:net"}), spark=spark, workers=2
    )
    assert result.parameters == 650


def test_folders_prepared_by_spark_and_locally_are_the_same_dataset(
    spark: Any, image_folder: Path, tmp_path: Path
) -> None:
    (image_folder / "grey" / "broken.png").write_bytes(b"\x89PNG no")
    firesteel.prepare(image_folder, tmp_path / "spark", spark=spark)
    firesteel.prepare(image_folder, tmp_path / "local", engine="local", workers=2)
    assert ids(tmp_path / "spark") == ids(tmp_path / "local")
    left, right = (Dataset.open(str(tmp_path / name)).manifest for name in ("spark", "local"))
    assert left.fingerprint == right.fingerprint
    assert left.counts == right.counts
    assert left.statistics == right.statistics
    assert left.counts.quarantined == 1


def test_a_bson_dump_prepared_by_spark_and_locally_is_the_same_dataset(spark: Any, tmp_path: Path) -> None:
    dump = tmp_path / "products.bson"
    write_products(dump, 90)
    firesteel.prepare(dump, tmp_path / "spark", spark=spark, seed=7)
    firesteel.prepare(dump, tmp_path / "local", engine="local", workers=1, seed=7)
    assert {name: sorted(rows) for name, rows in ids(tmp_path / "spark").items()} == {
        name: sorted(rows) for name, rows in ids(tmp_path / "local").items()
    }
    manifest = Dataset.open(str(tmp_path / "spark")).manifest
    assert manifest.counts.read == manifest.counts.written == sum(1 + i % 3 for i in range(90))
    assert manifest.labels == ["100", "200", "1000"]


def write_products(path: Path, count: int) -> None:
    """Product records with one to three pictures, in three categories."""
    with path.open("wb") as file:
        for number in range(count):
            pictures = [{"picture": picture(50, (9, 9), seed=10 * number + i)} for i in range(1 + number % 3)]
            category = [100, 200, 1000][number % 3]
            file.write(bson.encode({"_id": number, "imgs": pictures, "category_id": category}))


def test_sources_are_spark_data_sources(spark: Any, image_folder: Path, idx_folder: Path, tmp_path: Path) -> None:
    """SQL over folders, idx files and a BSON dump, damaged records among them."""
    firesteel.spark.register(spark)
    frame = spark.read.format("firesteel-images").load(str(image_folder))
    assert {row["label"]: row["count"] for row in frame.groupBy("label").count().collect()} == {
        "dark": 20, "grey": 20, "white": 20,
    }  # fmt: skip
    frame = spark.read.format("firesteel-idx").option("partitions", "3").load(str(idx_folder))
    frame.createOrReplaceTempView("digits")
    rows = spark.sql("SELECT split, count(*) AS n, min(length(data)) AS bytes FROM digits GROUP BY split").collect()
    assert {row["split"]: (row["n"], row["bytes"]) for row in rows} == {"train": (120, 64), "test": (30, 64)}
    dump = tmp_path / "products.bson"
    write_products(dump, 20)
    data = dump.read_bytes()
    dump.write_bytes(data[:-10])
    frame = spark.read.format("firesteel-bson").option("partitions", "4").option("withData", "false").load(str(dump))
    assert frame.where("problem IS NULL").count() == sum(1 + i % 3 for i in range(19))
    assert [row["problem"][:3] for row in frame.where("problem IS NOT NULL").collect()] == ["cut"]


def test_a_dataframe_of_pictures_is_a_source(spark: Any, tmp_path: Path) -> None:
    rows = [(f"r{i}", f"class {i % 3}", picture(40 * (i % 3), (8, 8), seed=i)) for i in range(30)]
    rows += [("bad", "class 0", b"no picture"), ("nothing", "class 1", None), ("unlabelled", None, picture(1, (8, 8)))]
    frame = spark.createDataFrame(rows, "name string, kind string, image binary").repartition(3)
    result = firesteel.prepare(frame, tmp_path / "dataset", features="image", label="kind", id="name")
    counts = result.dataset.manifest.counts
    assert (counts.read, counts.written, counts.quarantined) == (33, 30, 3)
    assert sorted(row for split in ids(tmp_path / "dataset").values() for row in split) == sorted(
        r[0] for r in rows[:30]
    )
    assert {name: split.rows for name, split in result.dataset.manifest.splits.items()} == {"train": 24, "test": 6}
    assert firesteel.train(tmp_path / "dataset", tmp_path / "run", **(SMALL | {"epochs": 1}), engine="local").rows == 24


def test_a_dataframe_of_arrays_is_a_source(spark: Any, tmp_path: Path) -> None:
    """Iris' shape: four numbers and a class; an empty partition and a row of another length among them."""
    rows = [(i % 3, [float(i), 1.0, 2.0, 3.0]) for i in range(60)] + [
        (0, [1.0, 2.0]),
        (1, None),
        (2, [1.0, 2.0, 3.0, float("nan")]),
    ]
    frame = spark.createDataFrame(rows, "kind int, values array<double>").repartition(80)
    result = firesteel.prepare(frame, tmp_path / "dataset", features="values", label="kind")
    manifest = result.dataset.manifest
    assert manifest.feature.shape == (4,)
    assert (manifest.counts.read, manifest.counts.written, manifest.counts.quarantined) == (63, 60, 3)
    trained = firesteel.train(
        tmp_path / "dataset", tmp_path / "run", model="mlp:hidden=[3,3]", epochs=1, engine="local"
    )
    assert trained.parameters == 39  # the 4-3-3-3 network of the Iris example


def test_ml_vectors_and_image_structs_are_features(spark: Any, image_folder: Path, tmp_path: Path) -> None:
    from pyspark.ml.linalg import Vectors

    frame = spark.createDataFrame([(Vectors.dense([float(i), 1.0]), i % 2) for i in range(20)], ["v", "y"])
    assert firesteel.prepare(frame, tmp_path / "v", features="v", label="y").dataset.feature.shape == (2,)
    frame = spark.read.format("image").option("recursiveFileLookup", "true").load(str(image_folder))
    frame = frame.selectExpr("image", "element_at(split(image.origin, '/'), -2) AS class", "image.origin AS origin")
    result = firesteel.prepare(frame, tmp_path / "i", features="image", label="class", id="origin")
    assert result.dataset.manifest.labels == ["dark", "grey", "white"]
    assert result.dataset.manifest.counts.written == 60


def test_a_group_never_lies_in_two_splits(spark: Any, tmp_path: Path) -> None:
    """Also where its rows are of several classes."""
    rows = [(f"r{i}", f"g{i // 4}", f"class {i % 3}", [float(i), 1.0]) for i in range(240)]
    frame = spark.createDataFrame(rows, "name string, owner string, kind string, values array<float>").repartition(5)
    firesteel.prepare(frame, tmp_path / "dataset", features="values", label="kind", id="name", group="owner")
    groups = {name: {int(row[1:]) // 4 for row in of} for name, of in ids(tmp_path / "dataset").items()}
    assert len(groups["train"]) + len(groups["test"]) == 60
    assert not groups["train"] & groups["test"]
    assert len(groups["test"]) == 12


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": "imge", "label": "kind"}, "Did you mean 'image'"),
        ({"features": "image"}, "needs the names of its columns"),
        ({"features": "kind", "label": "kind"}, "it cannot be a feature as well"),
        ({"features": "kind", "label": "image"}, "column 'kind' holds strings, which a network cannot see"),
        ({"features": ["image"], "label": "kind", "schema": "image bytes, kind string"}, "holds bytes"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, str], message: str, spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame([("a", b"x")], "kind string, image binary")
    with pytest.raises(ConfigError, match=message):
        firesteel.prepare(frame, tmp_path / "dataset", **columns)


def test_a_dataframe_without_a_usable_row_writes_nothing(spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame([("a", b"x")], "kind string, image binary")
    with pytest.raises(DataError):
        firesteel.prepare(frame, tmp_path / "dataset", features="image", label="kind")
    assert not (tmp_path / "dataset" / "manifest.json").exists()


def test_split_by_sql_equals_split_in_memory(spark: Any) -> None:
    from firesteel.data.index import class_index
    from firesteel.spark.index import index_by_sql

    generator = np.random.default_rng(0)
    labels = [f"c{i}" for i in generator.geometric(0.2, 500)]
    keys = generator.integers(0, 1 << 60, 500).tolist()
    frame = spark.createDataFrame(list(zip(labels, keys)), "label string, key bigint").repartition(5)
    import pyarrow as pa

    batch = pa.RecordBatch.from_pydict({"label": labels, "key": keys})
    for fractions in ([0.8, 0.2], [0.6, 0.2, 0.2], [1.0]):
        by_sql, in_memory = index_by_sql(frame, fractions), class_index([batch], fractions)
        assert by_sql.counts == in_memory.counts
        assert by_sql.boundaries == in_memory.boundaries


def test_more_workers_than_slots_are_refused_before_spark_starts(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"3 workers need 3 task slots .* local\[2\] has 2"):
        firesteel.train(dataset, tmp_path / "run", master="local[2]", workers=3)
    with pytest.raises(ResourceError, match="has 4"):
        firesteel.train(dataset, tmp_path / "run", master="local-cluster[2,2,1024]", workers=5)


def test_local_cluster_gives_the_same_weights_and_names_a_killed_worker(
    dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    """Two executors with a JVM each, in a session of its own."""
    script = tmp_path / "cluster.py"
    script.write_text(
        textwrap.dedent(f"""
            import firesteel
            from firesteel.errors import WorkerFailed
            options = dict(master="local-cluster[2,1,1024]", workers=2, batch_size=16, threads=1, seed=5)
            if __name__ == "__main__":
                from firesteel.spark.session import open_session
                with open_session("local-cluster[2,1,1024]"):
                    firesteel.train({str(dataset)!r}, {str(tmp_path / "cluster")!r}, model="mlp:hidden=[8]", epochs=2,
                                    sync="average:every=2", **options)
                    try:
                        firesteel.train({str(dataset)!r}, {str(tmp_path / "killed")!r}, epochs=5,
                                        model="tests.networks:Misbehaving:what=kill", max_restarts=0, **options)
                    except WorkerFailed as error:
                        print("named", error.rank)
        """)
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=root, timeout=200, env=_with_path(root)
    )
    assert "named 1" in done.stdout, done.stderr[-3000:]
    firesteel.train(dataset, tmp_path / "local", engine="local", workers=2, sync="average:every=2", **SMALL)
    assert weights(tmp_path / "cluster") == weights(tmp_path / "local")


def test_a_stage_that_spark_repeats_is_not_trained_twice(dataset: Path, tmp_path: Path) -> None:
    """A cluster session of the user's own lets Spark begin a failed stage again; the run fails all the same, once."""
    script = tmp_path / "own_session.py"
    script.write_text(
        textwrap.dedent(f"""
            from pyspark.sql import SparkSession
            import firesteel
            from firesteel.errors import WorkerFailed
            spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").getOrCreate()
            try:
                firesteel.train({str(dataset)!r}, {str(tmp_path / "run")!r}, epochs=3, spark=spark, workers=2,
                                model="tests.networks:Misbehaving:what=kill_parent", max_restarts=0, batch_size=4,
                                threads=1)
            except WorkerFailed as error:
                print("named", error.rank, str(error).splitlines()[0])
        """)
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=root, timeout=200, env=_with_path(root)
    )
    assert "named 1 worker 1 of 2 on" in done.stdout, done.stderr[-3000:]
    assert not (tmp_path / "run" / "model").exists()


def _with_path(root: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(root)}
