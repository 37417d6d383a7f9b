"""The driver's side of an evaluation: what can be watched, and what is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firesteel
from firesteel.data.progress import progress_of
from firesteel.errors import StorageError
from firesteel.storage import Place


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Path:
    firesteel.train(dataset, tmp_path / "run", engine="local", model="mlp:hidden=[8]", epochs=1, threads=1)
    return tmp_path / "run"


def test_a_long_evaluation_says_how_far_it_is(
    run: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firesteel.data.progress.SECONDS_BETWEEN", 0.0)
    seen: list[Any] = []

    @contextlib.contextmanager
    def watch(folder: Place) -> Iterator[None]:
        seen.append(progress_of(folder))
        yield
        seen.append(progress_of(folder))

    before = sorted(tmp_path.rglob("*"))
    firesteel.evaluate(run, dataset, batch_size=7, engine="local", watch=watch)
    assert seen == [(0, 30), (30, 30)]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_on_storage_that_cannot_be_written_is_evaluated_without_progress(
    run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Place, rows: int) -> None:
        raise StorageError(f"cannot write {folder}: Read-only file system")

    monkeypatch.setattr("firesteel.evaluation.driver.announce_rows", refuse)

    def watch(folder: Place) -> contextlib.AbstractContextManager[Any]:
        raise AssertionError("there is nothing to watch")

    assert firesteel.evaluate(run, dataset, engine="local", watch=watch).rows == 30
