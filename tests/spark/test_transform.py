"""Processes, conditions and joins on DataFrames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

import firesteel
from firesteel.errors import ConfigError, DataError
from firesteel.spark import checked, filled, joined, schema_of, transformed
from firesteel.spark.expressions import column_of, merged
from firesteel.tables.conditions import column, condition_of
from firesteel.tables.join import Join
from firesteel.tables.plans import Project
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Schema
from tests.conftest import real_data

pytestmark = pytest.mark.spark
ROOT = Path(__file__).resolve().parents[2]
NAN, INF = math.nan, math.inf


# -- conditions -----------------------------------------------------------------------------------------------------

CONDITIONS: list[tuple[Any, list[bool]]] = [
    ({"column": "x", "less": 2}, [True, False, False, False, False]),
    ({"column": "x", "at_most": 2}, [True, True, False, False, False]),
    ({"column": "x", "greater": 1.5}, [False, True, False, False, True]),
    ({"column": "x", "at_least": 2}, [False, True, False, False, True]),
    ({"column": "x", "equal": 2}, [False, True, False, False, False]),
    ({"column": "x", "not_equal": 2}, [True, False, False, False, True]),
    ({"not": {"column": "x", "equal": 2}}, [True, False, True, True, True]),
    ({"column": "x", "in": [1, 2.0]}, [True, True, False, False, False]),
    ({"column": "x", "not_in": [1, 3]}, [False, True, False, False, True]),
    ({"column": "x", "is": "nan"}, [False, False, False, True, False]),
    ({"column": "x", "is": "infinite"}, [False, False, False, False, True]),
    ({"column": "x", "is": "missing"}, [False, False, True, False, False]),
    ({"column": "x", "is": "invalid"}, [False, False, False, True, True]),
    ({"column": "x", "is": "valid"}, [True, True, False, False, False]),
    ({"column": "n", "greater": 1.5}, [False, True, False, True, True]),
    ({"column": "n", "less": 10**15}, [True, True, False, True, True]),
    ({"column": "n", "is": "invalid"}, [False, False, False, False, True]),
    ({"column": "x", "less": {"column": "n"}}, [False, False, False, False, False]),
    ({"column": "x", "at_most": {"column": "n"}}, [True, True, False, False, False]),
    ({"column": "s", "equal": "é"}, [True, False, False, False, False]),
    ({"column": "s", "less": "b"}, [False, True, True, False, False]),
    ({"column": "s", "matches": "^[a-c]"}, [False, True, False, False, True]),
    ({"column": "s", "is": "missing"}, [False, False, True, True, False]),
    ({"column": "s", "is": "invalid"}, [False, False, False, False, True]),
    ({"column": "c", "is": "invalid"}, [False, False, False, True, False]),
    ({"column": "c", "in": ["A"]}, [True, False, False, False, True]),
    ({"column": "c", "equal": {"column": "s"}}, [False, False, False, False, False]),
    ({"column": "b", "equal": True}, [True, False, False, True, False]),
    ({"column": "t", "less": "2020-01-02"}, [True, False, False, True, False]),
    ({"column": "t", "at_least": "2020-01-02T01:00:00+01:00"}, [False, True, False, False, True]),
    ({"all": [{"column": "x", "less": 2}, {"column": "b", "equal": True}]}, [True, False, False, False, False]),
    ({"any": [{"column": "x", "equal": 2}, {"column": "b", "equal": True}]}, [True, True, False, True, False]),
    ({"xor": [{"column": "x", "less": 3}, {"column": "b", "equal": True}]}, [False, True, False, True, False]),
]  # fmt: skip


def test_conditions_are_true_or_false_and_never_unknown(spark: Any) -> None:
    """All of them in one job: values, a missing one, NaN, infinity, an empty text, a value that the schema forbids."""
    schema = Schema.of({
        "x": "double", "n": {"type": "long", "max": 9}, "s": {"type": "string", "pattern": "[a-bé]+"},
        "c": {"type": "categorical", "values": ["A", "B"]}, "b": "boolean", "t": {"type": "time", "timezone": "UTC"},
    })  # fmt: skip
    rows = [(1.0, 1, "é", "A", True, "2020-01-01"), (2.0, 2, "ab", "B", False, "2020-01-02"), (None,) * 2 + ("", None, None, None),
            (NAN, 4, None, "Z", True, "2020-01-01"), (INF, 10, "c", "A", False, "2020-02-01")]  # fmt: skip
    text = spark.createDataFrame(rows, "x double, n long, s string, c string, b boolean, t string")
    frame = transformed(
        text, TransformProcess("x double, n long, s string, c string, b boolean, t string").string_to_time("t")
    )
    tests = [
        column_of(condition_of(condition).expression(schema)).alias(str(i))
        for i, (condition, _) in enumerate(CONDITIONS)
    ]
    found = frame.select(*tests).toPandas()
    for i, (condition, expected) in enumerate(CONDITIONS):
        assert found[str(i)].tolist() == expected, condition


# -- processes ------------------------------------------------------------------------------------------------------


def test_names_may_hold_anything(spark: Any) -> None:
    names = ["a.b", "c d", "e`f", "größe[é]", "select", "*", "1"]
    frame = spark.createDataFrame([tuple(float(i) for i in range(len(names)))], names)
    process = TransformProcess(schema_of(frame)).maths(*names, operator="add", value=1)
    process = process.combine("a.b", "e`f", operator="add", into="x.`y`").keep_rows(column("*") > column("a.b"))
    process = process.group("c d", "1", values={"su.m": {"reduce": "sum", "column": "größe[é]"}}).rename({"1": "e`"})
    row = transformed(frame, process).collect()[0]
    assert row.asDict() == {"c d": 2.0, "e`": 7.0, "su.m": 4.0}


def test_a_schema_may_allow_what_is_not_finite(spark: Any) -> None:
    values = [1.0, NAN, INF, -INF, None, 9.0]
    frame = spark.createDataFrame([(value,) * 4 for value in values], "a double, b double, c double, d double")
    bounds: list[dict[str, Any]] = [{}, {"nan": True}, {"infinite": True}, {"nan": True, "infinite": True}]
    schema = Schema.of(
        {name: {"type": "double", "max": 5 if name != "c" else None, **each} for name, each in zip("abcd", bounds)}
    )
    tests = [column_of(condition_of({"column": name, "is": "valid"}).expression(schema)) for name in "abcd"]
    assert [tuple(row) for row in frame.select(*tests).collect()] == [
        (True, True, True, True), (False, True, False, True), (False, False, True, False), (False, False, True, True),
        (False,) * 4, (False, False, True, False),
    ]  # fmt: skip


def test_many_steps_are_one_projection_and_one_job(spark: Any) -> None:
    frame = spark.createDataFrame([(float(i),) * 100 for i in range(3)], [f"c{i}" for i in range(100)])
    process = TransformProcess(schema_of(frame))
    for i in range(100):
        process = process.maths(f"c{i}", operator="add", value=i).rename({f"c{i}": f"d{i}"})
    process = process.function("d7", function="negate")
    assert [len(each.outputs) for each in merged(process.plan()) if isinstance(each, Project)] == [100, 100]
    assert transformed(frame, process).collect()[2][7] == -9.0


def test_renaming_and_computing_do_not_get_mixed_up(spark: Any) -> None:
    """What is merged into one projection gives the same as step by step."""
    frame = spark.createDataFrame([(1.0, 10.0)], ["a", "b"])
    process = (
        TransformProcess(schema_of(frame))
        .duplicate({"a": "c"})
        .rename({"a": "b", "b": "a"})
        .maths("a", operator="add", value=5)
        .maths("b", operator="multiply", value=3)
        .combine("a", "b", "c", operator="add", into="sum")
        .drop("c")
    )
    assert transformed(frame, process).collect()[0].asDict() == {"b": 3.0, "a": 15.0, "sum": 19.0}


def test_statistics_come_from_the_rows_that_reach_a_step(spark: Any) -> None:
    values = [1.0, 2.0, 4.0, 9.0, None, NAN, INF, -50.0]
    frame = spark.createDataFrame([(value, "é") for value in values], "x double, s string")
    process = (
        TransformProcess(schema_of(frame))
        .drop_rows(column("x") < 0)
        .fill_missing("x", statistic="mean")
        .replace_invalid("x", value=0)
        .normalize("x", method="standardize")
    )
    with pytest.raises(ConfigError, match=r"step 2 \(fill_missing\) needs the mean of column 'x'(.|\n)*filled"):
        transformed(frame, process)
    complete = filled(frame, process)
    after = np.array([1, 2, 4, 9, 4, 0, 0], dtype=float)
    assert complete.steps[1].to_mapping()["statistics"] == {"x": {"mean": 4.0}}
    np.testing.assert_allclose(
        [row["x"] for row in transformed(frame, complete).collect()], (after - after.mean()) / after.std(ddof=1)
    )
    assert filled(frame, complete) == complete


def test_a_column_without_values_has_no_statistics(spark: Any) -> None:
    frame = spark.createDataFrame([(None,), (NAN,)], "x double")
    with pytest.raises(DataError, match=r"step 1 \(normalize\): column 'x' has too few values for its mean and stdev"):
        filled(frame, TransformProcess("x double").normalize("x", method="standardize"))


def test_a_saved_process_does_the_same_again(spark: Any, tmp_path: Path) -> None:
    """Also as a part of another model, as of a dataset's manifest."""

    class Manifest(BaseModel):
        process: TransformProcess

    frame = spark.createDataFrame([(1.0, "a"), (3.0, "b")], "x double, s string")
    process = (
        TransformProcess(schema_of(frame))
        .normalize("x", method="min_max")
        .string_to_categorical("s", values=["b", "a"])
    )
    process = filled(frame, process.one_hot("s"))
    process.write(tmp_path / "p.yaml")
    again = TransformProcess.read(tmp_path / "p.yaml")
    text = Manifest(process=process).model_dump_json()
    assert again == process == Manifest.model_validate_json(text).process
    other = spark.createDataFrame([(2.0, "b")], "x double, s string")
    assert transformed(other, again).collect()[0].asDict() == {"x": 0.5, "s[b]": 1, "s[a]": 0}


