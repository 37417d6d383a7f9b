"""Features computed by Spark's tasks, merged datasets, and workers of Spark that begin with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import firesteel
from firesteel.data.manifest import Dataset
from firesteel.data.sources.dataset import DatasetSource

pytestmark = pytest.mark.spark


def rows_of(dataset: Dataset) -> dict[str, tuple[str | None, str | None, bytes]]:
    source = DatasetSource.open(dataset.place)
    return {row.id: (row.split, row.label, row.data) for part in source.partitions(1) for row in source.rows_of(part)}


def test_features_and_training_are_those_of_local_processes(spark: Any, image_folder: Path, tmp_path: Path) -> None:
    """Bit for bit: the same rows, and the same network of two workers."""
    quiet: dict[str, Any] = {"threads": 1, "checkpoint_every": "never", "batch_size": 8}
    firesteel.prepare(image_folder, tmp_path / "ds", engine="local")
    firesteel.train(tmp_path / "ds", tmp_path / "base", model="cnn:maps=[4]", epochs=1, engine="local", **quiet)
    model, freeze = tmp_path / "base", {"replace_head": "layers.8", "freeze_until": "layers.2"}
    here = firesteel.compute_features(model, tmp_path / "ds", tmp_path / "here", engine="local", workers=1, **freeze)
    there = firesteel.compute_features(model, tmp_path / "ds", tmp_path / "there", spark=spark, **freeze)
    assert rows_of(here.dataset) == rows_of(there.dataset)
    assert here.dataset.manifest.statistics == there.dataset.manifest.statistics
    for name, engine in (("a", {"engine": "local"}), ("b", {"spark": spark})):
        firesteel.train(tmp_path / "here", tmp_path / name, epochs=1, workers=2, **quiet, **engine)
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in "ab")
    assert a.keys() == b.keys()
    assert all(a[name].equal(b[name]) for name in a)
    both = firesteel.merge([tmp_path / "ds", tmp_path / "ds"], tmp_path / "both", spark=spark)
    assert both.dataset.manifest.counts.written == 120
