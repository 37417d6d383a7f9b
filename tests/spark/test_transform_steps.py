"""Every step on a real DataFrame: the values that come out, and that its schema is the one that was foretold."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from firesteel.tables.expressions import SPARK_TYPES
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Schema
from firesteel.tables.steps.registry import STEPS

pytestmark = pytest.mark.spark
ARROW_TYPES = {
    "string": pa.string(), "categorical": pa.string(), "integer": pa.int32(), "long": pa.int64(), "double": pa.float64(),
    "time": pa.timestamp("us", "UTC"), "boolean": pa.bool_(), "bytes": pa.binary(),
}  # fmt: skip
NAN, INF = math.nan, math.inf


def at(text: str) -> datetime:
    """An instant."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


class Case(NamedTuple):
    """A step on a table, and the rows that must come out."""

    schema: str
    rows: list[tuple[Any, ...]]
    step: dict[str, Any]
    expected: list[tuple[Any, ...]]


X = [(1.5,), (-2.0,), (0.0,), (None,), (NAN,), (INF,), (-INF,)]
I = [(7,), (-3,), (0,), (None,), (2**31 - 1,), (-(2**31),)]  # noqa: E741
S = [("  Tör\t",), ("",), (None,), ("a b  c",)]
C = [("TOR",), ("HAIL",), (None,), ("FOG",)]
T = [(at("2016-10-06T16:55:01.250000"),), (None,), (at("1969-12-31T23:59:59.999000"),), (at("2024-02-29T06:00:00"),)]
CATEGORY = "c categorical(TOR|WIND|HAIL)"
SERIES = [("a", 3, 30.0), ("b", 1, None), ("a", 1, 10.0), ("a", 2, None), (None, 5, 5.0)]
KEYED = "k string, t integer, x double"


def maths(kind: str, rows: list[Any], operator: str, value: Any, expected: list[Any]) -> Case:
    return Case(f"x {kind}", rows, {"do": "maths", "columns": "x", "operator": operator, "value": value}, expected)


def function(name: str, kind: str = "double", **options: Any) -> Case:
    """Expected is what numpy says; a logarithm that there is none of is missing."""
    functions = {"log": np.log, "sign": np.sign, "degrees": np.degrees, "radians": np.radians, "asin": np.arcsin,
                 "acos": np.arccos, "atan": np.arctan}  # fmt: skip
    values = [0.5, -0.5, 0.0, 3.0, -1e300, 2.0**53 + 2, INF, -INF, NAN, None]
    with np.errstate(all="ignore"):
        expected = [None if v is None else float(functions.get(name, getattr(np, name, None))(v)) for v in values]
    if name.startswith("log"):
        least = -1.0 if name == "log1p" else 0.0
        expected = [None if v is not None and v <= least else e for v, e in zip(values, expected)]
    step = {"do": "function", "columns": "x", "function": name, **options}
    return Case(f"x {kind}", [(v,) for v in values], step, [(e,) for e in expected])


def group(values: dict[str, Any], expected: list[tuple[Any, ...]], **options: Any) -> Case:
    return Case(KEYED, SERIES, {"do": "group", "by": "k", "values": values, **options}, expected)


def reduced(kind: str, expected: list[Any]) -> Case:
    """Of the groups a, b and null of SERIES."""
    return group({"y": {"reduce": kind, "column": "x"}}, list(zip(["a", "b", None], expected)), order_by="t")


