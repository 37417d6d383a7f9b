"""All-reduce against torch's own DistributedDataParallel and its communication hooks, as oracles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from firesteel.errors import ConfigError
from firesteel.world import World
from tests.sync.small import Training, batch_at, equal_on_all_ranks, in_group, network, parameters_of

STEPS = 8


def with_torch(world: World, hook: str) -> tuple[nn.Module, Any]:
    """What a user would write: the module and the state of its hook."""
    model = network(batch_norm=False)
    module = DistributedDataParallel(model, gradient_as_bucket_view=True)
    state = None
    if hook == "powersgd":
        state = PowerSGDState(None, 2, 3, 2, orthogonalization_epsilon=1e-8)
        module.register_comm_hook(state, powerSGD_hook)
    elif hook == "fp16":
        module.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif hook == "bf16":
        module.register_comm_hook(None, lambda group, bucket: default_hooks.bf16_compress_hook(group, bucket))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(STEPS):
        batch = batch_at(number, world, equal_rows=True)
        nn.functional.cross_entropy(module(batch.features), batch.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, state


@pytest.mark.parametrize(
    ("sync", "hook"),
    [
        ("allreduce", "none"),
        ("allreduce:communication=fp16", "fp16"),
        ("allreduce:communication=bf16", "bf16"),
        ("allreduce:powersgd=2,powersgd_start=3", "powersgd"),
    ],
)
def test_two_workers_have_the_bits_of_torchs_own(sync: str, hook: str) -> None:
    assert in_group(_compared_with_torch, (sync, hook)) == [[True, True], [True, True]]


def _compared_with_torch(payload: tuple[str, str], world: World) -> list[bool]:
    sync, hook = payload
    training = Training(sync, world, model=network(batch_norm=False))
    for number in range(STEPS):
        training.step(number, equal_rows=True)
    model, state = with_torch(world, hook)
    same = torch.equal(parameters_of(training.model), parameters_of(model))
    if hook == "powersgd":
        # The hook counts what it sends of matrices and of what it leaves whole, from the third step on.
        per_step = 4 * state.total_numel_after_compression // (STEPS - 3)
        whole = 4 * len(parameters_of(model))
        assert training.sync.bytes_per_step == per_step < whole
        assert training.sync.bytes_sent == 3 * whole + (STEPS - 3) * per_step
    return [same, equal_on_all_ranks(parameters_of(training.model))]


def test_compressed_sums_are_near_the_exact_ones_and_send_less() -> None:
    for rank_results in in_group(_distances, ["communication=fp16", "communication=bf16", "powersgd=16"]):
        exact_bytes, moved, results = rank_results
        (fp16, fp16_bytes), (bf16, bf16_bytes), (low_rank, low_rank_bytes) = results
        assert fp16_bytes == bf16_bytes == exact_bytes / 2
        assert low_rank_bytes == exact_bytes  # no matrix here shrinks at that rank: all travel whole
        assert 0 < fp16 < 0.01 * moved
        assert 0 < bf16 < 0.05 * moved
        assert low_rank < 1e-5 * moved


def _distances(options: list[str], world: World) -> tuple[int, float, list[tuple[float, int]]]:
    exact = Training("allreduce", world, model=network(batch_norm=False), optimizer="sgd")
    start = parameters_of(exact.model)
    for number in range(STEPS):
        exact.step(number)
    results = []
    for option in options:
        other = Training(f"allreduce:{option}", world, model=network(batch_norm=False), optimizer="sgd")
        for number in range(STEPS):
            other.step(number)
        distance = (parameters_of(other.model) - parameters_of(exact.model)).norm().item()
        results.append((distance, other.sync.bytes_sent))
    return exact.sync.bytes_sent, (parameters_of(exact.model) - start).norm().item(), results


class WithTemperature(nn.Linear):
    """A layer with a parameter that has no dimension."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.temperature = nn.Parameter(torch.tensor(1.0))


def test_power_sgd_says_which_parameter_it_cannot_send() -> None:
    with pytest.raises(ConfigError, match=r"'temperature', which has no dimension"):
        in_group(_with_temperature, "allreduce:powersgd=1")


def _with_temperature(sync: str, world: World) -> None:
    Training(sync, world, model=WithTemperature())
