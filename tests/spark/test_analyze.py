"""Analysis on Spark: every type of Spark, schemas, tables on storage, and the same figures as without Spark."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firesteel
from firesteel.analysis.images import ImageAnalysis
from firesteel.analysis.results import TableAnalysis
from firesteel.errors import ConfigError, DataError
from firesteel.tables.source import is_table, table_format
from tests.conftest import real_data

pytestmark = pytest.mark.spark

STORMS = (
    "datetime time(yyMMdd-HHmm), severity integer, location string, county string, state string, lat double, lon double,"
    " comment string, type categorical(TOR|WIND|HAIL)"
)


def analysed(source: Any, **options: Any) -> TableAnalysis:
    found = firesteel.analyze(source, **options)
    assert isinstance(found, TableAnalysis)
    return found


def test_a_dataframe_of_numbers_has_the_figures_of_pandas(spark: Any) -> None:
    """Over several partitions, two of them empty."""
    pandas = pytest.importorskip("pandas")
    generator = np.random.default_rng(0)
    data = pandas.DataFrame(
        {
            "x": generator.normal(1e6, 1.0, 500),
            "n": generator.integers(-50, 50, 500),
            "t": [f"t{i % 7}" for i in range(500)],
        }
    )
    frame = spark.createDataFrame(data).repartition(3).union(spark.createDataFrame(data).limit(0))
    found = analysed(frame)
    assert found.rows == 500
    for name in "xn":
        expected, of = data[name].describe(), found[name].figures
        assert found[name].count == expected["count"]
        for ours, theirs in (("mean", "mean"), ("stdev", "std"), ("min", "min"), ("max", "max")):
            assert of[ours] == pytest.approx(expected[theirs], rel=1e-9)
        for fraction in (0.25, 0.5, 0.75):
            assert of["quantiles"][str(fraction)] == pytest.approx(data[name].quantile(fraction), rel=1e-9)
    assert {each["value"]: each["count"] for each in found["t"].figures["most_frequent"]} == dict(
        data["t"].value_counts()
    )


def test_no_type_of_spark_fails(spark: Any) -> None:
    from pyspark.ml.linalg import Vectors

    values = """
      CAST(1 AS TINYINT) AS `a byte`, 2S AS s, 9223372036854775807 AS l, 1.5F AS f, CAST('NaN' AS DOUBLE) AS d,
      1.50BD AS dec, CAST(1.5 AS DECIMAL(38, 10)) AS wide, 'ü' AS `dotted.name`, CAST('x' AS CHAR(3)) AS c, true AS b, X'0102' AS bin,
      DATE'2020-02-29' AS day, TIMESTAMP'2020-01-01 00:00:00' AS t, TIMESTAMP_NTZ'2020-01-01 00:00:00' AS tn,
      INTERVAL '1' DAY AS span, INTERVAL '2' MONTH AS months, make_interval(1) AS any_span, array(1, NULL) AS ints,
      array('a') AS texts, array(array(1)) AS nested, array(parse_json('1')) AS variants, array(1.5BD) AS decs,
      map('k', 1) AS m, struct(1 AS a) AS st, NULL AS nothing, parse_json('{"a": 1}') AS v, 'tick' AS `back``tick`"""
    row = spark.sql(f"SELECT {values}")
    nulls = spark.createDataFrame([], row.schema)
    found = analysed(row.union(nulls))
    by_name = {column.name: column for column in found}
    assert {name: by_name[name].type for name in ("a byte", "l", "dec", "dotted.name", "b", "bin", "day", "t", "tn")} == {
        "a byte": "integer", "l": "long", "dec": "double", "dotted.name": "string", "b": "boolean", "bin": "bytes",
        "day": "time", "t": "time", "tn": "time",
    }  # fmt: skip
    assert by_name["l"].figures["max"] == 2**63 - 1
    assert by_name["d"].figures["nan"] == 1
    assert by_name["day"].figures["min"] == "2020-02-29"
    assert by_name["ints"].figures["null_elements"] == 1
    assert by_name["texts"].figures["elements"]["unique"] == 1
    assert [by_name[name].figures["length"]["max"] for name in ("nested", "variants", "decs", "m")] == [1, 1, 1, 1]
    assert all(column.count == (column.name != "nothing") for column in found)
    assert found.to_html()
    assert json.dumps(found.to_json(), allow_nan=True)
    vectors = spark.createDataFrame([(Vectors.dense([1.0, 3.0]),), (Vectors.sparse(2, {}),)], ["v"])
    assert analysed(vectors)["v"].figures["elements"]["mean"] == 1.0


def test_columns_of_one_name_are_told_apart(spark: Any) -> None:
    frame = spark.createDataFrame([(1, 2)], ["x", "x"])
    assert [column.name for column in analysed(frame)] == ["x", "x (2)"]


def test_an_empty_table_and_a_table_of_nulls(spark: Any) -> None:
    found = analysed(spark.createDataFrame([], "x double, y string"))
    assert (found.rows, found["x"].count, found.notes) == (0, 0, ["the table has no rows"])
    found = analysed(spark.createDataFrame([(None, None)] * 3, "x double, y string"))
    assert (found.rows, found["x"].missing, found["y"].missing) == (3, 3, 3)
    assert found["x"].figures["mean"] is None


def test_a_schema_says_what_is_valid(spark: Any) -> None:
    """Of texts: each value is valid, missing or invalid; the session's time zone has no say."""
    rows = [
        ("1", " 2.5 ", "2020-01-01T12:00:00", "yes", "A"), ("1.5", "2.5d", "2020-01-01T12:00:00+02:00", "maybe", "B"),
        ("99999999999", "NaN", "2020-02-30", "", "C"), (None, "", None, None, None), ("7", "1e400", "x", "f", ""),
    ]  # fmt: skip
    frame = spark.createDataFrame(rows, "i string, d string, t string, b string, c string")
    schema = "i integer, d double, t time, b boolean, c categorical(A|B)"
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        found = analysed(frame, schema=schema)
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
    counts = {column.name: (column.count, column.missing, column.invalid, column.examples) for column in found}
    assert counts["i"] == (2, 1, 2, ("1.5", "99999999999"))
    assert counts["d"] == (1, 1, 3, ("2.5d", "inf", "nan"))
    assert counts["t"] == (2, 1, 2, ("2020-02-30", "x"))
    assert (found["t"].figures["min"], found["t"].figures["max"]) == ("2020-01-01T10:00:00Z", "2020-01-01T12:00:00Z")
    assert counts["b"] == (2, 2, 1, ("maybe",))
    assert counts["c"] == (2, 2, 1, ("C",))