def test_groups_and_moving_windows_are_those_of_pandas(spark: Any) -> None:
    generator = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "k": generator.choice(["a", "b", "größe"], 300),
            "i": generator.permutation(300),
            "x": generator.normal(size=300),
        }
    )
    table.loc[generator.random(300) < 0.2, "x"] = np.nan
    rows = [(k, int(i), None if np.isnan(x) else float(x)) for k, i, x in table.itertuples(index=False)]
    frame = spark.createDataFrame(rows, "k string, i long, x double")
    process = TransformProcess(schema_of(frame))
    names = {"count": "count", "sum": "sum", "mean": "mean", "min": "min", "max": "max", "stdev": "std", "variance": "var", "count_unique": "nunique", "product": "prod"}  # fmt: skip
    values = {kind: {"reduce": kind, "column": "x"} for kind in names}
    found = transformed(frame, process.group("k", values=values)).toPandas().set_index("k").sort_index()
    expected = table.groupby("k")["x"].agg(list(names.values()))
    np.testing.assert_allclose(found.to_numpy(float), expected.to_numpy(float), rtol=1e-9)
    moving = process.moving(
        "k",
        order_by="i",
        rows=7,
        values={"m": {"reduce": "mean", "column": "x"}, "s": {"reduce": "sum", "column": "i"}},
    )
    found = transformed(frame, moving).toPandas().sort_values("i")
    ordered = table.sort_values("i").groupby("k").rolling(7, min_periods=1)
    expected_mean = ordered["x"].mean().droplevel(0).reindex(table.sort_values("i").index)
    np.testing.assert_allclose(found["m"].to_numpy(float), expected_mean.to_numpy(float), rtol=1e-9, equal_nan=True)
    expected_sum = ordered["i"].sum().droplevel(0).reindex(table.sort_values("i").index)
    np.testing.assert_array_equal(found["s"].to_numpy(), expected_sum.to_numpy())


