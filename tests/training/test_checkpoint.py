"""A run goes on from a checkpoint to the same bits, and there is never a moment without a whole one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import firesteel
from firesteel.errors import CheckpointError, ConfigError, RunError
from firesteel.storage import Place
from firesteel.training.checkpoint import Keep, checkpoints_of, find_checkpoint

Weights = Callable[[Path], bytes]
ALL: dict[str, Any] = {"checkpoint_every": "1 step", "keep_checkpoint_every": 1}
SMALL: dict[str, Any] = {"engine": "local", "threads": 1, "batch_size": 16, "epochs": 2, "seed": 5}


def only(run: Path, step: int, target: Path) -> Path:
    """A copy of a run as if it had been killed after the checkpoint of a step."""
    target.mkdir()
    shutil.copytree(run / "checkpoints" / f"step-{step:08d}", target / "checkpoints" / f"step-{step:08d}")
    shutil.copytree(run / "events", target / "events")
    shutil.copy(run / "job.json", target / "job.json")
    for log in (target / "events").glob("*.jsonl"):  # what it wrote until then
        lines = [line for line in log.read_text().splitlines() if json.loads(line).get("step", 0) <= step]
        log.write_text("".join(line + "\n" for line in lines if json.loads(line)["event"] not in ("finish", "end")))
    return target


def resumed(dataset: Path, run: Path, **options: Any) -> firesteel.TrainResult:
    return firesteel.train(dataset, run, resume=True, **options)


def steps_of(run: Path) -> list[int]:
    return [checkpoint.info.step for checkpoint in checkpoints_of(Place.of(str(run)))]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "tests.networks:Everything"},
        {
            "model": "mlp:hidden=[8]",
            "optimizer": "sgd:momentum=0.9",
            "schedule": "plateau:patience=0",
            "clip": "norm:max=1",
        },
        {"model": "mlp:hidden=[8]", "optimizer": "adagrad", "precision": "bf16", "warmup": 5, "schedule": "cosine"},
    ],
)
def test_every_step_of_a_run_can_be_gone_on_from(
    options: dict[str, Any], dataset: Path, tmp_path: Path, weights: Weights
) -> None:
    """One worker: epoch ends and steps in between; the result is that of a run that never stopped."""
    options = SMALL | options | {"evaluate_every": "5 steps", "score": "loss", "final_model": "last"}
    whole = firesteel.train(dataset, tmp_path / "calm", **options)
    kept = firesteel.train(dataset, tmp_path / "run", **options, **ALL)
    assert weights(tmp_path / "calm") == weights(tmp_path / "run")
    steps = steps_of(tmp_path / "run")
    assert steps == list(range(1, whole.steps + 1))
    for step in steps[:-1]:
        run = only(tmp_path / "run", step, tmp_path / f"from-{step}")
        result = resumed(dataset, run)
        assert weights(run) == weights(tmp_path / "calm"), step
        assert (result.steps, result.rows, result.epochs) == (kept.steps, kept.rows, kept.epochs), step
        assert result.epoch_scores == kept.epoch_scores, step
        assert result.best == kept.best, step


@pytest.mark.parametrize(
    "sync",
    ["allreduce", "allreduce:powersgd=1,powersgd_start=2", "average:every=3", "threshold", "diloco:every=3"],
)
def test_several_workers_go_on_to_the_same_bits(sync: str, dataset: Path, tmp_path: Path, weights: Weights) -> None:
    """In the middle of a round too, with states that differ between the workers."""
    options = SMALL | {"model": "tests.networks:Everything", "workers": 2, "batch_size": 8, "sync": sync}
    firesteel.train(dataset, tmp_path / "run", **options, **ALL)
    for step in (4, 8):
        run = only(tmp_path / "run", step, tmp_path / f"from-{step}")
        resumed(dataset, run)
        assert weights(run) == weights(tmp_path / "run"), step


@pytest.mark.parametrize("sync", ["allreduce", "average:every=3", "threshold"])
def test_another_number_of_workers_goes_on_with_the_same_rows(sync: str, dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"model": "tests.networks:WithBatchNorm", "workers": 2, "batch_size": 8, "sync": sync}
    calm = firesteel.train(dataset, tmp_path / "run", **options, **ALL)
    for workers in (1, 3):
        run = only(tmp_path / "run", 5, tmp_path / f"with-{workers}")
        result = resumed(dataset, run, workers=workers)
        assert (result.steps, result.rows) == (calm.steps, calm.rows)
        assert result.score == pytest.approx(calm.score, rel=0.2)


def test_the_common_state_is_the_mean_weighted_by_rows(dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"model": "mlp:hidden=[8]", "workers": 2, "batch_size": 7, "sync": "average:every=50"}
    firesteel.train(dataset, tmp_path / "run", **options, **ALL)
    checkpoint = find_checkpoint(Place.of(str(tmp_path / "run")), "3")
    assert checkpoint is not None
    states = [checkpoint.state_of(rank) for rank in (0, 1)]
    weights = [state.values["weight"] for state in states]
    assert sum(weights) == pytest.approx(1)
    name = next(name for name in states[0].tensors if name.startswith("model/"))
    wanted = sum(weight * state.tensors[name].double() for weight, state in zip(weights, states))
    assert not torch.equal(states[0].tensors[name], states[1].tensors[name])
    torch.testing.assert_close(checkpoint.common_state().tensors[name].double(), wanted, rtol=1e-6, atol=1e-7)


def test_what_may_be_changed_is_changed_and_said(dataset: Path, tmp_path: Path, weights: Weights) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", **SMALL, **ALL)
    run = only(tmp_path / "run", 5, tmp_path / "changed")
    resumed(dataset, run, learning_rate=0.01, epochs=3)
    assert weights(run) != weights(tmp_path / "run")
    job = json.loads((run / "job.json").read_text())
    assert (job["learning_rate"], job["epochs"]) == (0.01, 3)
    events = [json.loads(line) for line in (run / "events" / "launcher.jsonl").read_text().splitlines()]
    said = [event["message"] for event in events if event["event"] == "warning"]
    assert "going on from step 5" in said
    assert "learning_rate 0.001 -> 0.01" in said
    assert "epochs 2 -> 3" in said
    steps = [json.loads(line) for line in (run / "events" / "worker-00000.jsonl").read_text().splitlines()]
    rates = {event["learning_rate"] for event in steps if event["event"] == "step" and event["step"] > 5}
    assert 0.01 in rates


def test_what_a_run_keeps_is_not_changed(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", **SMALL, **ALL)
    run = only(tmp_path / "run", 5, tmp_path / "copy")
    for option, value in {"batch_size": 8, "seed": 6, "optimizer": "sgd", "model": "cnn", "lanes": 2}.items():
        with pytest.raises(ConfigError, match=f"keeps its {option}"):
            resumed(dataset, run, **{option: value})
    with pytest.raises(ConfigError, match="there is no option 'epoch'"):
        resumed(dataset, run, epoch=3)
    assert json.loads((run / "job.json").read_text()) == json.loads((tmp_path / "run" / "job.json").read_text())


def test_a_finished_run_goes_on_only_with_more_to_do(dataset: Path, tmp_path: Path, weights: Weights) -> None:
    options = SMALL | {"model": "tests.networks:Everything"}
    firesteel.train(dataset, tmp_path / "long", **(options | {"epochs": 4}))
    firesteel.train(dataset, tmp_path / "run", **options)
    with pytest.raises(RunError, match=r"is finished: 2 of 2 epochs\. --epochs 7"):
        resumed(dataset, tmp_path / "run")
    assert resumed(dataset, tmp_path / "run", epochs=4).epochs == 4
    assert weights(tmp_path / "run") == weights(tmp_path / "long")


def test_a_run_without_checkpoints_cannot_go_on_but_gives_its_weights(dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"model": "mlp:hidden=[8]", "checkpoint_every": "never"}
    first = firesteel.train(dataset, tmp_path / "run", **options)
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(RunError, match="kept no checkpoint"):
        resumed(dataset, tmp_path / "run", epochs=3)
    again = firesteel.train(dataset, tmp_path / "again", init_from=tmp_path / "run", **options)
    assert again.epoch_scores[0] < first.epoch_scores[0]


def test_initial_weights_come_from_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    options = SMALL | {"model": "mlp:hidden=[8]", "learning_rate": 1e-30}
    firesteel.train(dataset, tmp_path / "run", **(options | {"learning_rate": 0.01}), **ALL)
    firesteel.train(dataset, tmp_path / "again", init_from=f"{tmp_path / 'run'}@3", **options)
    from safetensors.torch import load_file

    checkpoint = find_checkpoint(Place.of(str(tmp_path / "run")), "3")
    assert checkpoint is not None
    kept = checkpoint.state_of(0).tensors
    for name, tensor in load_file(tmp_path / "again" / "model" / "model.safetensors").items():
        torch.testing.assert_close(tensor, kept[f"model/{name}"])
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 99\. It has: 1, 2, 3"):
        firesteel.train(dataset, tmp_path / "other", init_from=f"{tmp_path / 'run'}@99", **options)
    with pytest.raises(CheckpointError, match="do not fit this network"):
        firesteel.train(dataset, tmp_path / "other", init_from=tmp_path / "run", **(options | {"model": "cnn"}))
    assert not (tmp_path / "other").exists()


def test_initial_weights_are_part_of_the_job(dataset: Path, tmp_path: Path, weights: Weights) -> None:
    """A run that begins again because it has no checkpoint yet begins with them again."""
    options = SMALL | {"model": "mlp:hidden=[8]"}
    firesteel.train(dataset, tmp_path / "first", **options)
    firesteel.train(dataset, tmp_path / "run", init_from=tmp_path / "first", **options)
    run = only(tmp_path / "run", 16, tmp_path / "copy")
    shutil.rmtree(run / "checkpoints")
    resumed(dataset, run)
    assert weights(run) == weights(tmp_path / "run")


def test_half_a_checkpoint_is_none(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", **SMALL, **ALL)
    place = Place.of(str(tmp_path / "run"))
    newest = tmp_path / "run" / "checkpoints" / "step-00000016"
    (newest / "worker-00000.safetensors").write_bytes((newest / "worker-00000.safetensors").read_bytes()[:-1])
    found = find_checkpoint(place)
    assert found is not None
    assert found.info.step == 15
    (tmp_path / "run" / "checkpoints" / "step-00000015" / "complete.json").unlink()
    found = find_checkpoint(place)
    assert found is not None
    assert found.info.step == 14


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", **SMALL, **ALL)
    run = only(tmp_path / "run", 5, tmp_path / "copy")
    path = run / "checkpoints" / "step-00000005" / "worker-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[8:40] = b"x" * 32
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"step-00000005/worker-00000.safetensors is damaged"):
        resumed(dataset, run)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ({"keep_checkpoints": 1}, [16]),
        ({"keep_checkpoints": 3}, [14, 15, 16]),
        ({"keep_checkpoints": 2, "keep_checkpoint_every": 5}, [5, 10, 15, 16]),
    ],
)
def test_old_checkpoints_go(keep: dict[str, int], left: list[int], dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", checkpoint_every="1 step", **keep, **SMALL)
    assert steps_of(tmp_path / "run") == left
    assert (tmp_path / "run" / "latest").read_text() == "step-00000016\n"


def test_the_newest_ones_are_never_superfluous() -> None:
    assert list(Keep(last=2).superfluous([])) == []


def test_storage_that_cannot_be_written_does_not_stop_the_training(dataset: Path, tmp_path: Path) -> None:
    """A file where the folder of checkpoints should be: each checkpoint is a warning."""
    options = SMALL | {"model": f"tests.networks:in_the_way:run={tmp_path / 'run'}", "checkpoint_every": "5 steps"}
    result = firesteel.train(dataset, tmp_path / "run", **options)
    assert result.epochs == 2
    text = (tmp_path / "run" / "events" / "worker-00000.jsonl").read_text()
    warnings = [json.loads(line)["message"] for line in text.splitlines() if '"warning"' in line]
    assert warnings
    assert all("could not be written" in warning for warning in warnings)
