"""The state of a run, folded from its events."""

from __future__ import annotations

import math
from typing import Any

import pytest

from firesteel.monitoring.state import RunState


def event(kind: str, worker: int | str, time: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"event": kind, "worker": worker, "time": time, **fields}


def start(worker: int, workers: int = 2) -> dict[str, Any]:
    return event("start", worker, host=f"node-{worker}", device="cpu", epochs=3, steps_per_epoch=10, workers=workers)


def step(worker: int, number: int, seconds: float, rows: int, score: float = 1.0) -> dict[str, Any]:
    return event(
        "step", worker, seconds, epoch=(number - 1) // 10, step=number, rows=rows, score=score, seconds=seconds,
        data_s=0.1, compute_s=0.2, sync_s=0.3,
    )  # fmt: skip


def test_a_run_that_has_said_nothing_is_starting() -> None:
    state = RunState()
    assert (state.status, state.step, state.epoch, state.score, state.seconds_left) == ("starting", 0, 0, None, None)
    assert state.rows_per_second == 0


def test_the_slowest_worker_says_how_far_a_run_is() -> None:
    state = RunState().add([start(0), start(1)])
    state.add([step(0, 1, 1.0, 32), step(0, 12, 2.0, 384), step(1, 1, 1.0, 32), step(1, 9, 2.0, 288)])
    assert (state.status, state.step, state.epoch, state.total_steps) == ("training", 9, 0, 30)
    assert state.rows_per_second == pytest.approx(352 + 256)
    assert state.seconds_left == pytest.approx(21 * 32 / 256)
    assert state.score == 1.0


def test_an_epoch_is_scored_over_the_rows_of_all_workers_and_when_all_have_ended_it() -> None:
    state = RunState().add([start(0), start(1)])
    state.add([event("epoch", 0, epoch=0, step=10, loss_sum=30.0, rows=10)])
    assert state.epoch_scores == {}
    state.add([event("epoch", 1, epoch=0, step=10, loss_sum=10.0, rows=30)])
    assert state.epoch_scores == {0: 1.0}


def test_a_lost_worker_is_the_one_that_is_silent() -> None:
    state = RunState().add([start(0), start(1), start(2)])
    state.add([event("end", 0, step=30, seconds=1.0), event("failed", 2, error="ValueError", message="no")])
    assert [worker.rank for worker in state.silent_workers()] == [1]
    assert (state.status, state.message) == ("failed", "no")


def test_a_score_that_is_not_a_number_stays_so() -> None:
    state = RunState().add([start(0, workers=1), step(0, 1, 1.0, 32, score=math.nan)])
    assert state.score is not None
    assert math.isnan(state.score)


def test_the_launchers_word_ends_a_run_and_unknown_events_are_passed_over() -> None:
    state = RunState().add(
        [event("launch", "launcher", host="here", pid=1), start(0, workers=1), event("of a later version", 0, novel=1)]
    )
    state.add([event("warning", 0, message="slow storage"), event("finish", "launcher", score=0.5)])
    assert (state.status, state.summary["score"], state.warnings) == ("done", 0.5, ["slow storage"])
    failed = RunState().add([event("failed", "launcher", error="ResourceError", message="no slots")])
    assert (failed.status, failed.message) == ("failed", "no slots")


def test_when_a_run_has_ended_nobody_trains() -> None:
    state = RunState().add([start(0), start(1), event("failed", 1, error="ValueError", message="no")])
    assert [worker.status for worker in state.by_rank.values()] == ["training", "failed"]
    state.add([event("failed", "launcher", error="WorkerFailed", message="worker 1 failed")])
    assert [worker.status for worker in state.by_rank.values()] == ["ended", "failed"]
    stopped = RunState().add([start(0), start(1), event("failed", "launcher", error="stopped", message="stopped")])
    assert (stopped.status, stopped.in_progress) == ("stopped", False)
