"""Evaluating and stopping while a run trains, on one worker and several."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import firesteel
from firesteel.errors import ConfigError, DatasetError
from firesteel.local import LocalProcesses
from firesteel.monitoring.events import read_events
from firesteel.storage import Place
from firesteel.sync import check_sync, make_sync
from firesteel.sync.common import common_model
from firesteel.training.conditions import Record
from firesteel.world import Meeting, World

Weights = Callable[[Path], bytes]
SMALL: dict[str, Any] = {
    "engine": "local", "threads": 1, "batch_size": 8, "epochs": 4, "seed": 5, "model": "mlp:hidden=[8]",
}  # fmt: skip


def evaluations_of(run: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(Place.of(str(run))) if event["event"] == "evaluation"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_validation_split_is_evaluated_when_it_is_due(workers: int, dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"workers": workers, "batch_size": 8 // workers}
    result = firesteel.train(dataset, tmp_path / "run", evaluate_every="6 steps or 1 epoch", **options)
    steps = [event["step"] for event in evaluations_of(tmp_path / "run")]
    epochs = [15, 30, 45, 60]
    assert steps == sorted({*range(6, 61, 6), *epochs})
    assert result.best["name"] == "accuracy"
    assert result.best["score"] == max(event["scores"]["accuracy"] for event in evaluations_of(tmp_path / "run"))


@pytest.mark.parametrize("sync", ["allreduce", "average:every=4", "threshold", "diloco:every=4", "async:every=4"])
def test_evaluating_does_not_change_what_is_trained(sync: str, dataset: Path, tmp_path: Path, weights: Weights) -> None:
    """In the middle of a round the common model is evaluated, and each worker has its own again afterwards."""
    options = SMALL | {"model": "tests.networks:Everything", "workers": 2, "sync": sync, "epochs": 2, "batch_size": 4}
    firesteel.train(dataset, tmp_path / "with", evaluate_every="3 steps", final_model="last", **options)
    assert evaluations_of(tmp_path / "with")
    if sync.startswith("async"):
        return  # no two runs are the same
    firesteel.train(dataset, tmp_path / "without", **options)
    assert weights(tmp_path / "with") == weights(tmp_path / "without")


def test_the_last_evaluation_is_what_evaluate_says(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", evaluate_every="1 epoch", final_model="last", workers=2, **SMALL)
    last = evaluations_of(tmp_path / "run")[-1]["scores"]
    told = firesteel.evaluate(tmp_path / "run", dataset, engine="local").to_json()
    for name, value in last.items():
        assert told[name] == pytest.approx(value, rel=1e-6), name


def test_the_best_model_is_kept_with_its_score(dataset: Path, tmp_path: Path, weights: Weights) -> None:
    """With a learning rate that spoils everything after the first epochs the best is not the last."""
    options = SMALL | {"epochs": 6, "schedule": "map:0=0.01,40=3.0", "evaluate_every": "1 epoch", "score": "loss"}
    result = firesteel.train(dataset, tmp_path / "run", **options)
    current = json.loads((tmp_path / "run" / "best" / "current.json").read_text())
    scores = [event["scores"]["loss"] for event in evaluations_of(tmp_path / "run")]
    assert current["value"] == min(scores) == result.best["score"]
    assert scores[-1] > min(scores)
    assert current["step"] == result.best["step"] < result.steps
    folder = tmp_path / "run" / "best" / current["folder"]
    assert (folder / "model.safetensors").read_bytes() == weights(tmp_path / "run")
    assert firesteel.evaluate(folder, dataset, engine="local").loss == pytest.approx(min(scores), rel=1e-6)
    assert firesteel.evaluate(tmp_path / "run", dataset, engine="local").loss == pytest.approx(min(scores), rel=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("stop", "steps", "reason"),
    [
        ("steps:maximum=7", 7, "7 steps"),
        ("epochs:maximum=2", 30, "2 epochs, the maximum"),
        ("score:reach=0.01", 5, "accuracy reached 0.01"),
        ("patience:evaluations=2,min_improvement=0.9,metric=top5", 15, "no improvement of top5 by 0.9 or more in 2"),
        ("tests.training.test_control:after_nine", 10, "after_nine holds at step 10"),
    ],
)
def test_a_condition_ends_the_training_where_it_holds(
    stop: str, steps: int, reason: str, workers: int, dataset: Path, tmp_path: Path
) -> None:
    options = SMALL | {"workers": workers, "batch_size": 8 // workers, "stop": [stop], "evaluate_every": "5 steps"}
    result = firesteel.train(dataset, tmp_path / "run", **options)
    assert result.steps == steps
    assert result.stop is not None
    assert reason in result.stop
    assert result.epochs == steps // 15
    assert math.isfinite(result.score)
    assert (tmp_path / "run" / "model" / "model.json").exists()


def after_nine(record: Record) -> bool:
    """A condition of a user's own that can be asked at evaluations only: it holds from step 9 on."""
    return record.evaluation is not None and record.step >= 9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loss_that_is_no_number_ends_the_training(workers: int, dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"workers": workers, "learning_rate": 1e20, "optimizer": "sgd", "epochs": 1000}
    result = firesteel.train(dataset, tmp_path / "run", **options)
    assert result.stop is not None
    assert result.stop.startswith("the training loss is nan at ")
    assert result.epochs < 1000


