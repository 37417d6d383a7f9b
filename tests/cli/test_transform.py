"""``firesteel transform`` as a stranger meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import firesteel, refused

PROCESS = (
    "schema: a double, b string, c categorical(x|y)\nsteps:\n- {do: drop, columns: b}\n- {do: one_hot, columns: c}\n"
)


@pytest.fixture
def process(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(PROCESS)
    (tmp_path / "in.csv").write_text("1.5,é,x\n,,y\n")
    return tmp_path / "p.yaml"


def test_show_prints_the_schema_after_each_step_and_runs_nothing(process: Path) -> None:
    done = firesteel("transform", "nowhere.csv", "--process", process, "--show")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        "  1  drop: columns=[b]",
        "       a double, c categorical(x|y)",
        "  2  one_hot: columns=[c]",
        "       a double, `c[x]` integer, `c[y]` integer",
    ]
    found = json.loads(firesteel("transform", "nowhere.csv", "--process", process, "--show", "--json").stdout)
    assert (found["row_wise"], len(found["schemas"]), found["steps"][0]["do"]) == (True, 3, "drop")


@pytest.mark.spark
def test_a_table_is_transformed(process: Path, tmp_path: Path) -> None:
    done = firesteel(
        "transform", tmp_path / "in.csv", tmp_path / "out", "--process", process, "--no-header", "--json", "--files", 1,
        "--master", "local[1]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows_read"], found["rows_written"], found["missing"]) == (2, 2, {"a": 1})
    (file,) = (tmp_path / "out").glob("part-*")
    assert file.read_text().splitlines() == ["a,c[x],c[y]", "1.5,1,0", ",0,1"]
    again = firesteel("transform", tmp_path / "in.csv", tmp_path / "out", "--process", process, "--no-header")
    assert "holds a transformed table already" in refused(again, 1)


def test_mistakes_are_said_in_a_few_lines(process: Path, tmp_path: Path) -> None:
    process.write_text(PROCESS.replace("columns: b", "columns: d"))
    message = refused(firesteel("transform", tmp_path / "in.csv", tmp_path / "out", "--process", process), 2)
    assert "p.yaml: step 1 (drop): there is no column 'd'. There are a, b, c." in message
    assert "OUT is missing" in refused(firesteel("transform", tmp_path / "in.csv", "--process", process), 2)
    process.write_text("steps: []")
    assert "names no schema" in refused(
        firesteel("transform", tmp_path / "in.csv", tmp_path / "out", "--process", process), 2
    )
