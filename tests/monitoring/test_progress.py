"""What a person sees of a run and of a preparation, as text."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

import firesteel
from firesteel.data.preparation import PROGRESS_FOLDER
from firesteel.data.progress import TaskProgress, announce_rows, progress_of
from firesteel.monitoring import progress
from firesteel.monitoring.progress import watch_run, watching_evaluation, watching_preparation
from firesteel.storage import Place


def console() -> Console:
    """Not a terminal: progress comes as lines."""
    return Console(file=io.StringIO(), width=100, highlight=False)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_rows_of_tasks_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Place.of(tmp_path / "rows")
    assert progress_of(folder) == (0, None)
    announce_rows(folder, 100)
    often, seldom = TaskProgress(folder, 0), TaskProgress(folder, 1)
    seldom.say(50)  # too early after the last word
    assert progress_of(folder) == (0, 100)
    seldom.say(51, at_once=True)
    monkeypatch.setattr("firesteel.data.progress.SECONDS_BETWEEN", 0.0)
    for rows in (1, 2, 3):
        often.say(rows)
    assert progress_of(folder) == (54, 100)


@pytest.mark.parametrize(
    ("watching", "inside", "done"),
    [(watching_preparation, PROGRESS_FOLDER, "prepared"), (watching_evaluation, "", "evaluated")],
)
def test_rows_are_counted_in_lines_where_there_is_no_terminal(
    watching: object, inside: str, done: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.05)
    folder = Place.of(tmp_path / inside if inside else tmp_path)
    announce_rows(folder, 1200)
    TaskProgress(folder, 0).say(300, at_once=True)
    shown = console()
    with watching(shown)(Place.of(tmp_path)):  # type: ignore[operator]
        deadline = time.monotonic() + 10
        while done not in text_of(shown) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert f"{done} 300 of 1,200 rows" in text_of(shown)
    assert "left" in text_of(shown)


def test_a_finished_run_is_shown_once_with_its_workers(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", engine="local", model="mlp:hidden=[8]", epochs=2, workers=2, threads=1)
    shown = console()
    state = watch_run(Place.of(tmp_path / "run"), shown)
    assert state.status == "done"
    text = text_of(shown)
    assert "2" in text
    for word in ("epoch", "rows/s", "done"):
        assert word in text
