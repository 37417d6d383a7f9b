"""A worker that is stopped after any step and built anew goes on with the same bits."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from firesteel.world import World
from tests.sync.small import Training, equal_on_all_ranks, in_group, operations, parameters_of, sum_over_ranks

DETERMINISTIC = [
    "allreduce",
    "allreduce:bucket_mb=0.001",
    "allreduce:communication=bf16",
    "allreduce:communication=fp16",
    "allreduce:powersgd=1,powersgd_start=3",
    "allreduce:powersgd=3,powersgd_start=2,bucket_mb=0.001",
    "average:every=3",
    "average:every=3,optimizer_state=yes",
    "average:every=2,weighting=equal",
    "threshold",
    "threshold:algorithm=target,density=0.1",
    "threshold:algorithm=fixed,threshold=0.02,updates=sum",
    "threshold:threshold=0.02,clip=1.5,clip_every=3",
    "diloco:every=3",
    "diloco:every=2,outer_momentum=0.5,communication=fp16",
]
EPOCHS, STEPS = 2, 5


@pytest.mark.parametrize("workers", [2, 3])
def test_a_restored_run_continues_with_equal_bits_from_every_step(workers: int) -> None:
    for rank, differing in enumerate(in_group(_steps_that_differ, DETERMINISTIC, workers)):
        assert differing == {sync: [] for sync in DETERMINISTIC}, f"rank {rank}"


def _steps_that_differ(syncs: list[str], world: World) -> dict[str, list[int]]:
    return {sync: _stopped_everywhere(sync, world) for sync in syncs}


def _stopped_everywhere(sync: str, world: World) -> list[int]:
    """After how many operations a restored run comes to an end other than that of the run that did not stop."""
    plan = list(operations(EPOCHS, STEPS))
    saved: list[bytes] = []
    whole = Training(sync, world)
    for operation in plan:
        saved.append(whole.saved())
        _do(whole, operation)
    differing = []
    for done, checkpoint in enumerate(saved):
        restored = Training(sync, world)
        restored.load(checkpoint)
        for operation in plan[done:]:
            _do(restored, operation)
        if not _same_bits([*restored.tensors(), *_tensors(restored)], [*whole.tensors(), *_tensors(whole)]):
            differing.append(done)
    return differing


def _do(training: Training, operation: int | None) -> None:
    if operation is None:
        training.sync.on_epoch_end()
    else:
        training.step(operation)


def _tensors(training: Training) -> list[Tensor]:
    """Of the strategy, its JSON values among them as bytes."""
    state = training.sync.state()
    tensors = [value for _, value in sorted(state.items()) if isinstance(value, Tensor)]
    values = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    return [*tensors, torch.frombuffer(bytearray(json.dumps(values, sort_keys=True).encode()), dtype=torch.uint8)]


def _same_bits(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


def test_a_restored_asynchronous_run_goes_on_and_ends_with_one_model() -> None:
    for rank, (held, agree, moved) in enumerate(in_group(_restored_elastic, None, 3)):
        assert held == (rank == 0), "rank 0 has the centre"
        assert agree
        assert moved


def _restored_elastic(payload: None, world: World) -> tuple[bool, bool, bool]:
    first = Training("async:every=2", world)
    for step in range(3):
        first.step(step)
    # All come to this point before any saves: a real checkpoint begins with a collective as well.
    sum_over_ranks(torch.zeros(1))
    saved, centre = first.saved(), first.sync.state().get("centre")
    first.sync.on_epoch_end()
    restored = Training("async:every=2", world)
    restored.load(saved)
    again = restored.sync.state().get("centre")
    assert (centre is None) == (again is None)
    if centre is not None:
        assert again is not None
        assert torch.equal(centre, again)
    before = parameters_of(restored.model)
    for step in range(3, 6):
        restored.step(step)
    restored.sync.on_epoch_end()
    after = parameters_of(restored.model)
    return centre is not None, equal_on_all_ranks(after), not torch.equal(before, after)


SYNCS = [*DETERMINISTIC, "async:every=2"]


def test_weights_of_all_ranks_add_up_to_one_and_ranks_that_agree_are_equal() -> None:
    """At every step: with the weights somebody makes a common model of a moment between two exchanges."""
    for problems in in_group(_weights_and_agreement, SYNCS, 3):
        assert problems == []


def _weights_and_agreement(syncs: list[str], world: World) -> list[str]:
    problems = []
    for sync in syncs:
        training = Training(sync, world)
        for number, operation in enumerate(operations(EPOCHS, STEPS)):
            _do(training, operation)
            total = sum_over_ranks(torch.tensor(training.sync.weight, dtype=torch.float64))
            if abs(total.item() - 1) > 1e-12:
                problems.append(f"{sync} after {number}: weights add up to {total.item()}")
            if training.sync.ranks_agree and not equal_on_all_ranks(parameters_of(training.model)):
                problems.append(f"{sync} after {number}: parameters differ")
            states = [value.flatten() for each in training.optimizer.state.values() for value in each.values()]
            if training.sync.ranks_agree and not equal_on_all_ranks(torch.cat(states)):
                problems.append(f"{sync} after {number}: optimizer states differ")
            model = torch.cat([v.flatten() for v in training.model.state_dict().values() if v.is_floating_point()])
            if operation is None and not equal_on_all_ranks(model):
                problems.append(f"{sync} after {number}: models differ at the end of an epoch")
    return problems
