"""``firesteel analyze`` as a stranger meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import firesteel, refused
from tests.conftest import picture


def test_pictures_on_the_terminal_as_json_and_as_a_page(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "dark" / "note.txt").write_text("not a picture")
    for name in ("dark/one.png", "white/copy [bold].png"):
        (image_folder / name).write_bytes(picture(60, (8, 8), format="PNG", seed=99))
    page = tmp_path / "pages" / "page.html"
    shown = firesteel("analyze", image_folder, "--html", page)
    assert shown.returncode == 0, shown.stderr
    assert "62, 3 classes" in shown.stdout
    assert "same bytes: dark/one.png, white/copy [bold].png -- different classes" in shown.stdout
    assert "unreadable: dark/note.txt: not a picture" in shown.stdout
    assert "of duplicates in different classes: look which label is right" in shown.stderr
    assert page.read_text().startswith("<!doctype html>")
    found = json.loads(firesteel("analyze", image_folder, "--json").stdout)
    assert (found["kind"], found["images"], found["unreadable"]["images"]) == ("images", 62, 1)
    assert found["duplicates"]["exact"]["across_classes"] == 1


@pytest.mark.spark
def test_a_table_on_the_terminal_and_as_json(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    (tmp_path / "t.csv").write_text("1,a\nx,b\n,a\n3,a\n")
    options = ["--no-header", "--schema", "n integer, c categorical(a|b)", "--master", "local[1]"]
    found = json.loads(firesteel("analyze", tmp_path / "t.csv", *options, "--json").stdout)
    assert (found["kind"], found["rows"]) == ("table", 4)
    column = found["columns"]["n"]
    assert {name: column[name] for name in ("type", "count", "missing", "invalid", "min", "max", "mean")} == {
        "type": "integer", "count": 2, "missing": 1, "invalid": 1, "min": 1, "max": 3, "mean": 2.0,
    }  # fmt: skip
    assert column["quantiles"]["0.25"] == 1.5
    assert sum(column["histogram"]["counts"]) == 2
    assert column["invalid_examples"] == ["x"]
    assert found["columns"]["c"]["counts"] == {"a": 3, "b": 1}
    shown = firesteel("analyze", tmp_path / "t.csv", *options).stdout
    assert "n: 1 invalid value, for example 'x'" in shown
    assert "c       a 75.0 %, b 25.0 %" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["/no/such/place"], 1, "there is no source at /no/such/place"),
        (["{tmp}/note.txt"], 2, "Say it with --format: images, bson, idx, cifar, dataset, csv, tsv, json, parquet"),
        (["{tmp}/none.csv"], 1, "there is no table at"),
        (["{tmp}/none.csv", "--engine", "local"], 2, "tables are read by Spark"),
        (["{pictures}", "--format", "cvs"], 2, "Did you mean 'csv'"),
        (["{pictures}", "--schema", "lat"], 2, "expected NAME TYPE"),
        (["{pictures}", "--no-header"], 2, "header is for tables"),
        (["{pictures}", "--compare", "0"], 2, "compare must be at least 1"),
        (["{pictures}", "--html", "{tmp}"], 2, "--html needs the name of a file"),
    ],
)
def test_a_mistake_gets_a_few_lines(
    arguments: list[str], status: int, message: str, image_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("hello")
    done = firesteel("analyze", *(each.format(tmp=tmp_path, pictures=image_folder) for each in arguments), "--json")
    assert message in refused(done, status)
