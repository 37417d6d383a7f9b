"""What a run leaves: its job, its events, its model, and what each of them says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firesteel
from firesteel.data.manifest import Dataset
from firesteel.data.shards import read_slice
from firesteel.errors import ModelError, RunError, StorageError, WorkerFailed
from firesteel.monitoring.events import EventReader, EventWriter, read_events
from firesteel.monitoring.progress import status_line
from firesteel.monitoring.state import RunState
from firesteel.storage import Place


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Path:
    firesteel.train(
        dataset, tmp_path / "run", model="mlp:hidden=[16]", epochs=30, batch_size=10, workers=2, threads=1,
        learning_rate=0.01, sync="average:every=3", engine="local",
    )  # fmt: skip
    return tmp_path / "run"


def test_a_run_is_learned_evaluated_and_predicted(run: Path, dataset: Path) -> None:
    """Ten classes that differ by brightness are told apart by a small network."""
    result = firesteel.evaluate(run, dataset)
    assert result.rows == 30
    assert result.accuracy > 0.5  # chance is 0.1
    assert result.confusion.sum() == 30
    opened = Dataset.open(str(dataset))
    shard = opened.split("test").shards[0]
    features, labels = next(read_slice(opened.place, shard, opened.feature, 0, shard.rows))
    predictor = firesteel.Predictor(run)
    probabilities = predictor.probabilities(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    if len(opened.split("test").shards) == 1:
        assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(result.accuracy)


@pytest.mark.parametrize("workers", [2, 3])
def test_evaluation_by_several_workers_counts_each_row_once(workers: int, run: Path, dataset: Path) -> None:
    alone = firesteel.evaluate(run, dataset, workers=1, threads=1)
    together = firesteel.evaluate(run, dataset, workers=workers, threads=1, batch_size=4)
    np.testing.assert_array_equal(alone.confusion, together.confusion)
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.top5 == alone.top5


def test_the_events_tell_the_run(run: Path) -> None:
    events = read_events(Place.of(run))
    kinds = [event["event"] for event in events]
    assert kinds.count("start") == kinds.count("end") == 2
    assert kinds.count("epoch") == 60
    assert kinds[0] == "launch"
    state = RunState().add(events)
    assert state.status == "done"
    assert (state.step, state.total_steps) == (180, 180)
    assert state.summary["steps"] == 180
    assert len(state.epoch_scores) == 30
    assert state.epoch_scores[29] == pytest.approx(state.summary["score"])
    assert state.epoch_scores[29] < state.epoch_scores[0]
    assert "step 180/180" in status_line(state)


def test_rows_of_every_epoch_add_up(run: Path) -> None:
    rows: dict[int, int] = {}
    for event in read_events(Place.of(run)):
        if event["event"] == "epoch":
            rows[event["epoch"]] = rows.get(event["epoch"], 0) + event["rows"]
    assert rows == dict.fromkeys(range(30), 120)


def test_a_reader_sees_events_as_they_come_and_no_half_line(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    reader = EventReader(place)
    assert reader.new() == []
    with EventWriter(place, 0) as events:
        events.write("warning", message="one")
        assert [event["message"] for event in reader.new()] == ["one"]
    path = tmp_path / "events" / "worker-00000.jsonl"
    line = json.dumps({"event": "warning", "time": 1.0, "worker": 0, "message": "two"})
    with path.open("a") as file:
        file.write(line[:20])
    assert reader.new() == []
    with path.open("a") as file:
        file.write(line[20:] + "\n")
    assert [event["message"] for event in reader.new()] == ["two"]


def test_the_model_folder_stands_by_itself(run: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for file in (run / "model").iterdir():
        (tmp_path / "elsewhere" / file.name).write_bytes(file.read_bytes())
    assert firesteel.evaluate(tmp_path / "elsewhere", dataset).accuracy == firesteel.evaluate(run, dataset).accuracy


def test_a_model_from_a_file_calls_no_function_that_does_not_say_it_makes_models(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    """A description that names os.system must not run it."""
    description = run / "model" / "model.json"
    value = json.loads(description.read_text())
    flag = tmp_path / "owned"
    value["model"] = {"name": "os:system", "options": {"command": f"touch {flag}"}}
    description.write_text(json.dumps(value))
    with pytest.raises(ModelError, match="not called on a file"):
        firesteel.Predictor(run)
    assert not flag.exists()


def test_a_factory_that_does_not_declare_its_result_must_be_confirmed(dataset: Path, tmp_path: Path) -> None:
    name = "tests.networks:undeclared"
    firesteel.train(dataset, tmp_path / "run", model=name, epochs=1, engine="local")
    with pytest.raises(ModelError, match=r"--model tests\.networks:undeclared"):
        firesteel.evaluate(tmp_path / "run", dataset)
    assert firesteel.evaluate(tmp_path / "run", dataset, model=name).rows == 30


def test_shared_weights_are_saved_once_and_loaded_shared(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", model="tests.networks:Tied", epochs=1, engine="local")
    assert firesteel.evaluate(tmp_path / "run", dataset).rows == 30


def test_a_model_of_another_shape_is_refused(run: Path, tmp_path: Path, image_folder: Path) -> None:
    firesteel.prepare(image_folder, tmp_path / "other", engine="local", workers=1)
    with pytest.raises(RunError, match="the model takes 1x8x8 uint8"):
        firesteel.evaluate(run, tmp_path / "other")


def test_classes_that_the_model_does_not_know_are_refused(tmp_path: Path, image_folder: Path) -> None:
    firesteel.prepare(image_folder, tmp_path / "three", engine="local", workers=1)
    firesteel.train(tmp_path / "three", tmp_path / "run", model="mlp:hidden=[]", epochs=1, engine="local")
    (image_folder / "white").rename(image_folder / "blinding")
    firesteel.prepare(image_folder, tmp_path / "renamed", engine="local", workers=1)
    with pytest.raises(RunError, match=r"1 classes that the model does not know \('blinding'\)"):
        firesteel.evaluate(tmp_path / "run", tmp_path / "renamed")


def test_a_damaged_weights_file_is_named(run: Path) -> None:
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        firesteel.Predictor(run)


def test_rows_that_do_not_fit_into_memory_give_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    options = {"model": "mlp", "epochs": 2, "engine": "local", "threads": 1}
    firesteel.train(dataset, tmp_path / "memory", **options)
    firesteel.train(dataset, tmp_path / "disk", memory_bytes=0, prefetch=3, scratch=str(tmp_path), **options)
    starts = [event for event in read_events(Place.of(tmp_path / "disk")) if event["event"] == "start"]
    assert starts[0]["in_memory"] is False
    model = Path("model/model.safetensors")
    assert (tmp_path / "memory" / model).read_bytes() == (tmp_path / "disk" / model).read_bytes()
    assert not list(tmp_path.glob("firesteel-rows-*"))


def test_firesteel_works_without_pyspark(dataset: Path, tmp_path: Path) -> None:
    """Everything but firesteel.spark is imported, and a run trained and evaluated, where pyspark cannot be imported."""
    code = f"""
