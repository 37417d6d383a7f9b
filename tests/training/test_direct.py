"""Training on a source that the workers read themselves: the rows, figures and bits are those of a prepared dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import firesteel
from firesteel.data.manifest import Manifest
from firesteel.errors import ConfigError, RunError, WorkerFailed
from firesteel.monitoring.events import read_events
from firesteel.storage import Place
from tests.conftest import picture

SMALL: dict[str, Any] = {
    "engine": "local", "threads": 1, "batch_size": 4, "epochs": 3, "seed": 5, "model": "mlp:hidden=[8]", "direct": True,
}  # fmt: skip


def manifest_of(run: Path) -> Manifest:
    return Manifest.model_validate_json((run / "data.json").read_text())


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def evaluations(run: Path) -> list[Any]:
    return [event["scores"] for event in read_events(Place.of(str(run))) if event["event"] == "evaluation"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_workers_find_what_a_preparation_finds(workers: int, image_folder: Path, tmp_path: Path) -> None:
    """Counts, statistics, splits and quarantine; with fewer workers than lanes, too."""
    (image_folder / "dark" / "003.png").write_bytes(b"no picture")
    (image_folder / "lonely").mkdir()
    (image_folder / "lonely" / "1.png").write_bytes(picture(99, (8, 8), format="PNG"))
    options = {"min_per_class": 2, "seed": 7}
    prepared = firesteel.prepare(
        image_folder, tmp_path / "dataset", engine="local", workers=1, **options
    ).dataset.manifest
    result = firesteel.train(image_folder, tmp_path / "run", workers=workers, lanes=2, prepare=options, **SMALL)

    found = manifest_of(tmp_path / "run")
    assert found.counts == prepared.counts
    assert found.statistics == prepared.statistics
    assert found.labels == prepared.labels
    assert found.quarantine.reasons == prepared.quarantine.reasons
    assert found.fingerprint == prepared.fingerprint
    assert {name: split.rows_per_class for name, split in found.splits.items()} == {
        name: split.rows_per_class for name, split in prepared.splits.items()
    }
    assert result.rows == 3 * found.splits["train"].rows
    quarantined = [
        row for file in (tmp_path / "run" / "quarantine").iterdir() for row in pq.read_table(file).to_pylist()
    ]
    assert [row["place"] for row in quarantined] == ["dark/003.png"]
    assert len(evaluations(tmp_path / "run")) == 1  # the split test, at the end


def test_arrays_of_a_source_with_a_split_of_its_own(idx_folder: Path, tmp_path: Path) -> None:
    firesteel.train(idx_folder, tmp_path / "run", workers=2, learning_rate=0.01, **(SMALL | {"epochs": 20}))
    found = manifest_of(tmp_path / "run")
    assert {name: split.rows for name, split in found.splits.items()} == {"test": 30, "train": 120}
    assert found.counts.read == found.counts.written == 150
    assert evaluations(tmp_path / "run")[0]["accuracy"] > 0.3


def test_a_run_goes_on_with_the_same_bits(image_folder: Path, tmp_path: Path) -> None:
    options = SMALL | {"workers": 2, "prepare": {"seed": 3}}
    firesteel.train(image_folder, tmp_path / "calm", **options)
    firesteel.train(image_folder, tmp_path / "run", stop="steps:maximum=5", **options)
    assert weights(tmp_path / "run") != weights(tmp_path / "calm")
    firesteel.train(
        image_folder, tmp_path / "run", resume=True, stop=[], evaluate_every="3 epochs", validation_split="test"
    )
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")


def test_a_worker_that_is_lost_is_begun_again(image_folder: Path, tmp_path: Path) -> None:
    """It reads its rows again; the bits are the same."""
    once = tmp_path / "once"
    options = {name: value for name, value in SMALL.items() if name != "model"}
    options |= {"workers": 2, "checkpoint_every": "4 steps"}
    network = "tests.networks:Misbehaving:what=kill,at=6"
    once.touch()
    firesteel.train(image_folder, tmp_path / "calm", model=f"{network},once={once}", **options)
    once.unlink()
    firesteel.train(image_folder, tmp_path / "run", model=f"{network},once={once}", **options)
    assert once.exists()
    assert manifest_of(tmp_path / "run").counts == manifest_of(tmp_path / "calm").counts
    assert weights(tmp_path / "run") == weights(tmp_path / "calm")
    restarts = [event for event in read_events(Place.of(str(tmp_path / "run"))) if event["event"] == "restart"]
    assert len(restarts) == 1


def test_a_source_that_has_changed_is_not_gone_on_with(image_folder: Path, tmp_path: Path) -> None:
    firesteel.train(image_folder, tmp_path / "run", stop="steps:maximum=5", workers=1, **SMALL)
    shutil.copy(image_folder / "dark" / "001.png", image_folder / "dark" / "new.png")
    with pytest.raises(RunError, match=r"was trained on .*pictures, whose fingerprint"):
        firesteel.train(image_folder, tmp_path / "run", resume=True, stop=[])


def test_a_lane_without_a_row_is_said(tmp_path: Path) -> None:
    """All pictures of a part are broken: found before a step is made, with what to do."""
    root = tmp_path / "pictures" / "a"
    root.mkdir(parents=True)
    for number in range(40):
        (root / f"{number}.png").write_bytes(b"broken")
    (root / "whole.png").write_bytes(picture(9, (8, 8), format="PNG"))
    with pytest.raises((WorkerFailed, firesteel.FiresteelError), match=r"has no training row: \d+ read, \d+ unusable"):
        firesteel.train(tmp_path / "pictures", tmp_path / "run", workers=2, prepare={"size": "8x8"}, **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direct": False, "prepare": {"size": "8x8"}}, "size is for a source that the workers read themselves"),
        ({"prepare": {"sise": "8x8"}}, "no option 'sise'. Did you mean 'size'"),
        ({"optimizer": "adem"}, "adem"),
        ({"label": "x"}, "label is for tables and DataFrames"),
    ],
)
def test_wrong_options_are_said_before_anything_is_written(
    options: dict[str, Any], message: str, image_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        firesteel.train(image_folder, tmp_path / "run", workers=1, **(SMALL | options))
    assert not (tmp_path / "run").exists()


def test_tables_are_trained_on_from_a_dataset_or_a_dataframe(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="from a prepared dataset"):
        firesteel.train(tmp_path / "a.csv", tmp_path / "run", label="b", **(SMALL | {"engine": None}))


def test_a_run_on_a_dataset_is_not_gone_on_with_directly(dataset: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name != "direct"}
    firesteel.train(dataset, tmp_path / "run", stop="steps:maximum=5", workers=1, **options)
    with pytest.raises(ConfigError, match="was trained on the prepared dataset"):
        firesteel.train(dataset, tmp_path / "run", resume=True, direct=True, stop=[])
