"""Predictions from raw rows, pictures and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import firesteel
from firesteel.errors import ConfigError, FormatError, RunError, StorageError
from firesteel.formats.images import ImageSpec, decode
from firesteel.models.description import load_model
from firesteel.storage import Place
from tests.conftest import picture


@pytest.fixture
def run(image_folder: Path, tmp_path: Path) -> Path:
    firesteel.prepare(image_folder, tmp_path / "prepared", engine="local", workers=1, size=(8, 8))
    firesteel.train(
        tmp_path / "prepared", tmp_path / "run", engine="local", model="mlp:hidden=[16]", epochs=20, threads=1,
        learning_rate=0.01,
    )  # fmt: skip
    return tmp_path / "run"


def test_probabilities_are_those_of_the_network_on_normalised_rows(run: Path) -> None:
    """The formula of the description, written out: (value * scale - mean) / std."""
    predictor = firesteel.Predictor(run)
    rows = np.random.default_rng(0).integers(0, 256, (5, *predictor.input_shape)).astype(np.uint8)
    given = rows.copy()
    found = predictor.probabilities(rows)
    normal = predictor.description.normalization
    shape = (1, -1, 1, 1)
    values = (rows * normal.scale - np.reshape(normal.mean, shape)) / np.reshape(normal.std, shape)
    model = load_model(Place.of(run / "model"), predictor.description)
    expected = model(torch.from_numpy(values.astype(np.float32))).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows, given)  # what the caller gave is not written to


def test_float_rows_are_not_written_to(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    predictor = _trained_on_arrays(values, tmp_path)
    given = values.copy()
    predictor.probabilities(values)
    np.testing.assert_array_equal(values, given)
    with pytest.raises(ConfigError, match="takes arrays of shape"):
        predictor.decode(picture(1))


def _trained_on_arrays(values: np.ndarray, tmp_path: Path) -> firesteel.Predictor:
    from firesteel.data.manifest import Feature, Statistics
    from firesteel.models import build_model, resolve_model
    from firesteel.models.description import ModelDescription, save_model
    from firesteel.specs import Spec

    model = build_model(resolve_model("mlp"), input_shape=(4,), num_classes=2, seed=0)
    description = ModelDescription(
        model=Spec(name="mlp"), feature=Feature(dtype="float32", shape=(4,), kind="array"),
        normalization=Statistics(mean=[1.0] * 4, std=[2.0] * 4, scale=1.0), labels=["no", "yes"], parameters=1,
    )  # fmt: skip
    save_model(Place.of(tmp_path / "model"), model, description)
    return firesteel.Predictor(tmp_path / "model")


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_the_batch_size_changes_nothing(batch_size: int, run: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (7, *firesteel.Predictor(run).input_shape)).astype(np.uint8)
    some = firesteel.Predictor(run, batch_size=batch_size).probabilities(rows)
    np.testing.assert_allclose(some, firesteel.Predictor(run).probabilities(rows), atol=1e-6)
    assert firesteel.Predictor(run).probabilities(rows[:0]).shape == (0, len(firesteel.Predictor(run).labels))


def test_files_of_any_size_are_predicted_as_they_were_prepared(run: Path, image_folder: Path, tmp_path: Path) -> None:
    predictor = firesteel.Predictor(run)
    files = sorted(image_folder.rglob("*.png"))
    right = [found.label == file.parent.name for file, found in zip(files, predictor.predict_files(files))]
    assert sum(right) > 0.9 * len(files)
    big = tmp_path / "big.png"
    big.write_bytes(picture(200, (40, 30), format="PNG"))
    channels, height, width = predictor.input_shape
    expected = decode(big.read_bytes(), ImageSpec(height, width, channels)).pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(predictor.decode(big.read_bytes()), expected)


def test_the_top_classes_come_in_order(run: Path) -> None:
    predictor = firesteel.Predictor(run)
    (found,) = predictor.predict_pictures([picture(200, format="PNG")], top=3)
    assert len(found.labels) == len(found.probabilities) == min(3, len(predictor.labels))
    assert found.probabilities == sorted(found.probabilities, reverse=True)
    assert found.label == found.labels[0]
    with pytest.raises(ConfigError, match="top must be at least 1, got 0"):
        predictor.predict_pictures([picture(200)], top=0)


def test_what_cannot_be_predicted_is_named(run: Path, tmp_path: Path) -> None:
    predictor = firesteel.Predictor(run)
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(FormatError, match=r"note\.txt: not a picture"):
        predictor.predict_files([tmp_path / "note.txt"])
    with pytest.raises(StorageError, match=r"gone\.png"):
        predictor.predict_files([tmp_path / "gone.png"])
    with pytest.raises(ConfigError, match=r"must have shape \(N, 1, 8, 8\)|must have shape \(N, 3, 8, 8\)"):
        predictor.probabilities(np.zeros((2, 5), np.uint8))
    with pytest.raises(RunError, match="no run and no model"):
        firesteel.Predictor(tmp_path / "nothing")


@pytest.mark.parametrize(("batch_size", "workers"), [(1, None), (7, 1), (7, 3), (256, 2)])
def test_many_pictures_are_predicted_in_order_as_one_by_one(
    batch_size: int, workers: int | None, run: Path, image_folder: Path
) -> None:
    (image_folder / "dark" / "005x.png").write_bytes(b"no picture")
    (image_folder / "notes.txt").write_text("not asked for")
    files = sorted(image_folder.rglob("*.png"))
    found = list(firesteel.Predictor(run, batch_size=batch_size).predict_each([image_folder], top=3, workers=workers))
    assert [outcome.place for outcome in found] == [str(file) for file in files]
    assert [outcome.place for outcome in found if outcome.problem] == [str(image_folder / "dark" / "005x.png")]
    predictor = firesteel.Predictor(run)
    for outcome in found:
        if outcome.prediction is not None:
            (alone,) = predictor.predict_files([outcome.place], top=3)
            assert outcome.prediction.labels == alone.labels
            np.testing.assert_allclose(outcome.prediction.probabilities, alone.probabilities, atol=1e-6)


def test_feature_vectors_of_arrays_and_of_files_are_the_same(run: Path, image_folder: Path) -> None:
    predictor = firesteel.Predictor(run)
    files = sorted(image_folder.rglob("*.png"))[:9]
    rows = np.stack([predictor.decode(file.read_bytes()) for file in files])
    vectors = predictor.embed(rows)
    assert (vectors.shape, vectors.dtype) == ((9, 16), np.float32)  # of mlp:hidden=[16]
    found = list(predictor.embed_each([*files, "gone.png"], workers=2))
    np.testing.assert_allclose(np.stack([each.vector for each in found[:9]]), vectors, atol=1e-5)
    assert (found[9].vector, found[9].problem) == (None, "there is no such file")
    with pytest.raises(ConfigError, match="no layer 'x'"):
        predictor.embed(rows, "x")


def test_the_threads_of_torch_are_given_back(run: Path, image_folder: Path) -> None:
    before = torch.get_num_threads()
    predicting = firesteel.Predictor(run, batch_size=2).predict_each([image_folder], workers=2)
    next(predicting)
    predicting.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == before


def test_arrays_that_may_not_be_written_to_are_taken(run: Path) -> None:
    predictor = firesteel.Predictor(run)
    rows = np.zeros((2, *predictor.input_shape), predictor.description.feature.dtype)
    expected = predictor.probabilities(rows)
    rows.flags.writeable = False
    np.testing.assert_array_equal(predictor.probabilities(rows), expected)
    np.testing.assert_array_equal(predictor.probabilities(rows[::-1]), expected)


def test_wrong_numbers_are_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        firesteel.Predictor(run, batch_size=0)
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N, got 'gpu'"):
        firesteel.Predictor(run, device="gpu")
    with pytest.raises(ConfigError, match="top must be at least 1"):
        next(firesteel.Predictor(run).predict_each([], top=0))