import sys, pkgutil, importlib
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "py4j"):
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
import firesteel
for module in pkgutil.walk_packages(firesteel.__path__, "firesteel."):
    if not module.name.startswith("firesteel.spark") and module.name != "firesteel.spark":
        importlib.import_module(module.name)
firesteel.train({str(dataset)!r}, {str(tmp_path / "run")!r}, model="mlp", epochs=1, workers=2, engine="local")
assert firesteel.evaluate({str(tmp_path / "run")!r}, {str(dataset)!r}).rows == 30
assert not any(name.split(".")[0] == "pyspark" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True, cwd=tmp_path)


def test_import_of_firesteel_is_cheap() -> None:
    """``import firesteel`` loads neither torch nor pyspark."""
    code = "import sys, firesteel; assert not {'torch', 'pyspark', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_the_list() -> None:
    assert sorted(firesteel.__all__) == [
        "Analysis", "Dataset", "Evaluation", "ExportResult", "FiresteelError", "ImportResult", "Join", "ModelSummary",
        "Prediction", "Predictor", "Schema", "TrainResult", "TransformProcess", "__version__", "analyze", "build_index",
        "compute_features", "evaluate", "export_images", "export_model", "import_model", "merge", "prepare", "similar",
        "summary", "train", "transform",
    ]  # fmt: skip
    for name in firesteel.__all__:
        assert getattr(firesteel, name) is not None


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_run_that_is_overwritten_stays_until_the_new_one_has_a_model(
    where: str, run: Path, dataset: Path, tmp_path: Path
) -> None:
    """Whatever befalls the new run, the old model is not lost."""
    place = Place.of(tmp_path / "again" if where == "folder" else "memory://test-overwrite/run")
    options: dict[str, Any] = {"engine": "local", "epochs": 3, "threads": 1, "batch_size": 16, "overwrite": True}
    firesteel.train(dataset, place, model="mlp:hidden=[5]", **options)

    with pytest.raises(ModelError):  # before its first step: as if nothing had been
        firesteel.train(dataset, place, model="tests.networks:raising", **options)
    assert firesteel.Predictor(place).description.model.options == {"hidden": [5]}
    assert not (place / "replaced").exists()

    broken: dict[str, Any] = {"model": "tests.networks:Misbehaving:rank=0,at=9", **options}
    for _ in range(2):  # in the middle: its log is kept, and the old run beside it
        with pytest.raises(WorkerFailed):
            firesteel.train(dataset, place, **broken)
        assert not (place / "model").exists()
        assert firesteel.Predictor(place / "replaced").description.model.options == {"hidden": [5]}

    firesteel.train(dataset, place, model="mlp:hidden=[6]", **options)
    assert firesteel.Predictor(place).description.model.options == {"hidden": [6]}
    assert not (place / "replaced").exists()
    place.delete()


def test_a_run_that_cannot_be_claimed_leaves_the_old_one_in_its_place(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"engine": "local", "model": "mlp:hidden=[5]", "epochs": 1, "threads": 1}
    firesteel.train(dataset, tmp_path / "run", **options)
    before = (tmp_path / "run" / "job.json").read_bytes()

    def full(place: Place, text: str) -> None:
        raise StorageError(f"cannot write {place}: No space left on device")

    monkeypatch.setattr(Place, "write_text", full)
    with pytest.raises(StorageError, match="No space left"):
        firesteel.train(dataset, tmp_path / "run", overwrite=True, **options)
    assert (tmp_path / "run" / "job.json").read_bytes() == before
    assert firesteel.Predictor(tmp_path / "run").labels
    assert not (tmp_path / "run" / "replaced").exists()