CASES: dict[str, Case] = {
    "select": Case("a string, x double, b string", [("1", 2.0, "3")], {"do": "select", "columns": ["b", "a"]}, [("3", "1")]),
    "drop": Case("a string, x double, b string", [("1", 2.0, "3")], {"do": "drop", "columns": ["x"]}, [("1", "3")]),
    "rename, also to change places": Case("a string, b double", [("1", 2.0)], {"do": "rename", "columns": {"a": "b", "b": "a"}}, [("1", 2.0)]),
    "reorder": Case("a string, b double, c long", [("1", 2.0, 3)], {"do": "reorder", "columns": ["c"]}, [(3, "1", 2.0)]),
    "duplicate": Case("a string", [("1",), (None,)], {"do": "duplicate", "columns": {"a": "A.b `c`"}}, [("1", "1"), (None, None)]),
    "a constant": Case("a string", [("1",)], {"do": "add_constant", "into": "n", "value": 5}, [("1", 5)]),
    "a constant time": Case("a string", [("1",)], {"do": "add_constant", "into": "n", "value": "2016-10-06T16:55:00", "type": "time"}, [("1", at("2016-10-06T16:55:00"))]),
    "a constant null": Case("a string", [("1",)], {"do": "add_constant", "into": "n", "value": None, "type": "long"}, [("1", None)]),
    "a constant category": Case("a string", [("1",)], {"do": "add_constant", "into": "n", "value": "x", "type": "categorical"}, [("1", "x")]),
    "keep rows": Case("x double", X, {"do": "keep_rows", "where": {"column": "x", "at_least": 0}}, [(1.5,), (0.0,), (INF,)]),
    "drop rows keeps what cannot be compared": Case("x double", X, {"do": "drop_rows", "where": {"column": "x", "at_least": 0}}, [(-2.0,), (None,), (NAN,), (-INF,)]),
    "drop invalid": Case("x double", X, {"do": "drop_invalid"}, [(1.5,), (-2.0,), (0.0,)]),
    "drop invalid but not missing": Case(f"x double, {CATEGORY}", [(1.0, "TOR"), (None, ""), (2.0, "FOG"), (NAN, "TOR")], {"do": "drop_invalid", "keep_missing": True}, [(1.0, "TOR"), (None, "")]),
    "fill missing": Case("s string, x double", [(None, 1.0), ("", None), ("a", NAN)], {"do": "fill_missing", "columns": "s", "value": "?"}, [("?", 1.0), ("?", None), ("a", NAN)]),
    "fill missing by a rounded mean": Case("i integer", [(None,), (3,)], {"do": "fill_missing", "columns": "i", "statistic": "mean", "statistics": {"i": {"mean": 3.6}}}, [(4,), (3,)]),
    "replace invalid": Case("x double", X, {"do": "replace_invalid", "columns": "x", "value": -1}, [(1.5,), (-2.0,), (0.0,), (None,), (-1.0,), (-1.0,), (-1.0,)]),
    "replace invalid by nothing": Case(CATEGORY, C, {"do": "replace_invalid", "columns": "c"}, [("TOR",), ("HAIL",), (None,), (None,)]),
    "replace where": Case("x double", X[:4], {"do": "replace_where", "column": "x", "where": {"column": "x", "less": 0}, "value": 9}, [(1.5,), (9.0,), (0.0,), (None,)]),
    "replace where and otherwise": Case("x double", X[:4], {"do": "replace_where", "column": "x", "where": {"column": "x", "less": 0}, "value": None, "otherwise": 1}, [(1.0,), (None,), (1.0,), (1.0,)]),
    "copy where": Case("a string, b string", [(None, "x"), ("y", "z")], {"do": "copy_where", "column": "a", "source": "b", "where": {"column": "a", "is": "missing"}}, [("x", "x"), ("y", "z")]),
    "add": maths("double", X, "add", 1, [(2.5,), (-1.0,), (1.0,), (None,), (NAN,), (INF,), (-INF,)]),
    "add to whole numbers, without overflow": maths("integer", I, "add", 1, [(8,), (-2,), (1,), (None,), (None,), (-(2**31) + 1,)]),
    "multiply longs, without overflow": maths("long", [(2**62,), (3,)], "multiply", 2, [(None,), (6,)]),
    "add a fraction to whole numbers": maths("integer", [(1,), (None,)], "add", 0.5, [(1.5,), (None,)]),
    "subtract": maths("integer", [(1,)], "subtract", 3, [(-2,)]),
    "divide": maths("integer", [(7,), (None,)], "divide", 2, [(3.5,), (None,)]),
    "divide by zero": maths("double", [(7.0,), (0.0,)], "divide", 0, [(None,), (None,)]),
    "modulus": maths("integer", [(7,), (-7,)], "modulus", 4, [(3,), (-3,)]),
    "modulus of zero": maths("integer", [(7,)], "modulus", 0, [(None,)]),
    "reverse subtract": maths("long", [(7,)], "reverse_subtract", 2, [(-5,)]),
    "reverse divide": maths("long", [(8,), (0,)], "reverse_divide", 2, [(0.25,), (None,)]),
    "min": maths("double", X, "min", 1, [(1.0,), (-2.0,), (0.0,), (None,), (1.0,), (1.0,), (-INF,)]),
    "max of whole numbers": maths("integer", I[:4], "max", 1, [(7,), (1,), (1,), (None,)]),
    "combine": Case("a integer, b double, c long", [(1, 2.5, 3), (1, None, 3)], {"do": "combine", "columns": ["a", "b", "c"], "operator": "subtract", "into": "d"}, [(1, 2.5, 3, -4.5), (1, None, 3, None)]),
    "combine by the least": Case("a integer, b long", [(4, 3), (None, 3)], {"do": "combine", "columns": ["a", "b"], "operator": "min", "into": "d"}, [(4, 3, 3), (None, 3, None)]),
    "combine by dividing": Case("a integer, b integer", [(1, 2), (1, 0)], {"do": "combine", "columns": ["a", "b"], "operator": "divide", "into": "d"}, [(1, 2, 0.5), (1, 0, None)]),
    "absolute whole numbers": Case("x integer", I, {"do": "function", "columns": "x", "function": "abs"}, [(7,), (3,), (0,), (None,), (2**31 - 1,), (None,)]),
    "negative whole numbers": Case("x integer", I, {"do": "function", "columns": "x", "function": "negate"}, [(-7,), (3,), (0,), (None,), (-(2**31) + 1,), (None,)]),
    "negative numbers": Case("x double", [(1.5,), (NAN,)], {"do": "function", "columns": "x", "function": "negate"}, [(-1.5,), (NAN,)]),
    "rounded": Case("x double", [(2.345,), (-2.5,), (NAN,)], {"do": "function", "columns": "x", "function": "round", "digits": 1}, [(2.3,), (-2.5,), (NAN,)]),
    "rounded to whole numbers": Case("x double", [(2.5,), (-2.5,), (INF,)], {"do": "function", "columns": "x", "function": "round"}, [(3.0,), (-3.0,), (INF,)]),
    "square roots of whole numbers": Case("x integer", [(9,), (None,)], {"do": "function", "columns": "x", "function": "sqrt"}, [(3.0,), (None,)]),
    **{name: function(name) for name in ("abs", "ceil", "floor", "exp", "expm1", "log", "log10", "log2", "log1p", "sqrt", "cbrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sign", "degrees", "radians")},
    "min_max": Case("x double", [(2.0,), (4.0,), (None,), (NAN,)], {"do": "normalize", "columns": "x", "method": "min_max", "range": [-1, 1], "statistics": {"x": {"min": 2, "max": 6}}}, [(-1.0,), (0.0,), (None,), (NAN,)]),
    "min_max of one value": Case("x integer", [(2,), (None,)], {"do": "normalize", "columns": "x", "method": "min_max", "range": [5, 6], "statistics": {"x": {"min": 2, "max": 2}}}, [(5.0,), (None,)]),
    "standardize": Case("x integer", [(2,), (4,), (None,)], {"do": "normalize", "columns": "x", "method": "standardize", "statistics": {"x": {"mean": 3, "stdev": 0.5}}}, [(-2.0,), (2.0,), (None,)]),
    "subtract mean": Case("x double", [(2.0,), (None,)], {"do": "normalize", "columns": "x", "method": "subtract_mean", "statistics": {"x": {"mean": 3}}}, [(-1.0,), (None,)]),
    "log2_mean": Case("x double", [(1.0,), (3.0,), (7.0,)], {"do": "normalize", "columns": "x", "method": "log2_mean", "statistics": {"x": {"mean": 3, "min": 1}}}, [(0.0,), (0.5,), (1.0,)]),
    "buckets": Case("x double", X, {"do": "bucketize", "columns": "x", "edges": [-1, 1.5]}, [(2,), (0,), (1,), (None,), (None,), (2,), (0,)]),
    "buckets with labels": Case("x integer", I[:4], {"do": "bucketize", "columns": "x", "edges": [0], "labels": ["-", "+"]}, [("+",), ("-",), ("+",), (None,)]),
    "first digits": Case("x double", [(0.00123,), (-9e-20,), (4.5e300,), (0.0,), (NAN,), (INF,), (None,)], {"do": "first_digit", "columns": "x"}, [(1,), (9,), (4,), (None,), (None,), (None,), (None,)]),
    "first digits of whole numbers": Case("x long", [(-2048,), (0,)], {"do": "first_digit", "columns": "x"}, [(2,), (None,)]),
    "texts to integers": Case("s string", [(" 12 ",), ("1.5",), ("",), (None,), ("x",), ("99999999999",)], {"do": "cast", "columns": "s", "to": "integer"}, [(12,), (None,), (None,), (None,), (None,), (None,)]),
    "texts to doubles": Case("s string", [(" -1.5e3 ",), ("1d",), ("NaN",), ("-inf",), (".5",), ("5.",), ("1,5",)], {"do": "cast", "columns": "s", "to": "double"}, [(-1500.0,), (None,), (NAN,), (-INF,), (0.5,), (5.0,), (None,)]),
    "texts to times": Case("s string", [("2016-10-06",), ("2016-10-06 16:55:00.5",), ("2016-10-06T16:55:00+02:00",), ("2016-10-06T16:55Z",), ("2016-10-06 16:55:00 America/Chicago",), ("2016-13-06",)], {"do": "cast", "columns": "s", "to": "time"}, [(at("2016-10-06T00:00:00"),), (at("2016-10-06T16:55:00.500000"),), (at("2016-10-06T14:55:00"),), (at("2016-10-06T16:55:00"),), (at("2016-10-06T21:55:00"),), (None,)]),
    "texts to truth values": Case("s string", [("true",), ("no",), ("maybe",)], {"do": "cast", "columns": "s", "to": "boolean"}, [(True,), (False,), (None,)]),
    "doubles to integers": Case("x double", [*X, (1e10,)], {"do": "cast", "columns": "x", "to": "integer"}, [(1,), (-2,), (0,), (None,), (None,), (None,), (None,), (None,)]),
    "doubles to truth values": Case("x double", [(0.0,), (2.0,), (None,)], {"do": "cast", "columns": "x", "to": "boolean"}, [(False,), (True,), (None,)]),
    "integers to texts": Case("x long", [(5,), (None,)], {"do": "cast", "columns": "x", "to": "string"}, [("5",), (None,)]),
    "times to texts": Case("t time", T, {"do": "cast", "columns": "t", "to": "string"}, [("2016-10-06T16:55:01.25Z",), (None,), ("1969-12-31T23:59:59.999Z",), ("2024-02-29T06:00:00Z",)]),
    "times to doubles": Case("t time", T[:3], {"do": "cast", "columns": "t", "to": "double"}, [(1475772901.25,), (None,), (-0.001,)]),
    "times to longs": Case("t time", T[:3], {"do": "cast", "columns": "t", "to": "long"}, [(1475772901,), (None,), (-1,)]),
    "doubles to times": Case("x double", [(1475772901.25,), (None,), (NAN,), (1e300,)], {"do": "cast", "columns": "x", "to": "time"}, [(T[0][0],), (None,), (None,), (None,)]),
    "longs to times": Case("x long", [(0,), (2**62,)], {"do": "cast", "columns": "x", "to": "time"}, [(at("1970-01-01T00:00:00"),), (None,)]),
    "bytes to texts": Case("y bytes", [("é".encode(),), (b"\xff",), (None,)], {"do": "cast", "columns": "y", "to": "string"}, [("é",), (None,), (None,)]),
    "texts to bytes": Case("s string", [("é",), (None,)], {"do": "cast", "columns": "s", "to": "bytes"}, [("é".encode(),), (None,)]),
    "texts to categories": Case("s string", [("a",), ("z",), (None,), ("no",)], {"do": "string_to_categorical", "columns": "s", "values": ["a", "no"]}, [("a",), (None,), (None,), ("no",)]),
    "categories to integers": Case(CATEGORY, C, {"do": "categorical_to_integer", "columns": "c"}, [(0,), (2,), (None,), (None,)]),
    "integers to categories": Case("n long", [(0,), (1,), (2,), (-1,), (None,), (2**40,)], {"do": "integer_to_categorical", "columns": "n", "values": ["A", "B"]}, [("A",), ("B",), (None,), (None,), (None,), (None,)]),
    "one-hot": Case(f"a string, {CATEGORY}", [("x", "HAIL"), ("y", None)], {"do": "one_hot", "columns": "c"}, [("x", 0, 0, 1), ("y", None, None, None)]),
    "integers to one-hot": Case("n integer", [(4,), (5,), (9,), (None,)], {"do": "integer_to_one_hot", "columns": "n", "min": 4, "max": 5}, [(1, 0), (0, 1), (None, None), (None, None)]),
    "one-hot and back": Case("`c[A]` integer, x long, `c[B]` double, b boolean", [(1, 7, 0.0, False), (0, 7, 1.0, False), (0, 7, 0.0, True), (1, 7, 1.0, False), (0, 7, 0.0, False), (None, 7, 1.0, False)], {"do": "from_one_hot", "columns": ["c[A]", "c[B]", "b"], "into": "c"}, [("A", 7), ("B", 7), ("b", 7), (None, 7), (None, 7), (None, 7)]),
    "strip": Case("s string", [*S, ("\u00a0x\u2003\n",)], {"do": "strip", "columns": "s"}, [("Tör",), ("",), (None,), ("a b  c",), ("x",)]),
    "remove whitespace": Case("s string", S, {"do": "remove_whitespace", "columns": "s"}, [("Tör",), ("",), (None,), ("abc",)]),
    "upper case": Case("s string", S, {"do": "change_case", "columns": "s", "to": "upper"}, [("  TÖR\t",), ("",), (None,), ("A B  C",)]),
    "map values": Case(CATEGORY, C, {"do": "map_values", "columns": "c", "values": {"TOR": "tornado"}}, [("tornado",), ("HAIL",), (None,), ("FOG",)]),
    "map values and others": Case(CATEGORY, C, {"do": "map_values", "columns": "c", "values": {"TOR": "tornado", "FOG": "fog"}, "otherwise": "-"}, [("tornado",), ("-",), (None,), ("fog",)]),
    "replace": Case("s string", [("a1b22",), (None,)], {"do": "replace", "columns": "s", "patterns": {"([0-9])": "<$1>", "b": "'\\$"}}, [("a<1>'$<2><2>",), (None,)]),
    "append": Case("s string", [("a",), (None,)], {"do": "append", "columns": "s", "text": "é'", "before": "\\"}, [("\\aé'",), (None,)]),
    "concatenate": Case("s string, n integer, t time", [("a", 1, T[3][0]), (None, 2, None)], {"do": "concatenate", "columns": ["s", "n", "t"], "separator": "|", "into": "z"}, [("a", 1, T[3][0], "a|1|2024-02-29T06:00:00Z"), (None, 2, None, None)]),
    "lengths": Case("s string", [("é😀",), ("",), (None,)], {"do": "length", "columns": "s", "into": "n"}, [("é😀", 2), ("", 0), (None, None)]),
    "lengths in place": Case("y bytes", [(b"ab",), (None,)], {"do": "length", "columns": "y"}, [(2,), (None,)]),
    "lists to sets": Case("s string", [("a| b",), ("",), (None,), ("ab",)], {"do": "list_to_set", "columns": "s", "values": ["a", "b"], "delimiter": "|"}, [(True, True), (False, False), (None, None), (False, False)]),
    "lists to counts": Case("s string", [("a,a ,b",), (None,)], {"do": "list_to_set", "columns": "s", "values": ["a", "c"], "count": True}, [(2, 0), (None, None)]),
    "texts to times by a format": Case("s string", [("161006-1655",), ("x",), (None,), ("160230-0000",)], {"do": "string_to_time", "columns": "s", "format": "yyMMdd-HHmm", "timezone": "America/Chicago"}, [(at("2016-10-06T21:55:00"),), (None,), (None,), (None,)]),
    "texts to times by a format with a zone": Case("s string", [("06.10.2016 16:55 +0200",)], {"do": "string_to_time", "columns": "s", "format": "dd.MM.yyyy HH:mm xx"}, [(at("2016-10-06T14:55:00"),)]),
    "ISO texts in a zone": Case("s string", [("2016-10-06T16:55",), ("2016-03-27T02:30",)], {"do": "string_to_time", "columns": "s", "timezone": "Europe/Madrid"}, [(at("2016-10-06T14:55:00"),), (at("2016-03-27T01:30:00"),)]),
    "shift times": Case("t time", T, {"do": "shift_time", "columns": "t", "amount": -2, "unit": "days"}, [(at("2016-10-04T16:55:01.250000"),), (None,), (at("1969-12-29T23:59:59.999000"),), (at("2024-02-27T06:00:00"),)]),
    "time between": Case("a time, b time", [(T[2][0], T[0][0]), (T[2][0], None)], {"do": "time_between", "start": "a", "end": "b", "unit": "hours", "into": "h"}, [(T[2][0], T[0][0], (1475772901.25 + 0.001) / 3600), (T[2][0], None, None)]),
    "parts of times": Case("t time", T, {"do": "derive_time", "column": "t", "parts": {p: p for p in ("year", "quarter", "month", "week", "day", "day_of_year", "weekday", "hour", "minute", "second", "millisecond")}}, [(T[0][0], 2016, 4, 10, 40, 6, 280, 4, 16, 55, 1, 250), (None,) * 12, (T[2][0], 1969, 4, 12, 1, 31, 365, 3, 23, 59, 59, 999), (T[3][0], 2024, 1, 2, 9, 29, 60, 4, 6, 0, 0, 0)]),
    "parts of times in a zone": Case("t time", [T[3]], {"do": "derive_time", "column": "t", "parts": {"h": "hour", "d": "day"}, "timezone": "America/Los_Angeles"}, [(T[3][0], 22, 28)]),
    "count rows": group({"n": {"reduce": "rows"}}, [("a", 3), ("b", 1), (None, 1)]),
    "count": reduced("count", [2, 0, 1]),
    "count unique": reduced("count_unique", [2, 0, 1]),
    "sum": reduced("sum", [40.0, None, 5.0]),
    "product": reduced("product", [300.0, None, 5.0]),
    "mean": reduced("mean", [20.0, None, 5.0]),
    "least": reduced("min", [10.0, None, 5.0]),
    "greatest": reduced("max", [30.0, None, 5.0]),
    "range": reduced("range", [20.0, None, 0.0]),
    "stdev": reduced("stdev", [pd.Series([10.0, 30.0]).std(), None, None]),
    "stdev of the population": reduced("stdev_population", [10.0, None, 0.0]),
    "variance": reduced("variance", [200.0, None, None]),
    "variance of the population": reduced("variance_population", [100.0, None, 0.0]),
    "first": reduced("first", [10.0, None, 5.0]),
    "last": reduced("last", [30.0, None, 5.0]),
    "list": reduced("list", [[10.0, None, 30.0], [None], [5.0]]),
    "falling order": group({"f": {"reduce": "first", "column": "x"}, "l": {"reduce": "list", "column": "t"}}, [("a", 30.0, [3, 2, 1]), ("b", None, [1]), (None, 5.0, [5])], order_by="-t"),
    "sums of whole numbers, without overflow": Case("k string, n long", [("a", 2**62), ("a", 2**62), ("b", 1)], {"do": "group", "by": "k", "values": {"s": {"reduce": "sum", "column": "n"}}}, [("a", None), ("b", 1)]),
    "one row of the whole table": Case("n integer", [(1,), (2,)], {"do": "group", "values": {"s": {"reduce": "sum", "column": "n"}}}, [(3,)]),
    "one row of nothing": Case("n integer", [], {"do": "group", "values": {"s": {"reduce": "sum", "column": "n"}, "r": {"reduce": "rows"}}}, [(None, 0)]),
    "tumbling windows": Case("t time, x double", [(T[0][0], 1.0), (at("2016-10-06T16:59:59"), 2.0), (at("2016-10-06T17:00:00"), 4.0), (None, 8.0)], {"do": "time_window", "time": "t", "size": "1 hour", "values": {"s": {"reduce": "sum", "column": "x"}}}, [(at("2016-10-06T16:00:00"), 3.0), (at("2016-10-06T17:00:00"), 4.0)]),
    "sliding windows": Case("t time, x double", [(at("2016-10-06T16:20:00"), 1.0), (at("2016-10-06T16:45:00"), 2.0)], {"do": "time_window", "time": "t", "size": "1 hour", "every": "30 minutes", "values": {"s": {"reduce": "sum", "column": "x"}}}, [(at("2016-10-06T15:30:00"), 1.0), (at("2016-10-06T16:00:00"), 3.0), (at("2016-10-06T16:30:00"), 2.0)]),
    "moving": Case(KEYED, SERIES, {"do": "moving", "by": "k", "order_by": "t", "rows": 2, "values": {"m": {"reduce": "mean", "column": "x"}, "f": {"reduce": "first", "column": "t"}, "l": {"reduce": "list", "column": "x"}, "u": {"reduce": "count_unique", "column": "x"}}}, [("a", 1, 10.0, 10.0, 1, [10.0], 1), ("a", 2, None, 10.0, 1, [10.0, None], 1), ("a", 3, 30.0, 30.0, 2, [None, 30.0], 1), ("b", 1, None, None, 1, [None], 0), (None, 5, 5.0, 5.0, 5, [5.0], 1)]),
    "rank": Case("x double", [(2.0,), (9.0,), (None,), (5.0,)], {"do": "sorted_rank", "order_by": "-x", "into": "r"}, [(9.0, 0), (5.0, 1), (2.0, 2), (None, 3)]),
    "rank by key": Case(KEYED, SERIES, {"do": "sorted_rank", "order_by": "t", "into": "r", "by": "k"}, [("a", 1, 10.0, 0), ("a", 2, None, 1), ("a", 3, 30.0, 2), ("b", 1, None, 0), (None, 5, 5.0, 0)]),
    "to sequence": Case(KEYED, SERIES, {"do": "to_sequence", "by": "k", "order_by": "t"}, [("a", [1, 2, 3], [10.0, None, 30.0]), ("b", [1], [None]), (None, [5], [5.0])]),
    "to sequence, falling": Case(KEYED, SERIES[:3], {"do": "to_sequence", "by": "k", "order_by": "-t"}, [("a", [3, 1], [30.0, 10.0]), ("b", [1], [None])]),
    "to sequence, with gaps": Case("k string, t time", [("a", at("2016-10-06T16:00:00")), ("a", at("2016-10-06T16:31:00")), ("a", at("2016-10-06T16:30:00"))], {"do": "to_sequence", "by": "k", "order_by": "t", "max_gap": "29 minutes"}, [("a", [at("2016-10-06T16:00:00")]), ("a", [at("2016-10-06T16:30:00"), at("2016-10-06T16:31:00")])]),
    "trim": Case("k string, x long[]", [("a", [1, 2, 3]), ("b", []), ("c", None)], {"do": "trim_sequence", "length": 2}, [("a", [1, 2]), ("b", []), ("c", None)]),
    "trim to the last": Case("x long[]", [([1, 2, 3],), ([1],)], {"do": "trim_sequence", "length": 2, "keep": "last"}, [([2, 3],), ([1],)]),
    "fit": Case("x long[], s string[]", [([1, 2, 3], ["a", "b", "c"]), ([1], ["a"]), ([], [])], {"do": "fit_sequence", "length": 2, "fill": {"s": "-"}}, [([1, 2], ["a", "b"]), ([1, 0], ["a", "-"]), ([0, 0], ["-", "-"])]),
    "offset later": Case("x long[], y double[]", [([1, 2, 3], [1.0, 2.0, 3.0]), ([1], [1.0])], {"do": "offset_sequence", "columns": "x", "offset": 1}, [([1, 2], [2.0, 3.0]), ([], [])]),
    "offset earlier, with null": Case("x long[], y double[]", [([1, 2, 3], [1.0, 2.0, 3.0]), ([1], [1.0])], {"do": "offset_sequence", "columns": "x", "offset": -2, "edge": "missing"}, [([3, None, None], [1.0, 2.0, 3.0]), ([None], [1.0])]),
    "split": Case("k string, x long[]", [("a", [1, 2, 3, 4, 5]), ("b", []), ("c", None), ("d", [6])], {"do": "split_sequence", "length": 2, "into": "p"}, [("a", [1, 2], 0), ("a", [3, 4], 1), ("a", [5], 2), ("d", [6], 0)]),
    "from sequence": Case("k string, x long[], y double[]", [("a", [1, 2], [1.0]), ("b", [], []), ("c", None, [7.0])], {"do": "from_sequence", "into": "p"}, [("a", 1, 1.0, 0), ("a", 2, None, 1), ("c", None, 7.0, 0)]),
}  # fmt: skip


