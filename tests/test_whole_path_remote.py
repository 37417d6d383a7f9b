"""The whole path on storage that is not a local folder, through fsspec's in-memory file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import firesteel
from firesteel.errors import DatasetError, RunError
from firesteel.monitoring.events import read_events
from firesteel.monitoring.state import RunState
from firesteel.storage import Place


@pytest.fixture
def bucket() -> Any:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    yield "memory://bucket"
    filesystem.rm("/bucket", recursive=True)


def test_prepare_train_and_evaluate_on_an_object_store(bucket: str, image_folder: Path) -> None:
    prepared = firesteel.prepare(image_folder, f"{bucket}/data", engine="local", workers=1)
    assert prepared.dataset.manifest.counts.written == 60
    assert firesteel.prepare(image_folder, f"{bucket}/data", engine="local", workers=1).reused
    firesteel.train(f"{bucket}/data", f"{bucket}/run", model="mlp", epochs=3, engine="local")
    assert firesteel.evaluate(f"{bucket}/run", f"{bucket}/data").rows == 12
    state = RunState().add(read_events(Place.of(f"{bucket}/run")))
    assert (state.status, state.step) == ("done", state.total_steps)
    with pytest.raises(RunError, match="already holds a finished run"):
        firesteel.train(f"{bucket}/data", f"{bucket}/run", model="mlp", epochs=1, engine="local")
    with pytest.raises(DatasetError, match="holds another dataset"):
        firesteel.prepare(image_folder, f"{bucket}/data", seed=1, engine="local", workers=1)


def test_a_source_on_an_object_store_is_read(bucket: str, image_folder: Path, tmp_path: Path) -> None:
    for file in image_folder.rglob("*.png"):
        Place.of(f"{bucket}/pictures/{file.relative_to(image_folder)}").write_bytes(file.read_bytes())
    prepared = firesteel.prepare(f"{bucket}/pictures", tmp_path / "data", engine="local", workers=1)
    assert prepared.dataset.manifest.labels == ["dark", "grey", "white"]
    assert prepared.dataset.manifest.counts.written == 60
