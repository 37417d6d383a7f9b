"""What a job says of gradients and parameters: read, checked before anything starts, and in force in a run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import firesteel
from firesteel.errors import ConfigError
from firesteel.monitoring.events import read_events
from firesteel.storage import Place
from firesteel.training.schedules import Timing
from firesteel.training.settings import UpdateSettings, check_settings, learning_rate_line

TIMING = Timing(steps_per_epoch=5, epochs=4)


def test_settings_survive_json_and_read_what_people_write() -> None:
    settings = UpdateSettings(
        schedule={0: 0.03, 1000: 0.005}, layer_learning_rates=["features.*=0.1", "head=0"], warmup=500, clip="norm:max=1",
        init="he:bias=0.1", learning_rate=None,
    )  # fmt: skip
    assert settings.learning_rate == 0.03
    assert settings.layer_learning_rates == {"features.*": 0.1, "head": 0.0}
    assert settings.warmup == "500"
    assert UpdateSettings.model_validate(json.loads(settings.model_dump_json())) == settings
    assert UpdateSettings(learning_rate=None).learning_rate == 0.001


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adma"}, "no optimizer 'adma'"),
        ({"schedule": "cosin"}, "no schedule 'cosin'"),
        ({"warmup": "20"}, "warmup 20 takes 20 steps, and the run has 20"),
        ({"warmup": "soon"}, "warmup must be a number of steps or epochs"),
        ({"clip": "norm"}, "needs max"),
        ({"init": "normal"}, "needs|must be a number"),
        ({"precision": "fp16"}, "fp16 needs a GPU, got device cpu"),
        ({"layer_learning_rates": {"a": -1}}, "'a' needs a factor of 0 .frozen. or more, got -1"),
        ({"schedule": "map:0=0.03", "learning_rate": 0.01}, "0.03 at the start; learning_rate 0.01"),
        ({"weight_decay": 0.1, "optimizer": "adamw:weight_decay=0.2"}, "weight_decay is given twice"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(UpdateSettings(**settings), TIMING, "cpu")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "learning rate 0.001"),
        ({"workers": 4, "lr_scaling": "linear"}, "learning rate 0.004: 0.001 x 4 workers (linear)"),
        ({"workers": 4, "lr_scaling": "sqrt"}, "learning rate 0.002: 0.001 x sqrt(4 workers) (sqrt)"),
        (
            {"workers": 2, "lr_scaling": "linear", "warmup": 500, "schedule": "cosine"},
            "learning rate 0.002: 0.001 x 2 workers (linear), warm-up from 0.001 in 500 steps, schedule cosine",
        ),
        ({"warmup": "2epochs"}, "learning rate 0.001, warm-up in 2 epochs"),
        ({"warmup": "1epochs"}, "learning rate 0.001, warm-up in 1 epoch"),
    ],
)
def test_how_the_learning_rate_comes_about_is_said(settings: dict[str, Any], line: str) -> None:
    assert learning_rate_line(UpdateSettings(**settings)) == line


# -- in a run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosine:finl=0"}, "no option 'finl'"),
        ({"schedule": {10: 0.1}}, "needs a learning rate above 0 for step 0"),
        ({"warmup": "3epochs"}, "warmup 3epochs takes 24 steps, and the run has 16"),
        ({"lr_scaling": "cubic"}, "lr_scaling: input should be 'none', 'linear' or 'sqrt', got 'cubic'"),
        ({"bias_learning_rate": 0}, "bias_learning_rate: input should be greater than 0, got 0"),
        ({"layer_learning_rates": ["head"]}, "expected PATTERN=FACTOR, for example .*, got 'head'"),
        ({"layer_learning_rates": {"head": 0.1}}, r"'head' matches no parameter of model mlp.\nIt has layers.1.weight"),
        ({"layer_learning_rates": {"*": 0}}, "no trainable parameter that is left"),
        ({"l2": -1}, "l2: input should be greater than or equal to 0, got -1"),
        ({"weight_decay": 0.1, "optimizer": "sgd:weight_decay=0.1"}, "weight_decay is given twice"),
        ({"regularize": "biases"}, "'weights' or 'all', got 'biases'"),
        ({"clip": "norm:max=-1"}, "max, a number above 0"),
        ({"init": "xaver"}, "Did you mean 'xavier'"),
        ({"init": "he", "model": "tests.networks:Scale"}, "init he has nothing to do"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
        ({"optimizer": "sgd:nesterov=yes"}, "Nesterov momentum requires"),
    ],
)
def test_a_run_is_refused_before_a_worker_starts(
    options: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    arguments = {"model": "mlp", "batch_size": 16, "epochs": 2, "engine": "local", **options}
    with pytest.raises(ConfigError, match=message):
        firesteel.train(dataset, tmp_path / "run", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def trained(dataset: Path, run: Path, **options: Any) -> list[dict[str, Any]]:
    """The events of a run of 4 epochs."""
    firesteel.train(dataset, run, model="mlp:hidden=[8]", epochs=4, threads=1, engine="local", log_every=1, **options)
    return read_events(Place.of(run))


def test_two_workers_with_a_scaled_rate_equal_one_with_twice_the_batch_and_rate(dataset: Path, tmp_path: Path) -> None:
    """What is done to gradients is done to those of the global batch; the rate is twice that of the job."""
    common = {
        "optimizer": "sgd:momentum=0.9", "init": "he:bias=0.1", "l1": 0.001, "l2": 0.01, "weight_decay": 0.1,
        "clip": "norm:max=0.5,per=layer", "schedule": "cosine", "layer_learning_rates": {"layers.1": 0.5},
    }  # fmt: skip
    trained(
        dataset, tmp_path / "two", workers=2, batch_size=6, learning_rate=0.05, lr_scaling="linear",
        bias_learning_rate=0.01, **common,
    )  # fmt: skip
    trained(dataset, tmp_path / "one", lanes=2, batch_size=12, learning_rate=0.1, bias_learning_rate=0.02, **common)
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


def test_the_events_tell_the_learning_rate(dataset: Path, tmp_path: Path) -> None:
    """12 rows a step, 10 steps an epoch; a value of the map holds from its step on."""
    events = trained(dataset, tmp_path / "run", batch_size=12, schedule={0: 0.02, 15: 0.005, 30: 0.001}, warmup=4)
    rates = [event["learning_rate"] for event in events if event["event"] == "step"]
    warm_up = [0.004, 0.008, 0.012, 0.016]
    assert rates == pytest.approx([*warm_up, *[0.02] * 11, *[0.005] * 15, *[0.001] * 10])
    (start,) = (event for event in events if event["event"] == "start")
    assert start["learning_rate"] == 0.02
    assert start["learning_rate_line"].startswith("learning rate 0.02, warm-up in 4 steps, schedule map:0=0.02")


@pytest.mark.parametrize("sync", ["allreduce", "average:every=3"])
def test_a_plateau_lowers_the_rate_of_all_workers_at_once(sync: str, dataset: Path, tmp_path: Path) -> None:
    """No score is a hundred times better than the best one, so that each epoch after the first is without improvement."""
    schedule = "plateau:patience=0,factor=0.5,threshold=0.99"
    events = trained(dataset, tmp_path / "run", workers=2, sync=sync, batch_size=6, schedule=schedule)
    for worker in (0, 1):
        by_epoch = {
            event["epoch"]: event["learning_rate"]
            for event in events
            if event["event"] == "step" and event["worker"] == worker
        }
        assert by_epoch == pytest.approx({0: 0.001, 1: 0.001, 2: 0.0005, 3: 0.00025})


@pytest.mark.parametrize("sync", ["allreduce", "average:every=2"])
def test_bf16_learns_what_fp32_learns(sync: str, dataset: Path, tmp_path: Path) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        events = trained(
            dataset, tmp_path / precision, workers=2, sync=sync, batch_size=6, learning_rate=0.01, precision=precision
        )
        scores.append(next(event["score"] for event in events if event["event"] == "finish"))
    assert scores[0] != scores[1]
    assert scores[1] == pytest.approx(scores[0], rel=0.05)


def test_fp16_is_refused_by_a_worker_that_finds_no_gpu(dataset: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="fp16 needs a GPU, got device cpu"):
        firesteel.train(dataset, tmp_path / "run", model="mlp", precision="fp16", engine="local")
    assert not (tmp_path / "run").exists()


def test_frozen_layers_stay_under_all_reduce(dataset: Path, tmp_path: Path) -> None:
    for factor in (0, 0.1):
        trained(
            dataset, tmp_path / str(factor), workers=2, batch_size=6, weight_decay=0.5, init="normal:std=0.1,bias=0.5",
            layer_learning_rates={"layers.1": factor},
        )  # fmt: skip
    frozen, moved = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("0", "0.1"))
    assert (frozen["layers.1.bias"] == 0.5).all()
    assert (frozen["layers.3.bias"] != 0.5).all()
    assert (moved["layers.1.bias"] != 0.5).any()


def test_options_are_checked_without_torch() -> None:
    code = """
import sys
from firesteel.training.schedules import Timing
from firesteel.training.settings import UpdateSettings, check_settings
check_settings(UpdateSettings(schedule="cosine", clip="norm:max=1", init="he", precision="bf16"), Timing(5, 4), "cpu")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("section", "option", "rows"),
    [
        ("Change the learning rate during the run", "schedule", 11),
        ("Clip or renormalise gradients", "clip", 6),
        ("Choose initial weights", "init", 11),
        ("Compute in 16 bits", "precision", 3),
    ],
)
def test_what_the_documentation_lists_is_accepted(section: str, option: str, rows: int) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "training-settings.md").read_text()
    text = page.split(f"## {section}\n")[1].split("\n## ")[0]
    first_cells = [
        line.split("|")[1] for line in text.splitlines() if line.startswith("| `") and not line.startswith("| `--")
    ]
    specs = [spec for cell in first_cells for spec in re.findall(r"`([^`]+)`", cell)]
    assert len(specs) == rows
    for spec in specs:
        check_settings(UpdateSettings.model_validate({option: spec}), TIMING, "auto")
