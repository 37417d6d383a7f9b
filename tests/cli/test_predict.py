"""``firesteel predict`` as a stranger uses it: folders, archives, lists, standard input, and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from firesteel.cli.main import app
from firesteel.data.manifest import Feature, Statistics
from firesteel.models import build_model, resolve_model
from firesteel.models.description import ModelDescription, save_model
from firesteel.specs import Spec
from firesteel.storage import Place
from tests.cli.test_cli import ROOT, command, environment
from tests.conftest import picture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for pictures of 8x8: what is printed matters here, not whether it is right."""
    place = tmp_path_factory.mktemp("model")
    network = build_model(resolve_model("mlp:hidden=[5]"), input_shape=(3, 8, 8), num_classes=3, seed=0)
    description = ModelDescription(
        model=Spec(name="mlp", options={"hidden": [5]}), feature=Feature(dtype="uint8", shape=(3, 8, 8)),
        normalization=Statistics(mean=[0.0] * 3, std=[1.0] * 3, scale=1 / 255), labels=["dark", "grey", "white"],
        parameters=1,
    )  # fmt: skip
    save_model(Place.of(place), network, description)
    return place


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, value in {"a.png": 10, "b/c.png": 120, "b/d.jpg": 240}.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(picture(value, format="PNG"))
    (tmp_path / "photos" / "readme.txt").write_text("hello")
    return tmp_path / "photos"


def predict(*arguments: Any, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        command("predict", *arguments), input=stdin, capture_output=True, cwd=ROOT, timeout=200, env=environment()
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_folder_an_archive_and_a_broken_picture(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "b" / "cut.jpg").write_bytes(picture(9)[:200])
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(photos / "a.png", "in/a.png")
    status, shown, errors = predict(model, photos, tmp_path / "more.zip", "--top", 2)
    names = [line.partition("  ")[0] for line in shown.splitlines()]
    assert status == 1
    assert names == [f"{photos}/a.png", f"{photos}/b/c.png", f"{photos}/b/d.jpg", f"{tmp_path}/more.zip:in/a.png"]
    assert f"{photos}/b/cut.jpg: damaged picture" in errors
    assert "note: 1 files in folders and archives were left alone: no pictures by their names" in errors
    status, text, _ = predict(model, photos, "--json", "--batch-size", 1)
    found = json.loads(text)
    assert (status, found["run"], found["failed"]) == (1, str(model), 1)
    assert [each["file"].rpartition("/")[2] for each in found["predictions"]] == ["a.png", "c.png", "cut.jpg", "d.jpg"]
    assert set(found["predictions"][0]) == {"file", "label", "top"}
    assert set(found["predictions"][2]) == {"file", "error"}


def test_standard_input_is_a_picture_or_a_list(model: Path, photos: Path) -> None:
    status, shown, _ = predict(model, "-", "--json", stdin=(photos / "a.png").read_bytes())
    alone = json.loads(shown)["predictions"][0]
    assert (status, alone["file"]) == (0, "-")
    listed = f"{photos}/a.png\n\n{photos}/b/d.jpg\n".encode()
    status, shown, _ = predict(model, "--files-from", "-", "--jsonl", stdin=listed)
    lines = [json.loads(line) for line in shown.splitlines()]
    assert (status, [line["file"] for line in lines]) == (0, [f"{photos}/a.png", f"{photos}/b/d.jpg"])
    assert lines[0]["label"] == alone["label"]
    assert predict(model, "--files-from", "-", "--json") == (
        0,
        f'{{"run": "{model}", "predictions": [], "failed": 0}}\n',
        "",
    )


def test_vectors_are_printed_or_written(model: Path, photos: Path, tmp_path: Path) -> None:
    status, shown, _ = predict(model, photos, "--embed", "default", "--jsonl")
    vectors = [json.loads(line)["vector"] for line in shown.splitlines()]
    assert (status, np.shape(vectors)) == (0, (3, 5))
    status, shown, _ = predict(model, photos, "gone.png", "--embed", "default", "--out", tmp_path / "v.npy")
    assert (status, shown) == (1, f"Wrote 3 vectors to {tmp_path}/v.npy.\n")
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), vectors, rtol=1e-5)


def test_ctrl_c_leaves_what_was_printed(model: Path, photos: Path) -> None:
    """With a batch size of 1 each picture is answered before the next name is asked for."""
    process = subprocess.Popen(
        command("predict", model, "--files-from", "-", "--batch-size", 1, "--jsonl"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for name in ("a.png", "b/c.png"):
        process.stdin.write(f"{photos}/{name}\n".encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["file"] == f"{photos}/{name}"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.decode().strip()) == (130, "Stopped.")


def test_a_name_that_is_not_utf8_is_printed_all_the_same(model: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(picture(1))
    for form in ("--json", "--jsonl", "--debug"):
        status, shown, errors = predict(model, tmp_path, form)
        assert (status, errors) == (0, "")
        assert "\\udcff.png" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to predict"),
        (["-", "--files-from", "-"], "standard input (-) can be read once"),
        (["a.png", "--json", "--jsonl"], "Give one of them"),
        (["a.png", "--out", "v.npy"], "--out and --pool go with --embed LAYER"),
        (["a.png", "--embed", "default", "--out", "v.txt"], "FILE.npy or FILE.parquet, got 'v.txt'"),
        (["a.png", "--embed", "layer0"], "the network has no layer 'layer0'"),
        (["a.png", "--top", "0"], "top must be at least 1, got 0"),
        (["a.png", "--workers", "0"], "workers must be at least 1, got 0"),
        (["a.png", "--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["a.png", "--delimiter", ";"], "--delimiter is for tables; this model takes pictures"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_printed(arguments: list[str], message: str, model: Path) -> None:
    done = CliRunner().invoke(app, ["predict", str(model), *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