def test_a_schema_of_typed_columns(spark: Any) -> None:
    rows = [(1, decimal.Decimal("1.5"), datetime.date(2020, 1, 1), "x"), (-1, None, None, None)]
    frame = spark.createDataFrame(rows, "n bigint, d decimal(5,1), day date, other string")
    found = analysed(frame, schema="n integer, d double, day time")
    assert [(column.type, column.count, column.invalid) for column in found] == [
        ("integer", 2, 0), ("double", 1, 0), ("time", 1, 0), ("string", 1, 0),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="Did you mean 'day'"):
        analysed(frame, schema="dey time")
    with pytest.raises(ConfigError, match="does not fit the types"):
        analysed(spark.createDataFrame([([1],)], "x array<int>"), schema="x double")


def test_the_storm_reports(spark: Any) -> None:
    """The worked example of DataVec: 41 severities are UNK, and three kinds of storms."""
    found = analysed(real_data("storm-reports") / "reports.csv", header=False, schema=STORMS, spark=spark)
    assert found.rows == 90
    severity = found["severity"]
    assert (severity.count, severity.invalid, severity.examples) == (49, 41, ("UNK",))
    assert found["type"].figures["counts"] == {"TOR": 20, "WIND": 32, "HAIL": 38}
    assert found["datetime"].figures["max"] == "2016-10-06T23:45:00Z"


