"""An index of a dataset, pictures as queries, and what the commands print."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import firesteel
from firesteel.cli.main import app
from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError, DatasetError, ModelError, RunError
from firesteel.search.driver import Matches, search
from firesteel.search.index import VectorIndex
from firesteel.search.sheet import pictures_of
from tests.conftest import picture


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their dataset, a trained network and the index of both."""
    root = tmp_path_factory.mktemp("similar")
    for number, name in enumerate(["dark", "grey", "white"]):
        (root / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            data = picture(20 + 100 * number, (8, 8), format="PNG", seed=100 * number + i)
            (root / "pictures" / name / f"{i:03d}.png").write_bytes(data)
    firesteel.prepare(root / "pictures", root / "data", engine="local", workers=1, size=(8, 8))
    firesteel.train(root / "data", root / "run", engine="local", model="mlp:hidden=[16]", epochs=8, threads=1)
    firesteel.build_index(root / "run", root / "data", root / "index", engine="local", workers=1)
    return root


def found(root: Path, pictures: Any, **options: Any) -> list[Matches]:
    return list(firesteel.similar(root / "index", pictures, engine="local", **options))


def test_an_index_holds_the_vector_of_every_row(made: Path) -> None:
    index, predictor = VectorIndex.open(str(made / "index")), firesteel.Predictor(made / "run")
    assert (index.rows, index.size, index.about.shown_layer) == (60, 16, "input of layers.3")
    seen = 0
    for split in index.splits():
        for vectors, ids, labels in index.vectors(split):
            for vector, row_id, label in zip(vectors, ids, labels):
                raw = predictor.decode((made / "pictures" / row_id).read_bytes())
                expected = predictor.embed(raw[None])[0]
                np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
                assert index.labels[label] == row_id.partition("/")[0]
                seen += 1
    assert seen == 60


def test_a_picture_of_the_dataset_finds_itself_first(made: Path) -> None:
    path = made / "pictures" / "white" / "007.png"
    (each,) = found(made, [path], top=4)
    assert each.prediction is not None
    assert (each.place, each.similar[0].id, each.similar[0].label) == (str(path), "white/007.png", "white")
    assert each.similar[0].similarity == pytest.approx(1, abs=1e-6)
    similarities = [hit.similarity for hit in each.similar]
    assert similarities == sorted(similarities, reverse=True)
    assert len(similarities) == 4


def test_splits_limit_the_search_and_broken_pictures_are_named(made: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    both = found(made, [made / "pictures" / "dark" / "000.png", tmp_path / "broken.png"], splits=["test"], top=99)
    assert {hit.split for hit in both[0].similar} == {"test"}
    assert len(both[0].similar) == 12
    assert both[1].prediction is None
    assert "not a picture" in str(both[1].problem)


def changed(made: Path, folder: Path, name: str, **values: Any) -> Path:
    """A copy of the run or the index with other values in its description."""
    shutil.copytree(made / name.partition("/")[0], folder)
    path = folder / name.partition("/")[2]
    described = json.loads(path.read_text())
    for key, value in values.items():
        described[key] = {**described[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(described))
    return folder


def test_what_an_index_says_calls_no_function(made: Path, tmp_path: Path) -> None:
    """A factory is the caller's word, never a file's."""
    query = [made / "pictures" / "dark" / "003.png"]
    index = changed(made, tmp_path / "index", "index/manifest.json", source={"factory": "os:system"})
    with pytest.raises(DatasetError, match="does not say soundly what it was made of: factory"):
        firesteel.similar(index, query)
    run = changed(made, tmp_path / "run", "run/model/model.json", model={"name": "tests.networks:undeclared"})
    with pytest.raises(ModelError, match="it is not called on a file's word alone"):
        firesteel.build_index(run, made / "data", tmp_path / "other", engine="local")


def test_an_index_of_another_network_with_the_same_weights_is_refused(made: Path, tmp_path: Path) -> None:
    query = [made / "pictures" / "dark" / "003.png"]
    same = changed(made, tmp_path / "same", "run/model/model.json", labels=["a", "b", "c"])
    assert found(made, query, model=same)[0].similar
    other = changed(made, tmp_path / "run", "run/model/model.json", model={"options": {"hidden": [16], "dropout": 0.1}})
    with pytest.raises(RunError, match="was made with another model than"):
        found(made, query, model=other)


def test_numbers_that_are_not_finite_are_said(made: Path, tmp_path: Path) -> None:
    """Neither a row nor a picture disappears without a word."""
    run = changed(made, tmp_path / "run", "run/model/model.json", normalization={"scale": 2e35})  # white overflows
    result = firesteel.build_index(run, made / "data", tmp_path / "index", engine="local", workers=1)
    assert 0 < result.dataset.manifest.counts.quarantined < 60
    assert result.dataset.manifest.quarantine.reasons == {
        "the network gives numbers for it that are not finite": result.dataset.manifest.counts.quarantined
    }
    query = [made / "pictures" / name / "007.png" for name in ("white", "dark")]
    white, dark = firesteel.similar(tmp_path / "index", query, engine="local")
    assert "not finite" in str(white.problem)
    assert dark.similar[0].id == "dark/007.png"


@pytest.mark.spark
def test_spark_indexes_and_finds_the_same(made: Path, tmp_path: Path, spark: Any) -> None:
    firesteel.build_index(made / "run", made / "data", tmp_path / "index", spark=spark)
    here, there = VectorIndex.open(str(made / "index")), VectorIndex.open(str(tmp_path / "index"))
    assert [each.sha256 for split in here.splits().values() for each in split.shards] == [
        each.sha256 for split in there.splits().values() for each in split.shards
    ]
    queries = np.concatenate([vectors for vectors, _, _ in here.vectors("test")])
    assert search(here, queries, 5, spark=spark) == search(here, queries, 5)
    pictures = [made / "pictures" / "grey" / "003.png"]
    (of_spark,) = firesteel.similar(made / "index", pictures, spark=spark)
    assert of_spark == found(made, pictures)[0]


def test_the_sheet_shows_the_pictures_and_what_was_found(made: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(str(made / "data"))
    (each,) = found(made, [made / "pictures" / "white" / "007.png"], top=3, sheet=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (128 + 26 + 12, 4 * 134 + 18, 3)
    pixels = pictures_of(dataset, [(hit.split, hit.id) for hit in each.similar])
    first = pixels[each.similar[0].split, each.similar[0].id]
    at = 6 + 134 + 12  # where the first hit begins
    np.testing.assert_array_equal(
        sheet[6 + 8, at + 8], first[:, 0, 0] if len(first) == 3 else np.repeat(first[0, 0, 0], 3)
    )


def test_a_sheet_has_a_bounded_width(made: Path, tmp_path: Path) -> None:
    pictures = [made / "pictures" / "white" / "007.png"]
    assert len(found(made, pictures, top=50, sheet=tmp_path / "sheet.png")[0].similar) == 50
    assert np.asarray(Image.open(tmp_path / "sheet.png")).shape == (128 + 26 + 12, 21 * 134 + 18, 3)


def test_the_commands_print_what_was_found(made: Path, tmp_path: Path) -> None:
    arguments = ["index", str(made / "run"), str(made / "data"), str(made / "index"), "--engine", "local"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "Reused" in done.stdout
    arguments = [
        "similar",
        str(made / "index"),
        str(made / "pictures" / "dark" / "003.png"),
        str(tmp_path / "no.png"),
        "--top",
        "2",
    ]
    done = CliRunner().invoke(app, arguments)
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[1].split() == ["1", "1.0000", "dark", "dark/003.png"]
    assert len(lines) == 3
    done = CliRunner().invoke(app, [*arguments, "--json"])
    shown = json.loads(done.stdout)
    assert (shown["failed"], shown["results"][1]["error"]) == (1, "there is no such file")
    assert set(shown["results"][0]["similar"][0]) == {"id", "label", "split", "similarity"}


def test_mistakes_are_answered(made: Path, tmp_path: Path) -> None:
    query = [made / "pictures" / "dark" / "003.png"]
    with pytest.raises(DatasetError, match="there is no index at"):
        firesteel.similar(tmp_path, query)
    with pytest.raises(DatasetError, match="is a dataset, not an index"):
        firesteel.similar(made / "data", query)
    with pytest.raises(ConfigError, match="top must be at least 1"):
        firesteel.similar(made / "index", query, top=0)
    with pytest.raises(ConfigError, match="the sheet is a PNG file"):
        firesteel.similar(made / "index", query, sheet="sheet.jpg")
    with pytest.raises(DatasetError, match="no split 'validation'"):
        found(made, query, splits=["validation"])
    with pytest.raises(ConfigError, match="no layer"):
        firesteel.build_index(made / "run", made / "data", tmp_path / "index", layer="layers.9", engine="local")
    firesteel.prepare(made / "pictures", tmp_path / "small", engine="local", workers=1, size=(4, 4))
    with pytest.raises(RunError, match=r"holds [13]x4x4 uint8"):
        firesteel.build_index(made / "run", tmp_path / "small", tmp_path / "index", engine="local")
    firesteel.train(made / "data", tmp_path / "other", engine="local", model="mlp:hidden=[16]", epochs=1, threads=1)
    with pytest.raises(RunError, match="was made with another model than"):
        found(made, query, model=tmp_path / "other")