# -- schemas --------------------------------------------------------------------------------------------------------


def test_the_schema_of_a_frame(spark: Any) -> None:
    frame = spark.sql(
        "select 1 i, 2L l, cast(3 as short) h, 1.5f f, 1.5d d, 'x' s, true b, current_timestamp() t, X'00' y, array(1L) q"
    )
    assert str(schema_of(frame)) == (
        "i integer, l long, h integer, f double, d double, s string, b boolean, t time, y bytes, q long[]"
    )


def test_decimals_dates_and_times_without_zone_find_their_type(spark: Any) -> None:
    frame = spark.sql(
        "select cast(7 as decimal(18,0)) l, 1.25 d, date'2020-03-08' day, timestamp_ntz'2020-03-08 02:30:00' t, cast(3 as decimal(9,0)) e"
    )
    assert str(schema_of(frame)) == "l long, d double, day time, t time, e long"
    schema = Schema().long("l").double("d", "e").time("day").time("t", timezone="America/New_York")
    process = TransformProcess(schema).cast("day", "t", to="string")
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        found = transformed(frame, process).collect()[0]
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
    # Clocks in New York went from 2 to 3 at that moment: half past two was half past three.
    assert tuple(found) == (7, 1.25, 3.0, "2020-03-08T00:00:00Z", "2020-03-08T07:30:00Z")