def test_tables_on_storage(spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(i, f"v{i}") for i in range(20)], "n int, t string")
    frame.write.parquet(str(tmp_path / "p"))
    frame.write.json(str(tmp_path / "j"))
    frame.write.csv(str(tmp_path / "c"), header=True, compression="gzip")
    (tmp_path / "x.tsv").write_text('n\tt\n1\t"a\tb"\n2\t\n')
    for name in "pjc":
        found = analysed(tmp_path / name, spark=spark)
        assert (found.rows, found["n"].figures["total"], found["t"].figures["unique"]) == (20, 190, 20)
    found = analysed(tmp_path / "x.tsv", spark=spark)
    assert (found["t"].missing, found["t"].figures["most_frequent"]) == (1, [{"value": "a\tb", "count": 1}])
    with pytest.raises(ConfigError, match="have 2 fields, the schema names 3 columns"):
        analysed(tmp_path / "x.tsv", spark=spark, header=False, schema="a string, b string, c string")
    with pytest.raises(DataError, match="there is no table"):
        analysed(tmp_path / "none.csv", spark=spark)
    assert table_format(str(tmp_path / "p"), "auto") == "parquet"
    (tmp_path / "classes" / "a").mkdir(parents=True)
    (tmp_path / "classes" / "labels.csv").write_text("x")
    assert not is_table(str(tmp_path / "classes"), "auto")


def test_broken_records_are_left_out_and_said(spark: Any, tmp_path: Path) -> None:
    """As preparation would quarantine them; what is quoted wrongly spoils its own line only."""
    (tmp_path / "x.csv").write_text('n;t\n1;a\n2\n3;"open\n4;d\nNA;e\n')
    for schema in (None, "n integer"):
        found = analysed(tmp_path / "x.csv", spark=spark, delimiter=";", null_values=["NA"], schema=schema)
        assert (found.rows, found["n"].type, found["n"].count, found["n"].missing, found["t"].count) == (
            3,
            "integer",
            2,
            1,
            3,
        )
        assert found.notes[0].startswith("2 records are broken and left out; one: ")
    with pytest.raises(ConfigError, match="no option 'encoding'"):
        analysed(tmp_path / "x.csv", spark=spark, encoding="utf-8")


def test_texts_that_mean_a_missing_value_do_so_in_every_source(spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame([("a", 1), (" NA ", 2), (None, 3)], "t string, n int")
    frame.write.json(str(tmp_path / "x.json"))
    frame.write.parquet(str(tmp_path / "x.parquet"))
    for source in (str(tmp_path / "x.json"), str(tmp_path / "x.parquet"), frame):
        assert (analysed(source, spark=spark)["t"].missing, analysed(source, spark=spark)["t"].count) == (1, 2)
        found = analysed(source, spark=spark, null_values=["NA"])
        assert (found.rows, found["t"].missing, found["t"].count, found["n"].count) == (3, 2, 1, 3)
    with pytest.raises(ConfigError, match="delimiter is for csv and tsv; this is parquet"):
        analysed(tmp_path / "x.parquet", spark=spark, delimiter=";")
    with pytest.raises(ConfigError, match="delimiter is for csv and tsv; this is a DataFrame"):
        analysed(frame, spark=spark, delimiter=";")


def test_queries_and_tables_of_the_catalogue(spark: Any) -> None:
    assert analysed("spark-sql:SELECT id, array(id) AS ids FROM range(5)", spark=spark)["ids"].type == "array"
    spark.createDataFrame([(1,)], "x int").createOrReplaceTempView("of_one")
    assert analysed("table:of_one", spark=spark).rows == 1
    with pytest.raises(ConfigError, match="Spark refuses table:no_such"):
        analysed("table:no_such", spark=spark)


def test_pictures_have_the_same_figures_with_and_without_spark(spark: Any, image_folder: Path) -> None:
    (image_folder / "grey" / "broken.png").write_bytes(b"\x89PNG no")
    there, here = (firesteel.analyze(image_folder, **options) for options in ({"spark": spark}, {"engine": "local"}))
    assert isinstance(there, ImageAnalysis)
    assert isinstance(here, ImageAnalysis)
    assert there.channels == here.channels
    assert there.duplicates == here.duplicates
    assert there.broken == here.broken
    assert there.figures["bytes"]["quantiles"] == here.figures["bytes"]["quantiles"]
    assert there.thumbnails == here.thumbnails
