"""A run that loses a worker goes on from its last checkpoint, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import firesteel
from firesteel.errors import ModelError, TooFewSlots, WorkerFailed
from firesteel.launch import Launcher
from firesteel.monitoring.events import LAUNCHER, EventWriter, read_events
from firesteel.monitoring.state import RunState
from firesteel.storage import Place
from firesteel.training.attempts import Attempts
from firesteel.training.job import TrainPayload
from firesteel.training.resolving import resolve_training, workers_of

Weights = Callable[[Path], bytes]
SMALL: dict[str, Any] = {
    "engine": "local", "threads": 1, "batch_size": 8, "epochs": 3, "seed": 5, "workers": 2, "timeout_s": 8,
}  # fmt: skip


def misbehaving(tmp_path: Path, name: str, **options: Any) -> str:
    once = f",once={tmp_path / name}" if options.pop("once", True) else ""
    return "tests.networks:Misbehaving:" + ",".join(f"{key}={value}" for key, value in options.items()) + once


def events_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(Place.of(str(run))) if event["event"] == kind]


@pytest.mark.parametrize(
    ("what", "sync"),
    [("kill", "allreduce"), ("kill", "threshold"), ("raise", "average:every=3"), ("stop", "allreduce"),
     ("sleep", "average:every=3")],
)  # fmt: skip
def test_a_run_goes_on_to_the_same_bits(what: str, sync: str, dataset: Path, tmp_path: Path, weights: Weights) -> None:
    """The worker is killed, raises once, is stopped or hangs, in the second epoch."""
    options = SMALL | {"sync": sync, "checkpoint_every": "1 epoch"}
    calm = firesteel.train(dataset, tmp_path / "calm", model=misbehaving(tmp_path, "no", at=10_000), **options)
    model = misbehaving(tmp_path, "yes", what=what, at=13)
    result = firesteel.train(dataset, tmp_path / "run", model=model, **options)
    assert result.restarts == 1
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")
    assert (result.rows, result.steps, result.epoch_scores) == (calm.rows, calm.steps, calm.epoch_scores)
    (restart,) = events_of(tmp_path / "run", "restart")
    assert restart["rank"] == 1
    # The worker may die before the checkpoint of the step before is whole.
    assert restart["message"].endswith(("going on from step 8", "going on from the beginning"))
    state = RunState().add(read_events(Place.of(str(tmp_path / "run"))))
    assert (state.status, state.restarts, state.step) == ("done", 1, result.steps)


def test_without_a_checkpoint_a_run_begins_again(dataset: Path, tmp_path: Path, weights: Weights) -> None:
    options = SMALL | {"checkpoint_every": "never"}
    firesteel.train(dataset, tmp_path / "calm", model=misbehaving(tmp_path, "no", at=10_000), **options)
    model = misbehaving(tmp_path, "yes", what="kill", at=13)
    assert firesteel.train(dataset, tmp_path / "run", model=model, **options).restarts == 1
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")


def test_what_comes_back_at_the_same_step_is_not_tried_again(dataset: Path, tmp_path: Path) -> None:
    model = misbehaving(tmp_path, "", at=10, once=False)
    with pytest.raises(WorkerFailed, match=r"this network is tired[^$]*came back at the same step after a restart"):
        firesteel.train(dataset, tmp_path / "run", model=model, checkpoint_every="never", **SMALL)
    assert len(events_of(tmp_path / "run", "restart")) == 1


def test_restarts_can_be_used_up(dataset: Path, tmp_path: Path) -> None:
    """A worker that is killed at its tenth step each time gets a step further only with checkpoints."""
    model = misbehaving(tmp_path, "", at=5, what="kill", once=False)
    with pytest.raises(WorkerFailed, match="killed by signal SIGKILL"):
        firesteel.train(dataset, tmp_path / "run", model=model, max_restarts=2, checkpoint_every="never", **SMALL)
    assert len(events_of(tmp_path / "run", "restart")) == 2
    assert "2 restarts are used up" in events_of(tmp_path / "run", "warning")[-1]["message"]


def test_a_worker_that_dies_again_and_again_still_ends_its_work(
    dataset: Path, tmp_path: Path, weights: Weights
) -> None:
    """Killed at its fifth step of each attempt: with a checkpoint a step every attempt gets four steps further."""
    options = SMALL | {"checkpoint_every": "1 step", "epochs": 2}
    firesteel.train(dataset, tmp_path / "calm", model=misbehaving(tmp_path, "no", at=10_000), **options)
    model = misbehaving(tmp_path, "", at=5, what="kill", once=False)
    result = firesteel.train(dataset, tmp_path / "run", model=model, max_restarts=20, **options)
    assert result.restarts >= 3
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")


def test_what_a_user_can_mend_is_not_tried_again(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        firesteel.train(dataset, tmp_path / "run", model="tests.networks:wrong_outputs", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "wanted"), [(3, (3, 3)), ("4", (4, 4)), ("2..8", (2, 8)), (" 1..1 ", (1, 1))])
def test_workers_are_a_number_or_a_range(text: int | str, wanted: tuple[int, int]) -> None:
    assert workers_of(text) == wanted


@pytest.mark.parametrize("text", [0, -1, True, "0..2", "3..2", "many", "2-8", 2.5, "2..", ""])
def test_other_numbers_of_workers_are_refused(text: Any) -> None:
    with pytest.raises(firesteel.errors.ConfigError, match=r"1 or more, or two as in 2\.\.8"):
        workers_of(text)


class FewSlots(Launcher):
    """Has so many slots, and notes with how many workers it was asked to run."""

    def __init__(self, slots: int, *, says: bool):
        self._slots, self._says = slots, says
        self.asked: list[int] = []

    def run(self, function: Any, payload: Any, *, workers: int, meet: bool, timeout_s: float = 300.0) -> list[Any]:
        self.asked.append(workers)
        if workers > self._slots:
            raise TooFewSlots(f"{workers} workers")
        return [{"rank": rank} for rank in range(workers)]

    def slots(self) -> int | None:
        return self._slots if self._says else None


@pytest.mark.parametrize(("says", "asked"), [(True, [8, 3]), (False, [8, 7, 6, 5, 4, 3])])
def test_a_run_takes_as_many_workers_as_there_are(says: bool, asked: list[int], dataset: Path, tmp_path: Path) -> None:
    launcher = FewSlots(3, says=says)
    assert len(_attempts(launcher, "2..8", dataset, tmp_path).results()) == 3
    assert launcher.asked == asked


def test_fewer_workers_than_wanted_at_least_are_refused(dataset: Path, tmp_path: Path) -> None:
    for workers in ("4..8", 8):
        with pytest.raises(TooFewSlots):
            _attempts(FewSlots(3, says=True), workers, dataset, tmp_path).results()


def _attempts(launcher: Launcher, workers: int | str, dataset: Path, run: Path) -> Attempts:
    from firesteel.data.manifest import Dataset
    from firesteel.models import resolve_model

    training = resolve_training(Dataset.open(str(dataset)), "mlp", workers, None, {})
    payload = TrainPayload(training.job, str(run), resolve_model("mlp"), training.stopping)
    return Attempts(
        launcher, payload, EventWriter(Place.of(str(run)), LAUNCHER), workers=training.workers,
        named=lambda error: error, stopping=lambda: False,
    )  # fmt: skip


def test_the_job_remembers_how_few_workers_will_do(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="mlp:hidden=[8]", **(SMALL | {"workers": "1..2", "epochs": 1}))
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    assert (job["workers"], job["min_workers"]) == (2, 1)
