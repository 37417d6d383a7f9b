"""Tables read by Spark: formats, exact accounting, and what is said of records that cannot be used."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import firesteel
from firesteel.data.manifest import Dataset
from firesteel.data.shards import read_ids, read_slice
from firesteel.errors import ConfigError, DataError, FiresteelError, ResourceError
from firesteel.spark.tables import PLACE, PROBLEM, RECORD, open_table, read_table
from firesteel.tables.options import TableOptions
from firesteel.tables.schema import Schema
from tests.conftest import real_data

pytestmark = pytest.mark.spark

STORMS = "severity string, place string, lat double, lon double, type categorical(TOR|WIND|HAIL)"
NAMED = "lat double, lon double, type categorical(TOR|WIND|HAIL)"


def rows_of(dataset: Path) -> dict[str, tuple[int, tuple[float, ...]]]:
    """Label and vector of every row by its id."""
    opened = Dataset.open(str(dataset))
    found = {}
    for split in opened.manifest.splits.values():
        for shard in split.shards:
            names = read_ids(opened.place, shard, 0, shard.rows)
            blocks = list(read_slice(opened.place, shard, opened.feature, 0, shard.rows))
            labels = np.concatenate([labels for _, labels in blocks])
            vectors = np.concatenate([features for features, _ in blocks])
            found |= {name: (int(label), tuple(vector.tolist())) for name, label, vector in zip(names, labels, vectors)}
    return found


def quarantined(dataset: Path) -> dict[str, str]:
    """Text -> reason of the records in quarantine."""
    opened = Dataset.open(str(dataset))
    tables = [pq.read_table(f"{dataset}/{shard.path}") for shard in opened.manifest.quarantine.shards]
    return {row["head"].decode(): row["reason"] for table in tables for row in table.to_pylist()}


def write_named(folder: Path) -> list[dict[str, Any]]:
    """One table of 60 rows in every format; returns its rows."""
    kinds = ["TOR", "WIND", "HAIL"]
    rows = [{"name": f"r{i}", "lat": 30 + i / 8, "lon": -i / 4, "type": kinds[i % 3]} for i in range(60)]
    head = ",".join(rows[0])
    lines = [",".join(map(str, row.values())) for row in rows]
    (folder / "t.csv").write_bytes(("\ufeff" + head + "\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    (folder / "t.tsv.gz").write_bytes(gzip.compress("\n".join([head, *lines]).replace(",", "\t").encode()))
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "t16.csv").write_bytes("\n".join([head, *lines]).encode("utf-16"))
    (folder / "list.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    parts = folder / "parts"
    parts.mkdir()
    for number in range(3):
        (parts / f"{number}.csv").write_text("\n".join([head, *lines[20 * number : 20 * number + 20]]))
    (parts / "empty.csv").write_text("")
    (parts / "_SUCCESS").write_text("")
    return rows


def test_every_format_gives_the_same_dataset(spark: Any, tmp_path: Path) -> None:
    """CSV with a byte order mark and CRLF, compressed TSV, a folder, JSON, Parquet, UTF-16, SQL, a DataFrame."""
    rows = write_named(tmp_path)
    options: dict[str, Any] = {
        "label": "type",
        "id": "name",
        "spark": spark,
        "schema": "name string, " + NAMED,
        "seed": 3,
    }
    sources: dict[str, tuple[Any, dict[str, Any]]] = {
        "csv": (tmp_path / "t.csv", {}),
        "tsv": (tmp_path / "t.tsv.gz", {}),
        "parts": (tmp_path / "parts", {}),
        "jsonl": (tmp_path / "t.jsonl", {}),
        "json": (tmp_path / "list.json", {"multiline": True}),
        "parquet": (tmp_path / "t.parquet", {}),
        "utf16": (tmp_path / "t16.csv", {"charset": "utf-16"}),
        "sql": (f"spark-sql:SELECT * FROM parquet.`{tmp_path}/t.parquet`", {}),
        "frame": (spark.read.parquet(str(tmp_path / "t.parquet")), {}),
    }
    expected = {row["name"]: (["TOR", "WIND", "HAIL"].index(row["type"]), (row["lat"], row["lon"])) for row in rows}
    manifests = {}
    for name, (source, further) in sources.items():
        result = firesteel.prepare(source, tmp_path / "out" / name, **(options | further))
        assert rows_of(tmp_path / "out" / name) == expected, name
        manifests[name] = result.dataset.manifest
    assert {manifest.labels == ["TOR", "WIND", "HAIL"] for manifest in manifests.values()} == {True}
    assert len({json.dumps(manifest.splits["test"].rows_per_class) for manifest in manifests.values()}) == 1
    assert {name for split in ("test",) for name in ids(tmp_path / "out" / "csv")[split]} == set(
        ids(tmp_path / "out" / "frame")["test"]
    )
    again = {
        name: firesteel.prepare(tmp_path / "t.csv", tmp_path / "out" / "csv", **options).reused for name in ("csv",)
    }
    assert again == {"csv": True}
    with pytest.raises(FiresteelError, match="holds another dataset"):  # a query is never reused
        firesteel.prepare(sources["sql"][0], tmp_path / "out" / "sql", **options)


def ids(dataset: Path) -> dict[str, list[str]]:
    """Ids of each split."""
    opened = Dataset.open(str(dataset))
    return {
        name: [row for shard in split.shards for row in read_ids(opened.place, shard, 0, shard.rows)]
        for name, split in opened.manifest.splits.items()
    }


def test_broken_records_are_counted_and_kept_with_their_text_and_reason(spark: Any, tmp_path: Path) -> None:
    """One per cent of the records, of each kind; blank lines are no records."""
    lines = [f'UNK,"town, {i}",{30 + i % 50},{-i / 10},{("TOR", "WIND", "HAIL")[i % 3]}' for i in range(1000)]
    broken = {
        "UNK,x,1e400,5,TOR": "column lat is not a double: '1e400'",
        "UNK,x,north,5,TOR": "column lat is not a double: 'north'",
        "UNK,x,95,5,TOR": "column lat is above its maximum 90: '95'",
        "UNK,x,nan,5,TOR": "column lat is NaN: 'nan'",
        "UNK,x,1,,TOR": "column lon is missing",
        "UNK,x,1,5,tornado ü": "column type is not one of TOR, WIND, HAIL: 'tornado ü'",
        "UNK,x,1,5,": "no label",
        "UNK,x,1,5": "wrong number of fields: 4, expected 5",
        "UNK,x,1,5,TOR,more": "wrong number of fields: 6, expected 5",
        'UNK,"x,1,5,TOR': "not sound CSV: a quote is opened and not closed",
    }
    for number, line in enumerate(broken):
        lines.insert(97 * number + 5, line)
        lines.insert(97 * number + 2, "   ")
    (tmp_path / "storms.csv").write_text("\n".join(lines), encoding="utf-8")
    schema = Schema.parse("severity string, place string").double("lat", min=-90, max=90).double("lon")
    result = firesteel.prepare(
        tmp_path / "storms.csv", tmp_path / "ds", spark=spark, header=False, label="type", features=["lat", "lon"],
        schema=schema.categorical("type", ["TOR", "WIND", "HAIL"]),
    )  # fmt: skip
    counts = result.dataset.manifest.counts
    assert (counts.read, counts.written, counts.dropped, counts.quarantined) == (1010, 1000, 0, 10)
    assert quarantined(tmp_path / "ds") == broken
    assert sum(result.dataset.manifest.quarantine.reasons.values()) == 10
    assert [split.rows for split in result.dataset.manifest.splits.values()] == [799, 201]  # 267 + 266 + 266


def test_types_are_inferred_and_said_and_strings_are_learnt(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "n,x,when,flag,town,kind\n"
        + "".join(
            f"{i},{i / 3},2024-01-{i % 28 + 1:02d},{'yes' if i % 2 else 'no'},{'abc'[i % 3]},{i % 2}\n"
            for i in range(40)
        )
        + "41,?,2024-02-01,no,zzz,1\n"
    )
    result = firesteel.prepare(
        tmp_path / "t.csv",
        tmp_path / "ds",
        spark=spark,
        label="kind",
        learn_categories=2,
        missing="mean",
        null_values=["?"],
    )
    manifest = result.dataset.manifest
    assert (
        "the types of the columns were inferred: n integer, x double, when time, flag boolean, town string, kind integer"
        in manifest.warnings[0]
    )
    table = manifest.feature.table
    assert table is not None
    assert table.names[:4] == ("n", "x", "when", "flag")
    assert table.names[4:] == ("town=a", "town=b", "town=(other)", "town=(missing)")
    assert manifest.counts.written == 41
    with pytest.raises(ConfigError, match="column 'town' holds strings"):
        firesteel.prepare(tmp_path / "t.csv", tmp_path / "ds2", spark=spark, label="kind", null_values=["?"])


def test_a_table_of_typed_rows_and_marks(spark: Any, tmp_path: Path) -> None:
    """What a transform process starts from, and what comes back from it."""
    (tmp_path / "t.csv").write_text('a.b,`c`,d\n1,x,1.5\n2,y,oops\n3,"z\n4,w,2.5\n')
    table = read_table(spark, str(tmp_path / "t.csv"), schema="a.b integer, ```c``` string, d double")
    assert [field.dataType.simpleString() for field in table.frame.schema.fields] == ["int", "string", "double"] + [
        "string"
    ] * 3
    rows = [row.asDict() for row in table.frame.collect()]
    assert [(row["a.b"], row["`c`"], row["d"], row[PROBLEM]) for row in rows] == [
        (1, "x", 1.5, None), (2, "y", None, "column d is not a double: 'oops'"),
        (None, None, None, "not sound CSV: a quote is opened and not closed"), (4, "w", 2.5, None),
    ]  # fmt: skip
    assert [row[RECORD] for row in rows] == [None, "2,y,oops", '3,"z', None]
    assert rows[0][PLACE].endswith("t.csv")
    made = table.transformed(
        lambda frame: frame.where("d > 2").selectExpr("d * 2 AS twice"), Schema.parse("twice double")
    )
    rows = [row.asDict() for row in made.frame.collect()]
    assert sorted((row["twice"] or 0, row[RECORD] or "") for row in rows) == [(0, "2,y,oops"), (0, '3,"z'), (5.0, "")]


def test_rows_that_a_process_leaves_out_are_counted_as_dropped(spark: Any, tmp_path: Path) -> None:
    from firesteel.data.commit import prepare_dataset
    from firesteel.data.preparation import PrepareOptions, SourceFacts
    from firesteel.spark.prepare_table import TableEngine

    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(50)) + "oops,1\n")
    options = TableOptions(columns="x double, y integer", label="y")
    table = open_table(spark, str(tmp_path / "t.csv"), "csv", options).transformed(
        lambda frame: frame.where("x >= 10").selectExpr("x + 1 AS z", "y"), Schema.parse("z double, y integer")
    )
    facts = SourceFacts({"uri": "t.csv"}, None, None, [], [], [])
    engine = TableEngine(table, TableOptions(label="y", process={"steps": []}))
    manifest = prepare_dataset(facts, engine, str(tmp_path / "ds"), PrepareOptions(table=options)).dataset.manifest
    assert (manifest.counts.read, manifest.counts.written, manifest.counts.dropped, manifest.counts.quarantined) == (
        51,
        40,
        10,
        1,
    )
    assert manifest.feature.table is not None
    assert manifest.feature.table.process == {"steps": []}
    assert quarantined(tmp_path / "ds") == {"oops,1": "column x is not a double: 'oops'"}


def test_groups_and_a_split_of_ones_own(spark: Any, tmp_path: Path) -> None:
    rows = [(f"r{i}", f"g{i // 4}", float(i), i % 3, ("train", "test")[i % 5 == 0]) for i in range(120)]
    frame = spark.createDataFrame(rows, "name string, owner string, x double, kind int, part string").repartition(5)
    firesteel.prepare(frame, tmp_path / "groups", features=["x"], label="kind", id="name", group="owner")
    groups = {name: {int(row[1:]) // 4 for row in of} for name, of in ids(tmp_path / "groups").items()}
    assert not groups["train"] & groups["test"]
    assert len(groups["test"]) == 6
    firesteel.prepare(frame, tmp_path / "split", features="x", label="kind", id="name", split_column="part")
    assert sorted(ids(tmp_path / "split")["test"]) == sorted(f"r{i}" for i in range(0, 120, 5))


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("a,b\n1,2\n", {"schema": "a double, c integer", "label": "c"}, ConfigError, r"names a, b; the schema has a, c.\nNot in the header: c"),
        ("1,2\n", {"schema": "a double, b integer, c double", "label": "c", "header": False}, ConfigError, "have 2 fields, the schema names 3"),
        ("a,b\n1,2\n", {"schema": "a double, b integer", "label": "kind"}, ConfigError, "no column 'kind' .wanted as label"),
        ("a,b\n1,2\n", {"schema": "a double, b integer"}, ConfigError, "name of the column that holds the class"),
        ("a,b\n" + "1,2\n" * 20 + "x,1\n", {"label": "b"}, ConfigError, r"holds strings[^$]*1 of its 21 values are no numbers"),
        ("a,a\n1,2\n", {"label": "a"}, DataError, "column 'a' is there twice"),
        ("\n \n", {"label": "a"}, DataError, "holds no line"),
        ("a,b\n", {"schema": "a double, b integer", "label": "b"}, DataError, "the table has no row"),
        ("a,b\nx,1\n", {"schema": "a double, b integer", "label": "b"}, DataError, "no row of the table can be used. Most often:\n  column a is not a double: 'x'"),
        ("a,b\n1,2\n", {"label": "b", "engine": "local"}, ConfigError, "tables are read by Spark"),
        ("a,b\n1,2\n", {"label": "b", "size": "8x8"}, DataError, "--size and --channels are for pictures"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_prepared_writes_nothing(
    text: str, options: dict[str, Any], error: type[Exception], message: str, spark: Any, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    session = {} if "engine" in options else {"spark": spark}
    with pytest.raises(error, match=message) as caught:
        firesteel.prepare(tmp_path / "t.csv", tmp_path / "ds", **options, **session)
    assert len(str(caught.value).splitlines()) <= 4
    assert not (tmp_path / "ds" / "manifest.json").exists()


def test_headers_that_differ_between_files_are_an_error_that_names_both(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "t" / "2.csv").write_text("b,a\n1,2\n")
    with pytest.raises(FiresteelError, match=r"csv has the header \w, \w; other files of the table have \w, \w"):
        firesteel.prepare(tmp_path / "t", tmp_path / "ds", spark=spark, schema="a double, b integer", label="b")


def test_what_spark_cannot_reach_is_said_before_a_job_runs(spark: Any, tmp_path: Path) -> None:
    for where, error, message in (
        ("s3://bucket/t.csv", ResourceError, "no connector for s3://bucket/t.csv"),
        (str(tmp_path / "none.csv"), DataError, "there is no table at"),
        ("spark-sql:SELEC 1", ConfigError, "Spark refuses spark-sql:SELEC 1"),
        ("spark-sql:SELECT nothing FROM VALUES (1) AS t(a)", ConfigError, "nothing"),
        ("table:nowhere", ConfigError, "nowhere"),
    ):
        with pytest.raises(error, match=message) as caught:
            firesteel.prepare(where, tmp_path / "ds", spark=spark, label="b")
        assert len(str(caught.value).splitlines()) <= 4


def test_a_task_that_is_killed_adds_up_all_the_same(tmp_path: Path) -> None:
    """Spark begins the task again; what the killed attempt has written is in no manifest."""
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(500)) + "oops,1\n")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import firesteel, firesteel.spark.prepare_table as engine
            from firesteel.spark.barrier import map_partitions
            from tests.spark.test_tables import kill_once
            engine.map_partitions = lambda frame, function, arguments: map_partitions(
                frame, kill_once, ({str(tmp_path / "once")!r}, function, *arguments))
            if __name__ == "__main__":
                firesteel.prepare({str(tmp_path / "t.csv")!r}, {str(tmp_path / "ds")!r}, master="local[2,3]",
                                  schema="x double, y integer", label="y", shard_bytes=1024)
        """)
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "once").exists()
    manifest = Dataset.open(str(tmp_path / "ds")).manifest
    assert (manifest.counts.read, manifest.counts.written, manifest.counts.quarantined) == (501, 500, 1)
    assert sorted(vector[0] for _, vector in rows_of(tmp_path / "ds").values()) == [float(i) for i in range(500)]
    on_storage = {str(path.relative_to(tmp_path / "ds")) for path in (tmp_path / "ds").rglob("part-*")}
    assert on_storage == {shard.path for split in manifest.splits.values() for shard in split.shards} | {
        shard.path for shard in manifest.quarantine.shards
    }