def frame_of(spark: Any, schema: Schema, rows: list[tuple[Any, ...]]) -> Any:
    """A DataFrame of a schema's types; as an Arrow table it needs no Python worker, which makes 150 tests bearable."""
    arrays = []
    for i, column in enumerate(schema.columns):
        kind = ARROW_TYPES[column.type]
        arrays.append(pa.array([row[i] for row in rows], pa.list_(kind) if column.sequence else kind))
    return spark.createDataFrame(pa.Table.from_arrays(arrays, names=list(schema.names)))


def plain(value: Any) -> Any:
    """Comparable: NaN equals NaN, floats as far as arithmetic allows, instants in UTC."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else pytest.approx(value, rel=1e-9, abs=1e-12)
    if isinstance(value, datetime):  # Spark gives local times of this machine
        return value.astimezone(timezone.utc)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return bytes(value) if isinstance(value, bytearray) else value


def same_rows(found: list[Any], expected: list[Any], *, ordered: bool) -> bool:
    """Whether rows are the same, in order or in any."""
    if ordered or len(found) != len(expected):
        return [plain(row) for row in expected] == [plain_exact(row) for row in found]
    rest = [plain_exact(row) for row in found]
    for row in expected:
        match = next((i for i, each in enumerate(rest) if plain(row) == each), None)
        if match is None:
            return False
        del rest[match]
    return True


def plain_exact(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, list | tuple):
        return [plain_exact(each) for each in value]
    return plain(value)


@pytest.mark.parametrize("name", CASES)
def test_a_step_gives_these_rows_and_the_schema_that_it_foretold(name: str, spark: Any) -> None:
    from firesteel.spark.transform import transformed

    case = CASES[name]
    schema = Schema.parse(case.schema)
    process = TransformProcess(schema).then(case.step)
    result = transformed(frame_of(spark, schema, case.rows), process)
    final = process.final_schema
    kinds = [f"array<{SPARK_TYPES[c.type]}>" if c.sequence else SPARK_TYPES[c.type] for c in final.columns]
    assert [(field.name, field.dataType.simpleString()) for field in result.schema] == list(zip(final.names, kinds))
    found = [tuple(row) for row in result.collect()]
    assert same_rows(found, case.expected, ordered=process.is_row_wise), f"{found}\n!=\n{case.expected}"


def test_every_step_is_tested() -> None:
    assert {case.step["do"] for case in CASES.values()} == set(STEPS)


TIMED = [name for name, case in CASES.items() if "time" in f"{case.schema}{case.step}"]


@pytest.mark.parametrize("name", [name for name in TIMED if "move" not in name])
def test_the_time_zone_of_the_session_changes_nothing(name: str, spark: Any) -> None:
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        test_a_step_gives_these_rows_and_the_schema_that_it_foretold(name, spark)
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
