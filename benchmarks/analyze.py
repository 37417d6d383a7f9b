"""`firesteel.analyze` of a CSV table against Spark's own `DataFrame.summary()` of the same columns.

    python benchmarks/analyze.py [--rows 1000000] [--runs 3] [--master local[2]]

The table is made once, from a seed: 40 columns, of which 16 hold floating numbers (all different), 10 whole numbers (from
two to millions of different ones), 10 texts (5 with few different ones, 5 with a different one in every row), 2 times and 2
truth values. All contestants work in one Spark session, in turns. Spark's reader gives `summary()` and the first `analyze` the same
types; the file itself is read as `prepare` reads it, which finds broken records, once with a schema and once with types to be found
out, in a pass of its own.

`summary()` gives count, mean, standard deviation, min, max and three approximate quartiles of numbers and texts; it has
nothing for times and truth values, so for these it is asked for count, min and max beside it. `analyze` gives all its
figures: also nine quantiles, histograms, different and most frequent values, lengths. Wanted: at most twice its time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import in_turns, machine, note, print_table, ratio, spread
from pyarrow import csv

import firesteel
from firesteel.spark.session import open_session
from firesteel.tables.schema import Column, Schema

_CHUNK = 100_000
_WORDS = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"])


def make_chunk(generator: np.random.Generator, first: int, rows: int) -> pa.Table:
    """Some rows of the table."""
    columns: dict[str, Any] = {f"f{i}": generator.normal(10.0**i, 1 + i, rows).round(6) for i in range(8)}
    columns |= {f"u{i}": generator.random(rows).round(9) for i in range(8)}
    columns |= {f"n{i}": generator.integers(0, 2 * 5**i, rows) for i in range(10)}
    columns |= {f"w{i}": _WORDS[generator.integers(0, 2 + 2 * i, rows)] for i in range(5)}
    numbers = np.arange(first, first + rows)
    columns |= {f"t{i}": np.char.add(f"user {i} of ", numbers.astype(str)) for i in range(5)}
    columns |= {f"at{i}": generator.integers(10**9, 2 * 10**9, rows).astype("datetime64[s]") for i in range(2)}
    columns |= {f"b{i}": generator.random(rows) < 0.3 for i in range(2)}
    return pa.table(columns)


def write_table(path: Path, rows: int) -> None:
    """The whole table as one CSV file with a header."""
    generator = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, _CHUNK):
        chunk = make_chunk(generator, first, min(_CHUNK, rows - first))
        writer = writer or csv.CSVWriter(path, chunk.schema)
        writer.write_table(chunk)
    assert writer is not None, "a table has rows"
    writer.close()


def types_of(columns: list[str]) -> str:
    """The table's types, as Spark reads them."""
    kinds = {"f": "double", "u": "double", "n": "int", "w": "string", "t": "string", "at": "timestamp", "b": "boolean"}
    return ", ".join(f"{name} {kinds[name.rstrip('0123456789')]}" for name in columns)


def schema_of(columns: list[str]) -> Schema:
    """The same types, as Firesteel reads them."""
    kinds = {"f": "double", "u": "double", "n": "integer", "w": "string", "t": "string", "at": "time", "b": "boolean"}
    return Schema(columns=tuple(Column(name=name, type=kinds[name.rstrip("0123456789")]) for name in columns))  # type: ignore[arg-type]


def by_spark(frame: Any) -> None:
    from pyspark.sql import functions as F

    frame.summary().collect()
    others = [name for name, kind in frame.dtypes if kind in ("timestamp", "boolean")]
    frame.agg(*(function(name) for name in others for function in (F.count, F.min, F.max))).collect()


def timed(work: Callable[[], Any]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--scratch", help="folder for the table; default: the system's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder, open_session(options.master) as spark:
        path = Path(folder) / "table.csv"
        write_table(path, options.rows)
        columns = make_chunk(np.random.default_rng(0), 0, 1).column_names
        frame = spark.read.csv(str(path), schema=types_of(columns), header=True)
        note(f"{options.rows:,} rows, {len(columns)} columns, {os.path.getsize(path) / 1e6:,.0f} MB")
        contestants = {
            "DataFrame.summary()": timed(lambda: by_spark(frame)),
            "firesteel.analyze": timed(lambda: firesteel.analyze(frame)),
            "of the file, with a schema": timed(
                lambda: firesteel.analyze(path, schema=schema_of(columns), spark=spark)
            ),
            "of the file, types found out": timed(lambda: firesteel.analyze(path, spark=spark)),
        }
        seconds = in_turns(contestants, options.runs)
        reference = seconds["DataFrame.summary()"]
        rows = [[name, spread(each, 1), f"{ratio(each, reference):.2f}"] for name, each in seconds.items()]
        print_table([f"{options.rows:,} rows x {len(columns)}", "seconds", "ratio"], rows)
        note(machine())


if __name__ == "__main__":
    main()
