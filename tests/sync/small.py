"""A small network and its steps on deterministic batches: what the tests of the strategies run inside a real group."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firesteel.data.loader import Batch
from firesteel.local import LocalProcesses
from firesteel.sync import check_sync, make_sync
from firesteel.sync.base import SyncStrategy
from firesteel.world import Meeting, World

FEATURES, CLASSES = 6, 3


def in_group(function: Callable[[Any, World], Any], payload: Any, workers: int = 2, timeout_s: float = 60) -> list[Any]:
    """What each rank of a group of gloo processes returns, by rank; values go through JSON."""
    return LocalProcesses().run(_inside, (function, payload), workers=workers, meet=True, timeout_s=timeout_s)


def _inside(task: tuple[Callable[[Any, World], Any], Any], world: World, meeting: Meeting | None) -> Any:
    function, payload = task
    assert meeting is not None
    torch.set_num_threads(1)
    with meeting.process_group():
        return function(payload, world)


def network(*, batch_norm: bool = True, seed: int = 0) -> nn.Sequential:
    """A matrix large enough to be approximated, vectors, and (unless not wanted) floating and integer buffers."""
    torch.manual_seed(seed)
    norm = [nn.BatchNorm1d(16)] if batch_norm else []
    return nn.Sequential(
        nn.Linear(FEATURES, 16), *norm, nn.Tanh(), nn.Linear(16, 20), nn.Tanh(), nn.Linear(20, CLASSES)
    )


def batch_at(step: int, world: World, *, equal_rows: bool = False) -> Batch:
    """This rank's rows of a step: 4, and one more on each second rank of each second step unless they shall be equal."""
    rows = [4 + ((step + rank) % 2 if not equal_rows else 0) for rank in range(world.world_size)]
    generator = torch.Generator().manual_seed(1000 * step + world.rank)
    features = torch.randn(rows[world.rank], FEATURES, generator=generator)
    labels = torch.randint(0, CLASSES, (rows[world.rank],), generator=generator)
    return Batch(features, labels, rows[world.rank], sum(rows))


class Training:
    """One worker: a network, its optimizer and a strategy that has been started."""

    def __init__(self, sync: str, world: World, *, model: nn.Module | None = None, optimizer: str = "adam"):
        self.world = world
        self.model = network(seed=world.rank) if model is None else model
        if optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.sync: SyncStrategy = make_sync(check_sync(sync, world.world_size))
        self.module = self.sync.on_start(self.model, self.optimizer, world)

    def local_step(self, batch: Batch) -> None:
        """All of a step but what comes after the optimizer."""
        loss = nn.functional.cross_entropy(self.module(batch.features), batch.labels)
        self.sync.before_backward(loss, batch).backward()
        self.sync.after_backward(batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, number: int, *, equal_rows: bool = False) -> None:
        batch = batch_at(number, self.world, equal_rows=equal_rows)
        self.local_step(batch)
        self.sync.after_step(batch)

    def saved(self) -> bytes:
        """All that a checkpoint of this rank needs."""
        file = io.BytesIO()
        parts = (self.model.state_dict(), self.optimizer.state_dict(), self.sync.state())
        torch.save(parts, file)
        return file.getvalue()

    def load(self, saved: bytes) -> None:
        model, optimizer, sync = torch.load(io.BytesIO(saved), weights_only=True)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.sync.load_state(sync)

    def tensors(self) -> list[Tensor]:
        """Parameters, buffers and the optimizer's state."""
        states = [value for each in self.optimizer.state.values() for value in each.values()]
        return [*self.model.state_dict().values(), *(value for value in states if isinstance(value, Tensor))]


def parameters_of(model: nn.Module) -> Tensor:
    """All parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def sum_over_ranks(values: Tensor) -> Tensor:
    total = values.clone()
    dist.all_reduce(total)
    return total


def equal_on_all_ranks(values: Tensor) -> bool:
    """Whether all ranks have the same bits."""
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return all(torch.equal(each, values) for each in gathered)


def operations(epochs: int, steps_per_epoch: int) -> Iterator[int | None]:
    """Numbers of the steps, and None where an epoch ends."""
    for epoch in range(epochs):
        yield from range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch)
        yield None
