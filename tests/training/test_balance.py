"""Augmentation, class weights and sampling in training: what they compute, the same on any number of workers, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import firesteel
from firesteel.data.augmentation import Policy, draw, step_keys
from firesteel.data.augmentation.apply import apply
from firesteel.data.cache import Rows
from firesteel.data.loader import Loader, Normalizer
from firesteel.data.manifest import Dataset
from firesteel.data.order import Order
from firesteel.errors import ConfigError
from firesteel.specs import parse_spec
from firesteel.training.class_weights import class_weights
from firesteel.world import World
from tests.data.test_balance import write_classes
from tests.training.test_checkpoint import ALL, only, resumed

ALL_OF_IT: dict[str, Any] = {
    "augment": "upright",
    "class_weights": "effective:beta=0.99",
    "sampling": "balanced:power=0.5",
}
SMALL: dict[str, Any] = {"engine": "local", "threads": 1, "epochs": 2, "seed": 5, "model": "mlp:hidden=[8]"}


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A prepared dataset with 32, 8 and 2 training rows a class."""
    write_classes(tmp_path / "src", {"a": 40, "bb": 10, "ccc": 2})
    firesteel.prepare(tmp_path / "src", tmp_path / "uneven", engine="local", workers=1)
    return tmp_path / "uneven"


# -- weights ------------------------------------------------------------------------------------------------------------


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    rows = [70, 20, 3, 7]
    labels = np.repeat(np.arange(4), rows)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights(parse_spec("balanced"), rows), expected, rtol=1e-12)
    np.testing.assert_allclose(class_weights(parse_spec("balanced"), [70, 0, 20, 10])[1], 0)


def test_effective_weights_are_those_of_the_paper_up_to_their_scale() -> None:
    """Cui et al., equation 2: proportional to (1 - beta) / (1 - beta ** n)."""
    rows, beta = np.array([5000, 500, 50, 1]), 0.999
    found = np.array(class_weights(parse_spec(f"effective:beta={beta}"), rows.tolist()))
    paper = (1 - beta) / (1 - beta**rows)
    np.testing.assert_allclose(found / found[0], paper / paper[0], rtol=1e-10)
    for name in ("balanced", "balanced:power=0.5", "effective", "effective:beta=0", "effective:beta=0.9999999"):
        weights = np.array(class_weights(parse_spec(name), rows.tolist()))
        assert (weights * rows).sum() / rows.sum() == pytest.approx(1)
    np.testing.assert_allclose(class_weights(parse_spec("effective:beta=0"), rows.tolist()), 1)
    near = class_weights(parse_spec("effective:beta=0.9999999999"), rows.tolist())
    np.testing.assert_allclose(near, class_weights(parse_spec("balanced"), rows.tolist()), rtol=1e-4)
    assert class_weights(parse_spec("none"), rows.tolist()) is None


