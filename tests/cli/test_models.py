"""``firesteel models`` and ``firesteel summary``: what they print, and how they refuse."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from firesteel.cli.main import app
from firesteel.models.zoo import ENTRIES


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_models_lists_the_zoo() -> None:
    status, shown, _ = run("models")
    assert status == 0
    assert [line.split()[0] for line in shown.splitlines()[1 : len(ENTRIES) + 1]] == list(ENTRIES)
    assert "3x224x224" in shown
    assert "138,357,544" in shown
    listed = json.loads(run("models", "--json")[1])["models"]
    assert listed["mlp"] == {
        "input_shape": [4], "classes": 3, "parameters": 39, "about": ENTRIES["mlp"].about,
        "source": ENTRIES["mlp"].source, "factory": "firesteel.models.mlp:Mlp",
    }  # fmt: skip


def test_summary_prints_the_layers_and_the_totals() -> None:
    status, shown, _ = run("summary", "landscape", "--classes", "6")
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["features.conv1"] == ["Conv2d", "20x36x36", "980", "1,244,160", "104", "kB"]
    assert rows["classifier.output"] == ["Linear", "6", "1,206", "1,200", "24", "B"]
    assert "106,496, 426 kB; 106,496 trainable, 0 frozen" in shown
    as_json = json.loads(run("summary", "landscape", "--classes", "6", "--json")[1])
    assert as_json["parameters"] == sum(layer["parameters"] for layer in as_json["layers"]) == 106_496
    assert as_json["layers"][0]["name"] == "features.conv1"
    assert as_json["layers"][0]["output_shape"] == [20, 36, 36]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["vgg6"], 1, "Did you mean 'vgg16'"),
        (["vgg16", "--input-shape", "huge"], 2, "numbers such as 3x224x224"),
        (["tests.models.test_measuring:factory"], 2, "--input-shape 3x224x224"),
    ],
)
def test_summary_says_what_it_cannot_show(arguments: list[str], status: int, message: str) -> None:
    code, shown, said = run("summary", *arguments)
    assert (code, shown) == (status, "")
    assert message in said
