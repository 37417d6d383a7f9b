"""Predictions of rows of tables: files without Spark, and rows in memory."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.inference.predictor import Predictor
from firesteel.models import build_model, resolve_model
from firesteel.models.description import ModelDescription, read_description, save_model
from firesteel.specs import Spec
from firesteel.storage import Place
from firesteel.tables.dialect import Dialect
from firesteel.tables.encoding import TableEncoding
from firesteel.tables.options import TableOptions
from firesteel.tables.schema import Schema
from tests.conftest import picture

ROWS = [{"lat": 37.5, "lon": -95.25, "kind": "TOR"}, {"lat": 10.0, "lon": 20.0, "kind": "WIND"}]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes a model of latitude, longitude and kind whose dataset's source was read with a dialect."""

    def make(**dialect: Any) -> Predictor:
        schema = Schema.parse("name string, lon double, lat double, kind categorical(TOR|WIND), y integer")
        columns = TableOptions(label="y", features=("lat", "lon", "kind")).encodings(schema)
        table = TableEncoding(columns=columns, dialect=Dialect(**dialect), layout=schema.names)
        model = build_model(resolve_model("mlp"), input_shape=(4,), num_classes=2, seed=0)
        description = ModelDescription(
            model=Spec(name="mlp"), feature=Feature(dtype="float32", shape=(4,), kind="table", table=table),
            normalization=Statistics(mean=[20.0, 0.0, 0.5, 0.5], std=[10.0] * 4, scale=1.0), labels=["no", "yes"], parameters=1,
        )  # fmt: skip
        save_model(Place.of(tmp_path / "model"), model, description)
        assert read_description(Place.of(tmp_path / "model")) == description
        return Predictor(tmp_path / "model")

    return make


def test_rows_in_memory_have_the_probabilities_of_their_vectors(make: Any) -> None:
    predictor = make()
    vectors = np.array([[37.5, -95.25, 1, 0], [10, 20, 0, 1]], np.float32)
    expected = [each.probabilities for each in predictor.predict(vectors, top=2)]
    import pandas as pd

    for rows in (ROWS, pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS), pa.RecordBatch.from_pylist(ROWS),
                 [{"kind": "TOR", "lat": "37.5", "lon": "-95.25", "more": 1}, {"kind": "WIND", "lat": 10, "lon": "2e1"}]):  # fmt: skip
        assert [each.probabilities for each in predictor.predict_rows(rows, top=2)] == expected
    assert predictor.predict_rows([]) == []


def test_rows_that_cannot_be_used_are_named(make: Any) -> None:
    predictor = make()
    wrong = [{"lat": "north"}, {"kind": "HAIL"}, {"lon": None}, {"lat": float("nan")}]
    with pytest.raises(
        FormatError,
        match=r"row 0: column lat is not a double: 'north'\nrow 1: column kind is not one of TOR, WIND: 'HAIL'",
    ):
        predictor.predict_rows([ROWS[0] | change for change in wrong])
    with pytest.raises(DataError, match=r"Missing: lat\. Did you mean 'lta'"):
        predictor.predict_rows([{"lta": 1, "lon": 2, "kind": "TOR"}])
    for rows in (5, "rows.csv", [1, 2], np.zeros((2, 4))):
        with pytest.raises(ConfigError, match="rows must be a list of dicts, a pandas DataFrame or an Arrow table"):
            predictor.predict_rows(rows)
    with pytest.raises(ConfigError, match="takes rows of a table, not pictures"):
        predictor.decode(picture(1))


