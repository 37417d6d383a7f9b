"""Tables on the command line, as a stranger types them, with wrong input on purpose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_cli import command, environment, firesteel, refused

TABLE = ["--delimiter", ";", "--label", "kind", "--encode", "when=parts"]


@pytest.mark.spark
def test_from_a_table_to_predictions(tmp_path: Path) -> None:
    rows = [f"{i};2024-01-{i % 28 + 1:02d};{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["x;when;kind", *rows, "x;;a"]))
    arguments = ["prepare", "t.csv", "ds", "--schema", "x double, when time, kind categorical(b|a)", *TABLE, "--json"]
    done = firesteel(*arguments, "--master", "local[1]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    prepared = json.loads(done.stdout)
    assert (prepared["read"], prepared["written"], prepared["quarantined"]) == (41, 40, 1)
    assert prepared["columns"][:3] == ["x", "when.year", "when.month"]
    assert (
        json.loads(firesteel(*arguments, cwd=tmp_path).stdout)["reused"] is True
    )  # also without a master, and without Spark
    done = firesteel("train", "ds", "run", "--model", "mlp:hidden=[4]", "--epochs", "2", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "new.csv").write_text("when;x;more\n2024-02-01;1;\nnever;2;\n2024-02-03;3;\n")
    done = firesteel("predict", "run", "new.csv", "none.csv", "--top", "1", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["failed"] == 2
    assert [(row.get("row"), "label" in row) for row in found["predictions"]] == [
        ("2", True),
        ("3", False),
        ("4", True),
        (None, False),
    ]
    assert found["predictions"][1]["error"] == "column when is not a time: 'never'"
    shown = firesteel("predict", "run", "new.csv", cwd=tmp_path)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["new.csv:2", "new.csv:4"]
    assert shown.stderr == "new.csv:3: column when is not a time: 'never'\n"
    other = firesteel("predict", "run", "t.csv", "--delimiter", ",", cwd=tmp_path)
    assert "Missing: x, when" in other.stderr
    piped = subprocess.run(
        command("predict", "run", "-"), input="when;x\n2024-02-01;1\nnever;2\n", capture_output=True, text=True,
        cwd=tmp_path, env=environment(), timeout=200,
    )  # fmt: skip
    assert [line.split()[0] for line in piped.stdout.splitlines()] == ["-:2"]
    assert piped.stderr == "-:3: column when is not a time: 'never'\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["{tmp}/none.csv"], 1, "there is no table at"),
        (["{tmp}/t.csv", "--engine", "local"], 2, "tables are read by Spark"),
        (["{tmp}/t.csv", "--schema", "x double, y integer"], 2, "no column 'kind' (wanted as label)"),
        (["{tmp}/t.csv", "--schema", "x dubble"], 2, "Did you mean 'double'?"),
        (["{tmp}/t.csv", "--schema", "s string, kind integer"], 2, "--learn-categories 100"),
        (
            ["{tmp}/t.csv", "--missing", "nothing"],
            2,
            "missing: must be quarantine, mean, category or a number, got 'nothing'",
        ),
        (["{tmp}/t.csv", "--encode", "onehot"], 2, "encode must be COLUMN=HOW"),
        (["{tmp}/t.csv", "--delimiter", "ab"], 2, "delimiter: must be one character"),
        (["{tmp}/t.csv", "--charset", "klingon"], 2, "charset: must be a charset such as utf-8"),
        (["{tmp}/t.txt"], 2, "label is for tables and DataFrames"),
        (["{tmp}/t.csv", "--schema", "x time(QQ), kind integer"], 2, "holds 'QQ', which cannot be read"),
    ],
)
def test_a_mistake_is_said_before_spark_starts(arguments: list[str], status: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,kind\n1,2\n")
    (tmp_path / "t.txt").write_text("x,kind\n1,2\n")
    done = firesteel("prepare", arguments[0].format(tmp=tmp_path), tmp_path / "ds", "--label", "kind", *arguments[1:])
    assert message in refused(done, status)
    assert not (tmp_path / "ds").exists()
