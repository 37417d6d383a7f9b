"""The algebra of the strategies, on real groups of two gloo processes."""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import firesteel
from firesteel.data.loader import Batch
from firesteel.errors import ConfigError
from firesteel.local import LocalProcesses
from firesteel.sync import STRATEGIES, check_sync, make_sync
from firesteel.world import Meeting, World


def trained(dataset: Path, run: Path, **options: Any) -> dict[str, Tensor]:
    """The weights after training a small network."""
    import safetensors.torch

    defaults = {"model": "mlp:hidden=[8]", "epochs": 2, "batch_size": 8, "threads": 1, "engine": "local", "seed": 3}
    firesteel.train(dataset, run, **(defaults | options))
    return safetensors.torch.load_file(run / "model" / "model.safetensors")


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor], **tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], **tolerance)


def test_all_reduce_of_two_equals_one_with_twice_the_batch(dataset: Path, tmp_path: Path) -> None:
    two = trained(
        dataset, tmp_path / "two", workers=2, sync="allreduce", batch_size=7, optimizer="sgd", learning_rate=0.1
    )
    one = trained(dataset, tmp_path / "one", workers=1, lanes=2, batch_size=14, optimizer="sgd", learning_rate=0.1)
    assert_same(two, one, rtol=1e-4, atol=1e-6)