def write_files(folder: Path) -> list[Path]:
    """The two rows, in every format."""
    text = 'kind,"lat",more,lon\nTOR,37.5,"a, ""b""",-95.25\n\nWIND,10,,20\n'
    (folder / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (folder / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "c.tsv.bz2").write_bytes(bz2.compress(b"lon\tkind\tlat\n-95.25\tTOR\t37.5\n20\tWIND\t10\n"))
    (folder / "d.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "e.parquet")
    return sorted(folder.glob("?.*"))


def test_files_of_every_format_are_read_by_the_names_of_their_columns(make: Any, tmp_path: Path) -> None:
    predictor = make(header=False)  # the source had none; these files have
    expected = predictor.predict_rows(ROWS)
    for file in write_files(tmp_path):
        assert [each.prediction for each in predictor.predict_table(file)] == expected, file
    assert [each.place.rpartition("/")[2] for each in predictor.predict_table(tmp_path / "a.csv")] == [
        "a.csv:2",
        "a.csv:4",
    ]


def test_files_without_a_header_hold_all_columns_or_the_features(make: Any, tmp_path: Path) -> None:
    predictor = make(header=False, delimiter=";")
    expected = predictor.predict_rows(ROWS[:1])
    (tmp_path / "all.csv").write_text("any;-95.25;37.5;TOR;\n")
    (tmp_path / "features.csv").write_text("37.5;-95.25;TOR\n")
    (tmp_path / "broken.csv").write_text("37.5;-95\n37.5;-95.25;TOR\n")
    (tmp_path / "other.csv").write_text("37.5,-95.25,TOR\n")
    (tmp_path / "wrong.csv").write_text("1;2\n")
    assert [each.prediction for each in predictor.predict_table(tmp_path / "all.csv")] == expected
    assert [each.prediction for each in predictor.predict_table(tmp_path / "features.csv")] == expected
    assert [each.prediction for each in predictor.predict_table(tmp_path / "other.csv", delimiter=",")] == expected
    problem, sound = predictor.predict_table(tmp_path / "broken.csv")
    assert (problem.problem, sound.prediction) == ("wrong number of fields: 2, expected 3", expected[0])
    with pytest.raises(
        DataError, match=r"have 2 fields. Expected 5 \(name, lon, lat, kind, y\) or 3 \(lat, lon, kind\)"
    ):
        list(predictor.predict_table(tmp_path / "wrong.csv"))
    with pytest.raises(DataError, match="Missing: lat, lon, kind"):
        list(predictor.predict_table(tmp_path / "features.csv", header=True))


def test_broken_rows_are_reported_with_their_line_and_the_others_predicted(make: Any, tmp_path: Path) -> None:
    lines = ["lat,lon,kind", "37.5,-95.25,TOR", "x,1,TOR", '1,"2,TOR', "1,2", "", "37.5,-95.25,TOR"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    predictor = make()
    found = list(predictor.predict_table(tmp_path / "rows.csv"))
    assert [(each.place.rpartition(":")[2], each.problem) for each in found] == [
        ("2", None), ("3", "column lat is not a double: 'x'"), ("4", "not sound CSV: a quote is opened and not closed"),
        ("5", "wrong number of fields: 2, expected 3"), ("7", None),
    ]  # fmt: skip
    assert found[0].prediction == found[4].prediction


def test_quoted_ends_of_lines_and_charsets_are_as_the_source_was(make: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes('more,lat,lon,kind\n"a\nb",37.5,-95.25,TOR\nx,10,20,WIND\n'.encode("utf-16"))
    predictor = make(multiline=True, charset="utf-16")
    found = list(predictor.predict_table(tmp_path / "rows.csv"))
    assert [each.prediction for each in found] == predictor.predict_rows(ROWS)
    assert [each.place.rpartition(":")[2] for each in found] == ["2", "4"]


def test_files_that_are_cut_or_unknown_are_named(make: Any, tmp_path: Path) -> None:
    predictor = make(format="parquet")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"lat,lon,kind\n" + b"1,2,TOR\n" * 5000)[:-20])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "rows.csv.zst").write_bytes(b"x")
    for name in ("cut.csv.gz", "cut.parquet"):
        with pytest.raises(FormatError, match=f"{name} is cut or damaged"):
            list(predictor.predict_table(tmp_path / name))
    with pytest.raises(ConfigError, match="gz, bz2 and xz, not zst"):
        list(predictor.predict_table(tmp_path / "rows.csv.zst"))
    (tmp_path / "none").write_text("lat,lon\n")  # no name tells its format: it is taken for what the source was
    with pytest.raises(FormatError, match="none is cut or damaged"):
        list(predictor.predict_table(tmp_path / "none"))
    (tmp_path / "empty.csv").write_text("")
    assert list(predictor.predict_table(tmp_path / "empty.csv")) == []


def test_folders_of_before_are_still_read(tmp_path: Path) -> None:
    """A model.json that was written before tables were sources has no entry for them."""
    model = build_model(resolve_model("mlp"), input_shape=(4,), num_classes=2, seed=0)
    description = ModelDescription(
        model=Spec(name="mlp"), feature=Feature(dtype="float32", shape=(4,), kind="array"),
        normalization=Statistics(mean=[0.0] * 4, std=[1.0] * 4, scale=1.0), labels=["no", "yes"], parameters=1,
    )  # fmt: skip
    save_model(Place.of(tmp_path / "model"), model, description)
    path = tmp_path / "model" / "model.json"
    before = json.loads(path.read_text())
    del before["feature"]["table"]
    path.write_text(json.dumps(before))
    predictor = Predictor(tmp_path / "model")
    assert not predictor.takes_rows
    with pytest.raises(ConfigError, match="takes no rows of a table"):
        predictor.predict_rows(ROWS)
