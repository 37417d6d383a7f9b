"""A process on files: formats, what is not overwritten, and broken or strange sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import firesteel
from firesteel.errors import ConfigError, DataError
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Schema

pytestmark = pytest.mark.spark
PROCESS = TransformProcess("n integer, t time, s string").maths("n", operator="add", value=1)
CSV = 'n,t,s\n1,2020-01-01T10:00:00+02:00,"a, ""b"""\nx,,é\n\n3,2020-13-01,\n'
ROWS = [(2, "2020-01-01T08:00:00.000000Z", 'a, "b"'), (None, None, "é"), (4, None, None)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(CSV)
    return tmp_path / "in.csv"


def written(out: Path) -> list[tuple[Any, ...]]:
    """Rows of the CSV files of a folder."""
    table = pd.concat(pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(out.glob("part-*")))
    return [tuple(row) for row in table.itertuples(index=False)]


def test_values_that_are_none_are_missing_and_counted(source: Path, tmp_path: Path, spark: Any) -> None:
    result = firesteel.transform(source, tmp_path / "out", PROCESS, spark=spark, files=1)
    assert written(tmp_path / "out") == [tuple("" if v is None else str(v) for v in row) for row in ROWS]
    assert (result.rows_read, result.rows_written, result.nulls) == (3, 3, {"n": 1, "t": 2, "s": 1})
    assert TransformProcess.read(tmp_path / "out" / "_process.yaml") == PROCESS
    assert Schema.parse(tmp_path / "out" / "_schema.yaml") == PROCESS.final_schema


def test_what_was_written_is_read_again(source: Path, tmp_path: Path, spark: Any) -> None:
    """CSV to JSON to Parquet to CSV, with the schema that stands beside each."""
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("steps: []")
    firesteel.transform(source, tmp_path / "1", PROCESS, spark=spark, format="json", files=1)
    schema = tmp_path / "1" / "_schema.yaml"
    firesteel.transform(
        tmp_path / "1", tmp_path / "2", nothing, schema=str(schema), spark=spark, format="parquet", files=1
    )
    firesteel.transform(tmp_path / "2", tmp_path / "3", nothing, spark=spark, files=1)
    assert written(tmp_path / "3") == [tuple("" if v is None else str(v) for v in row) for row in ROWS]


def test_an_earlier_result_is_replaced_only_if_asked_and_only_by_a_whole_one(
    source: Path, tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    firesteel.transform(source, out, PROCESS, spark=spark, files=1)
    with pytest.raises(DataError, match="holds a transformed table already"):
        firesteel.transform(source, out, PROCESS, spark=spark)
    with monkeypatch.context() as patch:
        patch.setattr("firesteel.spark.transform_files.interruptible", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            firesteel.transform(source, out, PROCESS, spark=spark, overwrite=True)
        with pytest.raises(ZeroDivisionError):
            firesteel.transform(source, tmp_path / "new", PROCESS, spark=spark)
    assert len(written(out)) == 3
    firesteel.transform(source, out, PROCESS.drop("t"), spark=spark, files=1, overwrite=True)
    assert written(out)[0] == ("2", 'a, "b"')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out"]


def test_a_failed_transformation_leaves_nothing(tmp_path: Path, spark: Any) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"Spark could not transform .*in\.parquet: .*\n--debug shows all"):
        firesteel.transform(tmp_path / "in.parquet", tmp_path / "out", PROCESS, spark=spark)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_compressed_files_is_one_table(tmp_path: Path, spark: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        pd.DataFrame({"n": [i], "t": ["2020-01-01"], "s": ["a"]}).to_csv(folder / f"{i}.tsv.gz", sep="\t", index=False)
    (folder / "_SUCCESS").write_text("")
    result = firesteel.transform(folder, tmp_path / "out", PROCESS, spark=spark, files=1, write_header=False)
    assert result.rows_written == 2
    (file,) = (tmp_path / "out").glob("part-*")
    assert sorted(file.read_text().splitlines()) == [
        "1,2020-01-01T00:00:00.000000Z,a",
        "2,2020-01-01T00:00:00.000000Z,a",
    ]


def test_records_that_are_none_are_left_out_and_counted(tmp_path: Path, spark: Any) -> None:
    (tmp_path / "in.csv").write_text('n,t,s\n1,,a\n2,\n3,,"open\nfour,,d\n')
    result = firesteel.transform(tmp_path / "in.csv", tmp_path / "out", PROCESS, spark=spark, files=1)
    assert written(tmp_path / "out") == [("2", "", "a"), ("", "", "d")]
    assert (result.rows_read, result.rows_written, result.broken) == (4, 2, 2)
    assert result.example is not None
    (tmp_path / "in.json").write_text('{"n": [1, 2]}\n{"n": [3\n')
    process = TransformProcess.of({"schema": {"n": "integer[]"}, "steps": []})
    result = firesteel.transform(tmp_path / "in.json", tmp_path / "lists", process, spark=spark, format="json", files=1)
    assert (result.rows_read, result.rows_written, result.broken) == (2, 1, 1)
    assert "is no JSON object" in str(result.example)


def test_queries_are_transformed(tmp_path: Path, spark: Any) -> None:
    process = tmp_path / "p.yaml"
    process.write_text("steps: [{do: maths, columns: id, operator: add, value: 1}]")
    result = firesteel.transform("spark-sql:SELECT id FROM range(3)", tmp_path / "out", process, spark=spark, files=1)
    assert result.rows_written == 3
    assert written(tmp_path / "out") == [("1",), ("2",), ("3",)]


def test_texts_that_mean_a_missing_value_do_so_in_parquet(tmp_path: Path, spark: Any) -> None:
    spark.createDataFrame([("a",), ("NA",)], "t string").write.parquet(str(tmp_path / "in.parquet"))
    process = tmp_path / "p.yaml"
    process.write_text("steps: [{do: rename, columns: {t: s}}]")
    source = tmp_path / "in.parquet"
    result = firesteel.transform(source, tmp_path / "out", process, spark=spark, null_values=["NA"])
    assert (result.rows_written, result.nulls) == (2, {"s": 1})
    with pytest.raises(ConfigError, match="delimiter is for csv and tsv; this is parquet"):
        firesteel.transform(source, tmp_path / "no", process, spark=spark, delimiter=";")


def test_an_empty_table_stays_one(tmp_path: Path, spark: Any) -> None:
    (tmp_path / "in.csv").write_text("n,t,s\n")
    result = firesteel.transform(tmp_path / "in.csv", tmp_path / "out", PROCESS, spark=spark)
    assert (result.rows_read, result.rows_written) == (0, 0)


def test_statistics_of_files_are_kept_with_the_result(source: Path, tmp_path: Path, spark: Any) -> None:
    process = TransformProcess("n integer, t time, s string").select("n").fill_missing("n", statistic="mean")
    firesteel.transform(source, tmp_path / "out", process, spark=spark, files=1)
    kept = TransformProcess.read(tmp_path / "out" / "_process.yaml")
    assert kept.steps[1].to_mapping()["statistics"] == {"n": {"mean": 2.0}}
    assert written(tmp_path / "out") == [("1",), ("2",), ("3",)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.csv", "n,tt,s\n1,,\n", "the schema has n, t, s.\nNot in the header: t. Did you mean 'tt'.*--no-header"),
        ("in.csv", "", "holds no line: there is nothing to read"),
        ("in.dat", "1", "cannot tell the format from the names of the files"),
        ("none.csv", None, "there is nothing at"),
    ],
)
def test_sources_that_cannot_be_read_are_named(
    name: str, text: str | None, message: str, tmp_path: Path, spark: Any
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises((ConfigError, DataError), match=message):
        firesteel.transform(tmp_path / name, tmp_path / "out", PROCESS, spark=spark)
    assert not (tmp_path / "out").exists()


def test_what_csv_cannot_hold_is_refused_before_spark_starts(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="column 's' holds sequences, which CSV cannot"):
        firesteel.transform(source, tmp_path / "out", PROCESS.to_sequence("n", order_by="t").drop("t"))
    with pytest.raises(ConfigError, match="must not lie one in the other"):
        firesteel.transform(source, source / "out", PROCESS)
    with pytest.raises(ConfigError, match="format must be one of csv, parquet, json, got 'xls'"):
        firesteel.transform(source, tmp_path / "out", PROCESS, format="xls")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="files must be at least 1"):
        firesteel.transform(source, tmp_path / "out", PROCESS, files=0)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(DataError, match="holds files that no transformation has written"):
        firesteel.transform(source, tmp_path / "theirs", PROCESS, overwrite=True)


def test_json_of_the_result(source: Path, tmp_path: Path, spark: Any) -> None:
    found = firesteel.transform(source, tmp_path / "out", PROCESS, spark=spark).to_json()
    assert json.loads(json.dumps(found))["missing"] == {"n": 1, "t": 2, "s": 1}
    assert found["schema"] == {"n": "integer", "t": "time", "s": "string"}
