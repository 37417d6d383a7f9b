"""Figures of columns: equal to those of numpy and pandas, and the same for any partitioning of the rows."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.analysis.results import ColumnAnalysis, TableAnalysis
from firesteel.analysis.tables import TableColumn, TableSummary, kind_of, regrouped, summarise
from firesteel.errors import ConfigError
from firesteel.tables.schema import Schema

QUANTILES = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


def analysed(column: TableColumn, *parts: Sequence[Any] | pa.Array) -> ColumnAnalysis:
    """The figures of values that were summarised in parts, each of which travelled."""
    whole = TableSummary([column])
    for part in parts:
        array = part if isinstance(part, pa.Array) else pa.array(part, _ARROW[column.kind])
        summary = summarise([column], [pa.record_batch([array], [column.name])])
        whole.merge(pickle.loads(pickle.dumps(summary)))
    return TableAnalysis.of(whole, "a test", [], 0.0)[column.name]


_ARROW = {
    "double": pa.float64(), "long": pa.int64(), "integer": pa.int32(), "string": pa.string(), "boolean": pa.bool_(),
    "bytes": pa.binary(), "categorical": pa.string(), "date": pa.date32(), "time": pa.timestamp("us", "UTC"),
}  # fmt: skip

WHOLE = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.lists(st.floats(-1e9, 1e9), max_size=20), min_size=1, max_size=5))
def test_figures_of_numbers_are_those_of_numpy_for_any_partitioning(parts: list[list[float]]) -> None:
    of = analysed(TableColumn("x", "double"), *parts).figures
    values = np.array([value for part in parts for value in part])
    if not len(values):
        assert (of["min"], of["max"], of["mean"], of["stdev"], of["quantiles"]) == (None, None, None, None, {})
        return
    assert (of["min"], of["max"]) == (values.min(), values.max())
    assert of["count_min"] == (values == values.min()).sum()
    assert of["count_max"] == (values == values.max()).sum()
    assert (of["zeros"], of["negatives"], of["positives"]) == (
        (values == 0).sum(),
        (values < 0).sum(),
        (values > 0).sum(),
    )
    assert of["unique"] == len(np.unique(values))
    assert of["mean"] == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    assert of["total"] == pytest.approx(math.fsum(values), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert of["variance"] == pytest.approx(values.var(ddof=1), rel=1e-6, abs=1e-6)
    for fraction in QUANTILES:
        assert of["quantiles"][str(fraction)] == pytest.approx(np.quantile(values, fraction), rel=1e-9, abs=1e-9)
    assert sum(of["histogram"]["counts"]) == len(values)
    assert of["approximate"] == {}


@given(st.lists(st.lists(WHOLE, max_size=20), min_size=1, max_size=5))
def test_whole_numbers_of_64_bits_are_exact(parts: list[list[int]]) -> None:
    of = analysed(TableColumn("x", "long"), *parts).figures
    values = [value for part in parts for value in part]
    assert of["min"] == min(values, default=None)
    assert of["max"] == max(values, default=None)
    assert of["total"] == (sum(values) if values else None)
    assert of["unique"] == len(set(values))
    assert sum(of["histogram"]["counts"]) == len(values)


def test_the_variance_is_stable_where_the_mean_is_large() -> None:
    """Sums of squares would give 0 or a negative number here."""
    values = np.array([1e9 + 1e-3 * i for i in range(1000)])
    of = analysed(TableColumn("x", "double"), values[:300], values[300:]).figures
    assert of["variance"] == pytest.approx(np.var(values - 1e9, ddof=1), rel=1e-6)


def test_nan_and_infinities_are_counted_and_no_part_of_other_figures() -> None:
    column = analysed(TableColumn("x", "double"), [1.0, math.nan, 3.0], [math.inf, -math.inf, None])
    assert (column.count, column.missing, column.invalid) == (5, 1, 0)
    assert (column.figures["nan"], column.figures["infinite"]) == (1, 2)
    assert (column.figures["min"], column.figures["max"], column.figures["mean"]) == (1.0, 3.0, 2.0)


def test_numbers_at_the_ends_of_the_range_have_a_histogram() -> None:
    of = analysed(TableColumn("x", "double"), [-1.7e308, 1.7e308, 0.0]).figures
    assert sum(of["histogram"]["counts"]) == 3
    assert all(map(math.isfinite, of["histogram"]["edges"]))


def test_many_different_numbers_are_approximate_within_the_error_that_is_said() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    parts = np.array_split(values, 7)
    of = analysed(TableColumn("x", "double"), *parts).figures
    assert set(of["approximate"]) == {"quantiles", "histogram", "unique"}
    for fraction in QUANTILES:
        rank = (values <= of["quantiles"][str(fraction)]).mean()
        assert abs(rank - fraction) < 0.002
    assert abs(of["unique"] - 200_000) < 200_000 * 0.03
    counts, _ = np.histogram(values, of["histogram"]["edges"])
    assert np.abs(counts - of["histogram"]["counts"]).max() < 0.004 * len(values)
    assert sum(of["histogram"]["counts"]) == len(values)
    assert of["mean"] == pytest.approx(values.mean())  # exact figures stay exact
    assert of["variance"] == pytest.approx(values.var(ddof=1))


@pytest.mark.parametrize("kind", ["double", "long"])
def test_a_sketch_takes_batches_as_arrow_holds_them(kind: str) -> None:
    values = np.arange(200_000)
    table = pa.table({"x": pa.array(values, _ARROW[kind])})
    found = summarise([TableColumn("x", kind)], table.to_batches(max_chunksize=70_000))
    of = TableAnalysis.of(found, "a test", [], 0.0)["x"].figures
    assert of["quantiles"]["0.5"] == pytest.approx(100_000, rel=0.01)
    assert (of["min"], of["max"], of["total"]) == (0, 199_999, values.sum())


def test_few_values_stay_exact_in_any_number_of_rows_and_keep_their_weight_in_a_sketch() -> None:
    """A million rows of ten values, then more different values than are kept: the old ones must not be forgotten."""
    common, rare = np.repeat(np.arange(10), 100_000), np.arange(100, 60_100)
    of = analysed(TableColumn("x", "long"), common).figures
    assert of["approximate"] == {}
    assert of["quantiles"]["0.25"] == np.quantile(common, 0.25)
    of = analysed(TableColumn("x", "long"), common, rare).figures
    assert "quantiles" in of["approximate"]
    assert of["quantiles"]["0.5"] == pytest.approx(np.quantile(np.concatenate([common, rare]), 0.5), abs=1)
    assert sum(of["histogram"]["counts"]) == 1_060_000


@given(st.lists(st.lists(st.text(max_size=6), max_size=12), min_size=1, max_size=4))
def test_figures_of_texts_are_those_of_python(parts: list[list[str]]) -> None:
    of = analysed(TableColumn("x", "string"), *parts).figures
    texts = [text for part in parts for text in part]
    assert of["unique"] == len(set(texts))
    assert of["empty"] == texts.count("")
    assert of["length"]["total"] == (sum(map(len, texts)) if texts else None)
    assert of["length"]["max"] == max(map(len, texts), default=None)
    assert sum(each["count"] for each in of["most_frequent"]) == len(texts) or len(set(texts)) > 20
    counts = sorted((texts.count(text) for text in set(texts)), reverse=True)[:20]
    assert [each["count"] for each in of["most_frequent"]] == counts


def test_kinds_of_texts() -> None:
    texts = ["", "  ", "12", "-1.5e3", "abc", "größe", "a_1", "x y", None]
    column = analysed(TableColumn("x", "string"), texts)
    assert (column.count, column.missing) == (8, 1)
    assert {name: column.figures[name] for name in ("empty", "blank", "numeric", "alphabetic", "word")} == {
        "empty": 1, "blank": 1, "numeric": 2, "alphabetic": 2, "word": 3,
    }  # fmt: skip


def test_of_many_different_texts_the_frequent_ones_are_found() -> None:
    parts = [[f"user {part}-{i}" for i in range(8000)] + ["gast"] * 4000 for part in range(3)]
    of = analysed(TableColumn("x", "string"), *parts).figures
    assert of["most_frequent"][0]["value"] == "gast"
    assert 12_000 <= of["most_frequent"][0]["count"] < 12_100
    assert abs(of["unique"] - 24_001) < 24_001 * 0.03
    assert set(of["approximate"]) == {"unique", "most_frequent"}


def test_long_texts_are_kept_short_and_told_apart() -> None:
    of = analysed(TableColumn("x", "string"), ["a" * 100_000, "a" * 99_999 + "b"]).figures
    assert of["unique"] == 2
    assert len(of["most_frequent"][0]["value"]) < 150
    assert of["length"]["max"] == 100_000


def test_times_and_dates_are_iso_texts() -> None:
    noon = datetime.datetime(2016, 10, 6, 12, tzinfo=datetime.timezone.utc)
    of = analysed(TableColumn("t", "time"), [noon, noon + datetime.timedelta(hours=2)], [None]).figures
    assert (of["min"], of["mean"], of["max"]) == (
        "2016-10-06T12:00:00Z",
        "2016-10-06T13:00:00Z",
        "2016-10-06T14:00:00Z",
    )
    assert of["stdev_s"] == pytest.approx(3600 * 2**0.5)
    of = analysed(TableColumn("d", "date"), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]).figures
    assert (of["min"], of["max"]) == ("0001-01-01", "9999-12-31")


def test_truth_values_bytes_lists_and_maps() -> None:
    assert analysed(TableColumn("b", "boolean"), [True, False, True, None]).figures["true"] == 2
    of = analysed(TableColumn("b", "bytes"), [b"", b"abc", None]).figures
    assert (of["zero_length"], of["length"]["max"]) == (1, 3)
    lists = pa.array([[1, 2, None], [], [5], None], pa.list_(pa.int64()))
    column = analysed(TableColumn("l", "array", "long"), lists)
    assert (column.count, column.missing) == (3, 1)
    of = column.figures
    assert (of["zero_length"], of["one_length"], of["null_elements"], of["elements"]["max"]) == (1, 1, 1, 5)
    maps = pa.array([[("a", 1)], None, [("b", 2), ("c", 3)]], pa.map_(pa.string(), pa.int64()))
    assert analysed(TableColumn("m", "map"), maps).figures["length"]["total"] == 3


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, None], pa.int8()), pa.array([1, 2**64 - 1], pa.uint64()), pa.array([1.5], pa.float32()),
        pa.array([decimal.Decimal("1.50"), None]), pa.array(["a"], pa.large_string()), pa.array([b"ab"], pa.binary(2)),
        pa.array([None, None]), pa.array([{"a": 1}, None]), pa.array([datetime.timedelta(1)]),
        pa.array([datetime.time(1)]), pa.array([[["a"]]]), pa.array([datetime.datetime(2020, 1, 1)]),
        pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), pa.array(["x"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)  # fmt: skip
def test_no_type_fails(array: pa.Array) -> None:
    column = analysed(TableColumn("x", *kind_of(array.type)), array, array)
    assert column.count == 2 * (len(array) - array.null_count)
    assert column.missing == 2 * array.null_count


@pytest.mark.parametrize("kind", ["double", "long", "string", "boolean", "bytes", "date", "time"])
@pytest.mark.parametrize("values", [[], [None, None]], ids=["empty", "null"])
def test_columns_without_a_value_have_figures(kind: str, values: list[None]) -> None:
    column = analysed(TableColumn("x", kind), values)
    assert (column.count, column.missing) == (0, len(values))
    assert isinstance(column.to_json(), dict)


def test_quality_against_a_schema() -> None:
    schema = (
        Schema().double("lat", min=-90, max=90).string("code", pattern="[A-Z]{2}").categorical("type", ["TOR", "HAIL"])
    )
    lat = analysed(TableColumn("lat", "double", None, schema["lat"]), [1.0, 91.0, math.nan, None, -91.0])
    assert (lat.count, lat.missing, lat.invalid, lat.examples) == (1, 1, 3, ("-91.0", "91.0", "nan"))
    code = analysed(TableColumn("code", "string", None, schema["code"]), ["AB", "ab", "", "ABC", None])
    assert (code.count, code.missing, code.invalid, code.examples) == (1, 2, 2, ("ABC", "ab"))
    kinds = analysed(TableColumn("type", "categorical", None, schema["type"]), ["TOR", "tor", "HAIL", "", "TOR"])
    assert (kinds.count, kinds.missing, kinds.invalid) == (3, 1, 1)
    assert kinds.figures["counts"] == {"TOR": 2, "HAIL": 1}


def test_texts_that_are_no_numbers_are_invalid_with_examples() -> None:
    column = TableColumn("x", "integer", None, Schema().integer("x")["x"], "", "x_text")
    batch = pa.record_batch([pa.array([1, None, None, None]), pa.array([None, "UNK", None, "?"])], ["x", "x_text"])
    summary = summarise([column], [batch])
    found = TableAnalysis.of(summary, "a test", [], 0.0)["x"]
    assert (found.count, found.missing, found.invalid, found.examples) == (1, 1, 2, ("?", "UNK"))


def test_a_column_that_is_not_there_is_named() -> None:
    analysis = TableAnalysis.of(TableSummary([TableColumn("price", "double")]), "a test", [], 0.0)
    with pytest.raises(ConfigError, match="Did you mean 'price'"):
        analysis["prise"]


@given(st.lists(st.integers(0, 5), max_size=10))
def test_regrouping_keeps_every_row_in_order(sizes: list[int]) -> None:
    batches = [
        pa.record_batch([pa.array(range(10 * i, 10 * i + size), pa.int64())], ["x"]) for i, size in enumerate(sizes)
    ]
    rows = [row for batch in regrouped(batches) for row in batch.column(0).to_pylist()]
    assert rows == [row for batch in batches for row in batch.column(0).to_pylist()]