def kill_once(once: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task; the first that has written shards is killed in the middle of its batches."""
    *before, batches = arguments

    def stream(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, len(batch), 100):
                yield batch.slice(start, 100)
                if function.__name__ == "_write" and start >= 200 and not os.path.exists(once):
                    Path(once).touch()
                    os.kill(os.getpid(), signal.SIGKILL)

    return function(*before, stream(batches))


def test_iris_trains_to_the_network_of_39_parameters(spark: Any, tmp_path: Path) -> None:
    """The 4-3-3-3 network of 39 parameters, from the file to predictions of its rows."""
    source = real_data("iris") / "iris.txt"
    schema = (
        "sepal_length double, sepal_width double, petal_length double, petal_width double, species categorical(0|1|2)"
    )
    firesteel.prepare(source, tmp_path / "ds", spark=spark, format="csv", schema=schema, header=False, label="species")
    result = firesteel.train(
        tmp_path / "ds", tmp_path / "run", model="mlp:hidden=[3,3]", epochs=100, batch_size=16, learning_rate=0.01, engine="local",
        threads=1,
    )  # fmt: skip
    assert result.parameters == 39
    predictor = firesteel.Predictor(tmp_path / "run")
    outcomes = list(predictor.predict_table(source, format="csv"))
    truth = [line.rsplit(",", 1)[1] for line in source.read_text().split()]
    assert np.mean([each.prediction.label == label for each, label in zip(outcomes, truth, strict=True)]) > 0.93


def test_storm_reports_prepare(spark: Any, tmp_path: Path) -> None:
    """The worked example of DataVec's slides: latitude, longitude and the type of each report."""
    source = real_data("storm-reports") / "reports.csv"
    schema = (
        "datetime time(yyMMdd-HHmm), severity string, location string, county string, state string, lat double, lon double,"
        " comment string, type categorical(TOR|WIND|HAIL)"
    )
    options: dict[str, Any] = {"spark": spark, "schema": schema, "header": False, "label": "type"}
    manifest = firesteel.prepare(source, tmp_path / "ds", features=["lat", "lon"], **options).dataset.manifest
    assert (manifest.counts.read, manifest.counts.written) == (90, 90)
    assert [sum(rows) for rows in zip(*(split.rows_per_class for split in manifest.splits.values()))] == [20, 32, 38]
    more = firesteel.prepare(
        source, tmp_path / "more", features=["lat", "lon", "state", "datetime"], learn_categories=5, encode={"datetime": "cyclic"}, **options
    ).dataset.manifest  # fmt: skip
    assert more.feature.table is not None
    assert more.feature.table.names[-6:] == tuple(
        f"datetime.{part}" for part in ("day_sin", "day_cos", "week_sin", "week_cos", "year_sin", "year_cos")
    )