def test_averaging_every_step_with_sgd_equals_all_reduce(dataset: Path, tmp_path: Path) -> None:
    options = {"workers": 2, "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 7}
    averaged = trained(dataset, tmp_path / "average", sync="average:every=1", **options)
    reduced = trained(dataset, tmp_path / "reduce", sync="allreduce", **options)
    assert_same(averaged, reduced, rtol=1e-4, atol=1e-6)


def test_averaging_with_momentum_needs_the_optimizer_state_to_equal_all_reduce(dataset: Path, tmp_path: Path) -> None:
    options = {"workers": 2, "optimizer": "sgd:momentum=0.9", "learning_rate": 0.05}
    reduced = trained(dataset, tmp_path / "reduce", sync="allreduce", **options)
    with_state = trained(dataset, tmp_path / "with", sync="average:every=1,optimizer_state=yes", **options)
    assert_same(with_state, reduced, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("sync", "workers"),
    [
        ("none", 1),
        ("allreduce", 1),
        ("allreduce", 2),
        ("allreduce:powersgd=1,powersgd_start=2", 2),
        ("average:every=3", 2),
        ("diloco:every=3", 2),
    ],
)
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(
    sync: str, workers: int, dataset: Path, tmp_path: Path
) -> None:
    options = {"workers": workers, "optimizer": "sgd:momentum=0.9", "learning_rate": 0.05, "batch_size": 7}
    whole = trained(dataset, tmp_path / "whole", sync=sync, **options)
    parts = trained(dataset, tmp_path / "parts", sync=f"{sync}{',' if ':' in sync else ':'}accumulate=3", **options)
    assert_same(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "sync",
    ["allreduce", "allreduce:communication=bf16", "average:every=3", "threshold", "diloco:every=3", "async:every=2"],
)
def test_buffers_are_the_same_on_all_workers_at_the_end(sync: str, dataset: Path, tmp_path: Path) -> None:
    """Batch-norm statistics of the saved model are the mean over the workers, not those of rank 0."""
    state = trained(dataset, tmp_path / "run", model="tests.networks:WithBatchNorm", workers=2, sync=sync, epochs=1)
    assert torch.isfinite(state["layers.1.running_mean"]).all()
    results = LocalProcesses().run(_buffers_after_a_step, sync, workers=2, meet=True, timeout_s=60)
    assert results[0] == results[1]


def _buffers_after_a_step(sync: str, world: World, meeting: Meeting | None) -> list[float]:
    assert meeting is not None
    with meeting.process_group():
        torch.manual_seed(world.rank)  # on_start must make them equal all the same
        model = nn.BatchNorm1d(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        strategy = make_sync(check_sync(sync, 2))
        module = strategy.on_start(model, optimizer, world)
        features = torch.full((4, 2), float(world.rank)) + torch.arange(4.0)[:, None]
        batch = Batch(features, torch.zeros(4), 4, 8)
        strategy.before_backward(module(features).sum(), batch).backward()
        strategy.after_backward(batch)
        optimizer.step()
        strategy.after_step(batch)
        strategy.on_epoch_end()
    # Means of the features are 1.5 and 2.5; batch norm's momentum is 0.1: the weighted mean is 0.1 * 2.
    assert model.running_mean is not None
    torch.testing.assert_close(model.running_mean, torch.full((2,), 0.2))
    return model.running_mean.tolist()


def test_the_mean_is_weighted_by_rows() -> None:
    """A worker that saw three rows counts three times as much as one that saw one."""
    for values in LocalProcesses().run(_weighted_round, None, workers=2, meet=True, timeout_s=60):
        assert values == pytest.approx([(3 * 0.0 + 1 * 1.0) / 4] * 2)


def _weighted_round(payload: None, world: World, meeting: Meeting | None) -> list[float]:
    assert meeting is not None
    with meeting.process_group():
        model = nn.Linear(1, 2, bias=False)
        strategy = make_sync(check_sync("average:every=1", 2))
        strategy.on_start(model, torch.optim.SGD(model.parameters(), lr=1.0), world)
        nn.init.constant_(model.weight, float(world.rank))
        rows = 3 if world.rank == 0 else 1
        strategy.after_step(Batch(torch.zeros(rows, 1), torch.zeros(rows), rows, 4))
    return model.weight.flatten().tolist()


def test_a_row_less_step_has_no_effect() -> None:
    """121 rows for two workers with batches of one: one worker has a step without a row."""
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model.state_dict())
    strategy = make_sync(check_sync("none", 1))
    loss = strategy.before_backward(model(torch.ones(1, 2)).sum(), Batch(torch.ones(1, 2), torch.zeros(1), 0, 1))
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert_same(before, model.state_dict(), rtol=0, atol=0)


def test_all_workers_end_with_every_batch_size(dataset: Path, tmp_path: Path) -> None:
    for batch_size in (1, 59, 60, 61, 1000):
        result = firesteel.train(
            dataset, tmp_path / f"run{batch_size}", model="mlp:hidden=[]", epochs=1, workers=2, batch_size=batch_size,
            threads=1, engine="local",
        )  # fmt: skip
        assert result.rows == 120
        assert result.steps == -(-60 // batch_size)


@pytest.mark.parametrize(
    ("sync", "workers", "message"),
    [
        ("avarage:every=5", 2, "Did you mean 'average'"),
        ("average:evry=5", 2, "Did you mean 'every'"),
        ("average:every=0", 2, "every must be a whole number"),
        ("average:every=yes", 2, "every must be a whole number"),
        ("average:optimizer_state=3", 2, "must be yes or no"),
        ("allreduce:bucket_mb=-1", 2, "above 0"),
        ("none", 2, "2 different models"),
        ("none:every=5", 1, "has no option 'every'"),
        ("average:weighting=row", 2, "must be rows or equal, got 'row'. Did you mean 'rows'"),
        ("average:weighting=3", 2, "must be rows or equal, got 3"),
        ("allreduce:communication=f16", 2, "must be fp32, bf16 or fp16, got 'f16'. Did you mean 'fp16'"),
        ("allreduce:powersgd=0", 2, "a whole number of columns .* 1 or more, got 0"),
        ("allreduce:powersgd=2,powersgd_start=1", 2, "a whole number of steps, 2 or more, got 1"),
        ("allreduce:powersgd_start=10", 2, "has an effect with powersgd=... only, and there is no powersgd"),
        ("allreduce:powersgd=2,communication=fp16", 2, "has an effect with no powersgd only, and there is powersgd=2"),
        ("allreduce:bucket_mb=NaN", 2, "a number of MiB above 0, got nan"),
        ("threshold:algorithm=adaptve", 2, "must be adaptive, target or fixed.* Did you mean 'adaptive'"),
        ("threshold:threshold=0", 2, "must be a number above 0, got 0"),
        ("threshold:density=0.1", 2, "has an effect with algorithm=target only, and there is no algorithm"),
        ("threshold:algorithm=fixed,decay=0.9", 2, "adaptive or algorithm=target only, and there is algorithm=fixed"),
        ("threshold:decay=1", 2, "above 0 and below 1, got 1"),
        ("threshold:max_density=2", 2, "above 0 and at most 1, got 2"),
        ("threshold:min_density=0.1", 2, "min_density must be at most max_density, got 0.1 and 0.02"),
        ("threshold:clip_every=5", 2, "has an effect with clip=... only"),
        ("threshold:updates=yes", 2, "must be mean or sum, got True"),
        ("threshold:clip=x", 2, "must be a number of thresholds above 0, got 'x'"),
        ("diloco:outer_momentum=1", 2, "at least 0 and below 1, got 1"),
        ("diloco:outer_lr=1", 2, "has no option 'outer_lr'"),
        ("diloco:communication=bf16", 2, "must be fp32 or fp16, got 'bf16'"),
        ("async:moving_rate=1.5", 2, "above 0 and at most 1, got 1.5"),
        ("asink", 2, "There are none, allreduce, average, threshold, diloco, async. Did you mean 'async'"),
        ("threshold:accumulate=0", 2, "a whole number of parts, 1 or more, got 0"),
    ],
)
def test_a_wrong_strategy_is_refused_with_advice(sync: str, workers: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_sync(sync, workers)


def test_a_strategy_is_checked_without_torch() -> None:
    code = "import sys; from firesteel.sync import check_sync; check_sync('threshold:clip=5', 2); assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_has_the_options_of_the_class(name: str) -> None:
    """And a strategy is built from each of them with its own default."""
    known = STRATEGIES[name]
    parameters = inspect.signature(getattr(importlib.import_module(known.module), known.name)).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert list(known.options) == list(defaults)
    for key, value in defaults.items():
        off = value is None or (key == "powersgd" and value == 0)
        assert off or known.options[key].fits(value), key
    assert make_sync(check_sync(f"{name}:accumulate=3", 1)).accumulate == 3