def test_time_ends_the_training(dataset: Path, tmp_path: Path) -> None:
    result = firesteel.train(dataset, tmp_path / "run", stop="time:seconds=0.3", **(SMALL | {"epochs": 100_000}))
    assert result.stop is not None
    assert "trained for" in result.stop


def test_a_run_that_was_ended_by_a_condition_goes_on_without_it(
    dataset: Path, tmp_path: Path, weights: Weights
) -> None:
    firesteel.train(dataset, tmp_path / "calm", **SMALL)
    firesteel.train(dataset, tmp_path / "run", stop="steps:maximum=20", **SMALL)
    with pytest.raises(firesteel.errors.RunError, match=r"after 1 of 4 epochs: 20 steps[^$]*another --stop"):
        firesteel.train(dataset, tmp_path / "run", resume=True)
    result = firesteel.train(dataset, tmp_path / "run", resume=True, stop=[])
    assert result.stop is None
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")


def test_a_condition_on_a_score_wants_a_split(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'validation'"):
        firesteel.train(dataset, tmp_path / "run", validation_split="validation", **SMALL)
    with pytest.raises(ConfigError, match="nothing is evaluated while it trains"):
        firesteel.train(dataset, tmp_path / "run", stop="score:reach=0.9", evaluate_every="never", **SMALL)
    assert not (tmp_path / "run").exists()


def test_that_the_test_split_chooses_the_model_is_said(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", stop="score:reach=0.9", **SMALL)
    warnings = [
        event["message"] for event in read_events(Place.of(str(tmp_path / "run"))) if event["event"] == "warning"
    ]
    assert any("the split test chooses the model" in warning for warning in warnings)


def test_the_common_model_is_the_mean_by_rows_and_goes_again() -> None:
    for before, inside, after in LocalProcesses().run(_inside_a_round, None, workers=2, meet=True, timeout_s=60):
        assert inside == pytest.approx((3 * 1.0 + 1 * 5.0) / 4)
        assert before == after


def _inside_a_round(payload: None, world: World, meeting: Meeting | None) -> list[float]:
    from firesteel.data.loader import Batch

    assert meeting is not None
    with meeting.process_group():
        model = nn.Linear(1, 1, bias=False)
        sync = make_sync(check_sync("average:every=5", 2))
        sync.on_start(model, torch.optim.SGD(model.parameters(), lr=0.1), world)
        rows = (3, 1)[world.rank]
        sync.after_step(Batch(torch.zeros(rows, 1), torch.zeros(rows), rows, 4))
        with torch.no_grad():
            model.weight.fill_((1.0, 5.0)[world.rank])
        before = float(model.weight)
        with common_model(model, sync, world):
            inside = float(model.weight)
        return [before, inside, float(model.weight)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_keeps_a_checkpoint(
    number: signal.Signals, workers: int, dataset: Path, tmp_path: Path, weights: Weights
) -> None:
    options = SMALL | {"workers": workers, "epochs": 2000, "sync": "none" if workers == 1 else "average:every=5"}
    run = tmp_path / "run"
    script = f"import firesteel; firesteel.train({str(dataset)!r}, {str(run)!r}, **{options!r})"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        _until(lambda: run.exists() and any(e["event"] == "step" for e in read_events(Place.of(str(run)))))
        time.sleep(0.3)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == -number
    events = read_events(Place.of(str(run)))
    kept = [event for event in events if event["event"] == "checkpoint"]
    assert [event["reason"] for event in kept] == ["stop"]
    # Not the last event of all: within a millisecond the order of two writers is open.
    assert [event["error"] for event in events if event["event"] == "failed"] == ["stopped"]
    assert not (run / "stop-requested").exists()
    step = kept[0]["step"]
    stop = [f"steps:maximum={step + 40}"]
    firesteel.train(dataset, run, resume=True, stop=stop)
    firesteel.train(dataset, tmp_path / "calm", stop=stop, **options)
    assert weights(run) == weights(tmp_path / "calm")


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_file_stops_a_run_too(dataset: Path, tmp_path: Path) -> None:
    """What a first Ctrl-C does, for those who cannot send a signal."""
    run = tmp_path / "run"

    def ask() -> None:
        _until(lambda: run.exists() and any(e["event"] == "step" for e in read_events(Place.of(str(run)))))
        (run / "stop-requested").touch()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        firesteel.train(dataset, run, **(SMALL | {"epochs": 5000}))
    thread.join()
    assert os.listdir(run / "checkpoints")