def test_types_without_a_counterpart_are_named(spark: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"column 'x' is struct<col1:int>, which no column of a schema can be .*Leave it out"
    ):
        schema_of(spark.sql("select struct(1) x"))
    with pytest.raises(ConfigError, match="column 'x' is array<date>"):
        schema_of(spark.sql("select array(current_date()) x"))


def test_a_frame_is_brought_to_a_schema(spark: Any) -> None:
    frame = spark.createDataFrame([(1, 1.5, "A", 2)], "n int, f float, c string, other int")
    found = checked(frame, Schema.parse("c categorical(A|B), n long, f double"))
    assert found.dtypes == [("c", "string"), ("n", "bigint"), ("f", "double")]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("lst double", r"has no column 'lst', which the schema says. It has lat, type, ids. Did you mean 'lat'\?"),
        ("lat integer", r"column 'lat' is double in the DataFrame, the schema says integer. Change the schema"),
        ("type time", "column 'type' is string in the DataFrame, the schema says time.*string_to_time"),
        ("ids long", r"column 'ids' is array<bigint> in the DataFrame, the schema says long\."),
        ("lat double, LAT double", "columns 'LAT' and 'lat' differ only by case"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_before_a_job_runs(schema: str, message: str, spark: Any) -> None:
    frame = spark.createDataFrame([(1.0, "x", [1])], "lat double, type string, ids array<bigint>")
    with pytest.raises(ConfigError, match=message):
        transformed(frame, TransformProcess(schema))


def test_one_of_two_columns_of_a_name_is_no_column(spark: Any) -> None:
    frame = spark.createDataFrame([(1.0,)], "x double")
    with pytest.raises(ConfigError, match="the DataFrame has two columns 'x'"):
        checked(frame.join(frame), Schema.parse("x double"))


# -- joins ----------------------------------------------------------------------------------------------------------

LEFT = pd.DataFrame({"k": ["a", "b", "b", None, "e"], "n": [1, 2, 3, 4, 5], "x": [1.0, np.nan, 3.0, 4.0, 5.0]})
RIGHT = pd.DataFrame({"k": ["b", "b", "c", None, "e"], "n": [2, 9, 9, 4, 6], "y": ["p", "q", "r", "s", "t"]})


def _frames(spark: Any) -> tuple[Any, Any]:
    def rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
        return [tuple(None if value is None else value for value in row) for row in table.itertuples(index=False)]

    return (
        spark.createDataFrame(rows(LEFT), "k string, n int, x double"),
        spark.createDataFrame(rows(RIGHT), "k string, n long, y string"),
    )


def _sorted(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in table.itertuples(index=False)]
    return sorted(rows, key=repr)


@pytest.mark.parametrize("how", ["inner", "left", "right", "full"])
@pytest.mark.parametrize("on", [["k"], ["k", "n"]])
def test_joins_are_those_of_pandas(how: str, on: list[str], spark: Any) -> None:
    """With keys that are missing equal, as pandas has it; and without, which is pandas on rows whose keys are there."""
    pandas_how = "outer" if how == "full" else how
    merged = LEFT.astype(object).merge(RIGHT.astype(object), on=on, how=pandas_how, suffixes=("", "_right"))
    matching = joined(*_frames(spark), Join(on, how, suffix="_right", match_missing=True))
    assert schema_of(matching).names == tuple(merged[[*on, *(c for c in merged if c not in on)]].columns)
    assert _sorted(matching.toPandas()[list(merged)].astype(object)) == _sorted(merged)
    found = _sorted(joined(*_frames(spark), Join(on, how, suffix="_right")).toPandas()[list(merged)].astype(object))
    lonely_left, lonely_right = LEFT[LEFT.k.isna()], RIGHT[RIGHT.k.isna()]
    parts = [LEFT.dropna(subset="k").astype(object).merge(RIGHT.dropna(subset="k").astype(object), on=on, how=pandas_how, suffixes=("", "_right"))]  # fmt: skip
    parts += [lonely_left.astype(object)] * (how in ("left", "full"))
    right_names = {name: f"{name}_right" for name in RIGHT if name in LEFT and name not in on}
    parts += [lonely_right.rename(columns=right_names).astype(object)] * (how in ("right", "full"))
    assert found == _sorted(pd.concat(parts)[list(merged)])


def test_a_join_widens_keys_and_has_the_schema_that_it_foretold(spark: Any) -> None:
    left, right = _frames(spark)
    join = Join({"n": "n"}, "full", suffix="_2")
    schemas = Schema.parse("k categorical(a|b|e), n integer, x double"), schema_of(right)
    found = joined(left, right, join, schemas=schemas)
    assert str(join.schema_after(*schemas)) == "n long, k categorical(a|b|e), x double, k_2 string, y string"
    assert found.dtypes == [("n", "bigint"), ("k", "string"), ("x", "double"), ("k_2", "string"), ("y", "string")]


def test_a_table_joins_itself(spark: Any) -> None:
    left, _ = _frames(spark)
    found = joined(left, left, Join({"n": "n"}, suffix="'")).collect()
    assert sorted(row["n"] for row in found) == [1, 2, 3, 4, 5]
    assert found[0].asDict().keys() == {"n", "k", "x", "k'", "x'"}


# -- examples -------------------------------------------------------------------------------------------------------


def test_storm_reports_become_numbers(spark: Any, tmp_path: Path) -> None:
    """The example of the documentation on the real file: 90 reports, of tornadoes 20, of wind 32, of hail 38."""
    source = real_data("storm-reports") / "reports.csv"
    result = firesteel.transform(
        source, tmp_path / "out", ROOT / "examples/storms/process.yaml", header=False, spark=spark, files=1
    )
    assert (result.rows_read, result.rows_written, result.nulls) == (90, 90, {})
    (file,) = (tmp_path / "out").glob("part-*.csv")
    found = pd.read_csv(file)
    assert found.dtypes.astype(str).to_dict() == {"lat": "float64", "lon": "float64", "type": "int64"}
    assert found["type"].value_counts().to_dict() == {2: 38, 1: 32, 0: 20}
    assert tuple(found.iloc[0]) == (37.03, -95.19, 0)


def test_the_schema_of_the_iris_example_reads_the_real_file(spark: Any, tmp_path: Path) -> None:
    source = real_data("iris") / "iris.txt"
    process = TransformProcess.read(ROOT / "examples/iris/process.yaml")
    result = firesteel.transform(source, tmp_path / "out", process, header=False, format="parquet", spark=spark)
    table = pd.read_parquet(tmp_path / "out")
    assert (result.rows_written, result.nulls) == (150, {})
    assert table["species"].value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}
    np.testing.assert_allclose(table["petal_width"].mean(), 0, atol=1e-9)
    np.testing.assert_allclose(table["petal_width"].std(), 1)