def test_the_weighted_loss_is_torchs_sum_over_rows() -> None:
    from firesteel.training.job import TrainJob
    from firesteel.training.worker import _loss

    job = TrainJob(dataset="d", fingerprint="f", model="cnn", input_shape=(1, 8, 8), num_classes=3)
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([0, 0, 1, 2, 2, 0, 1]), torch.tensor([0.5, 1.0, 4.0])
    each = nn.functional.cross_entropy(logits, labels, weights, reduction="none")
    torch.testing.assert_close(_loss(job, weights, logits, labels), each.sum() / 7)
    torch.testing.assert_close(_loss(job, torch.ones(3), logits, labels), _loss(job, None, logits, labels))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_change_what_is_learnt(
    precision: str, uneven: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    for name in ("none", "balanced"):
        firesteel.train(uneven, tmp_path / name, class_weights=name, batch_size=8, precision=precision, **SMALL)
    assert weights(tmp_path / "none") != weights(tmp_path / "balanced")


# -- workers and resuming -----------------------------------------------------------------------------------------------


def test_workers_together_are_one_worker_with_the_whole_batch(uneven: Path, tmp_path: Path) -> None:
    """All-reduce: weighted loss, sampled rows and augmented pictures are those of one worker with equal lanes."""
    options = SMALL | ALL_OF_IT | {"optimizer": "sgd", "learning_rate": 0.1, "lanes": 2}
    firesteel.train(uneven, tmp_path / "one", batch_size=10, **options)
    firesteel.train(uneven, tmp_path / "two", batch_size=5, workers=2, **options)
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_on_to_the_same_bits(
    workers: int, uneven: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    """From the middle of an epoch and from its end, with all three, and what draws random numbers of its own."""
    options = SMALL | ALL_OF_IT | {"workers": workers, "batch_size": 8, "model": "tests.networks:Everything"}
    options["augment"] = ["flip", "noise", "erase", "blur", "rotate:border=reflect"]
    firesteel.train(uneven, tmp_path / "run", **options, **ALL)
    steps = len(list((tmp_path / "run" / "checkpoints").glob("step-*")))
    for step in (1, steps // 2, steps - 1) if workers == 1 else (steps // 2,):
        run = only(tmp_path / "run", step, tmp_path / f"from-{step}")
        resumed(uneven, run)
        assert weights(run) == weights(tmp_path / "run"), step


def test_sampling_stays_and_the_others_may_change(uneven: Path, tmp_path: Path) -> None:
    firesteel.train(uneven, tmp_path / "run", batch_size=8, augment="light", **SMALL)
    with pytest.raises(ConfigError, match="a run keeps its sampling, which decides the order of its rows"):
        resumed(uneven, tmp_path / "run", epochs=3, sampling="balanced")
    resumed(uneven, tmp_path / "run", epochs=3, augment="none", class_weights="balanced")
    said = [event["message"] for event in events_of(tmp_path / "run", "launcher") if event["event"] == "warning"]
    assert "augment light -> None" in said
    assert "class_weights none -> balanced" in said


def events_of(run: Path, log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events" / f"{log}.jsonl").read_text().splitlines()]


def test_what_an_epoch_shows_is_said_and_counted(uneven: Path, tmp_path: Path) -> None:
    """A third of the rows of each class; the different ones are counted by the workers."""
    firesteel.train(uneven, tmp_path / "run", batch_size=8, workers=2, sampling="balanced", **SMALL)
    said = [event["message"] for event in events_of(tmp_path / "run", "launcher") if event["event"] == "warning"]
    assert any(
        message.startswith("sampling by class: an epoch of 42 rows shows about 24 different ones") for message in said
    )
    counted = [
        event
        for rank in (0, 1)
        for event in events_of(tmp_path / "run", f"worker-0000{rank}")
        if event["event"] == "sampled"
    ]
    for epoch in (0, 1):
        assert sum(event["distinct_rows"] for event in counted if event["epoch"] == epoch) == pytest.approx(24, abs=3)
    steps = [event for event in events_of(tmp_path / "run", "worker-00000") if event["event"] == "start"]
    assert steps[0]["steps_per_epoch"] == 3


# -- augmented batches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_augmented_then_normalised(prefetch: int) -> None:
    """By the place of a row in its epoch, whatever is fetched ahead; each epoch anew, each place by itself."""
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8), 20, axis=0)
    rows = Rows(pixels, np.arange(20, dtype=np.int64), in_memory=True)
    order, policy = Order((20,), 1, 6, seed=3), Policy.of("upright")
    normalize = Normalizer.of([0.5] * 3, [0.2] * 3, 1 / 255, 3, torch.device("cpu"))
    loader = Loader(rows, order, World(), normalize, prefetch=prefetch, augment=policy)
    epochs = [torch.cat([batch.features for batch in loader.epoch(epoch)]) for epoch in (0, 1)]

    expected = normalize(apply(draw(policy, step_keys(3, 0, np.arange(20)), (3, 8, 8)), torch.from_numpy(pixels)))
    assert torch.equal(epochs[0], expected)
    assert not torch.equal(epochs[0], epochs[1])
    assert len({row.numpy().tobytes() for row in epochs[0]}) == 20
    later = [batch.features for batch in loader.epoch(0, first_step=2)]
    assert torch.equal(torch.cat(later), expected[order.batch(order.permutations(0, 0, 1), 0, 0, 1).size * 2 :])


def test_a_worker_without_rows_at_a_step_stands_in() -> None:
    rows = Rows(np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, np.int64), in_memory=True)
    loader = Loader(
        rows, Order((2,), 1, 1, seed=0), World(rank=2, world_size=3), Normalizer.of([0.0], [1.0], 1.0, 3, torch.device("cpu")),
        augment=Policy.of("default"),
    )  # fmt: skip
    for batch in loader.epoch(0):
        assert len(batch.features) == 1


def test_the_same_policy_file_serves_prepare_and_train(uneven: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("operations:\n- {name: rotate90, degrees: [180]}\n")
    firesteel.prepare(tmp_path / "src", tmp_path / "more", engine="local", workers=1, balance=10, policy=str(file))
    firesteel.train(tmp_path / "more", tmp_path / "run", augment=str(file), batch_size=8, **SMALL)
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    manifest = Dataset.open(str(tmp_path / "more")).manifest
    assert job["augment"] == manifest.parameters["policy"] == Policy.of(file).model_dump(mode="json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "heavy"}, "there is no policy 'heavy'"),
        ({"augment": ["flip:axis=x"]}, "operation 1, flip: axis:"),
        ({"class_weights": "balance"}, "Did you mean 'balanced'"),
        ({"class_weights": "effective:beta=1"}, "beta must be a number from 0 and below 1, got 1"),
        ({"class_weights": "balanced:power=-1"}, "power must be a number from 0 and at most 1"),
        ({"sampling": "classes"}, "sampling must be one of uniform, balanced"),
    ],
)
def test_wrong_options_are_refused_before_a_run_is_made(
    options: dict[str, Any], message: str, uneven: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        firesteel.train(uneven, tmp_path / "run", **SMALL, **options)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_arrays_are_not_augmented(tmp_path: Path) -> None:
    from tests.conftest import write_idx

    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx" / "train-images-idx2-ubyte", np.zeros((6, 4), np.uint8))
    write_idx(tmp_path / "idx" / "train-labels-idx1-ubyte", np.array([0, 0, 0, 0, 1, 1], np.uint8))
    firesteel.prepare(tmp_path / "idx", tmp_path / "ds", engine="local", workers=1)
    with pytest.raises(ConfigError, match="--augment is for pictures"):
        firesteel.train(tmp_path / "ds", tmp_path / "run", augment="light", **SMALL)
    firesteel.train(tmp_path / "ds", tmp_path / "run", class_weights="balanced", batch_size=2, **SMALL)
