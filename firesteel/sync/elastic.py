"""Asynchronous training by elastic averaging: each worker exchanges with a centre when it is ready, waiting for no other."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.data.loader import Batch
from firesteel.errors import WorkerFailed
from firesteel.sync.base import SyncStrategy
from firesteel.sync.common import group_timeout
from firesteel.sync.flat import FlatBuffers, FlatVector, broadcast_model, floating_state
from firesteel.world import World

_EXCHANGE, _DONE = 1, 2

_COMMAND_TAG, _PARAMETERS_TAG, _DIFFERENCE_TAG, _ALL_DONE_TAG = 7301, 7302, 7303, 7304
"""Of our messages: collectives have tags of their own kind, so that both can use one process group at a time."""

_PATIENCE = timedelta(days=30)
"""Of one message. It need not be short: a worker that ends closes its connections, which ends every wait for it, and
for one that hangs rank 0 has a clock. A wait of gloo's that times out closes all connections."""


class ElasticAveraging(SyncStrategy):
    """Every ``every`` steps a worker and the centre move towards each other, at that worker's own pace.

    ::

        difference = moving_rate / workers * (parameters - centre)
        parameters = parameters - difference                on the worker
        centre     = centre + difference                    on rank 0, one worker at a time

    Rank 0 holds the centre and serves it by one thread for each other worker, through the process group's own
    connections. At the end of each epoch all workers wait for each other, as long as the slower ones keep coming to the
    centre, take the mean of their parameters and buffers, weighted by rows, and the centre becomes that mean.

    Why elastic averaging: what a worker sends is where it stands, not a gradient of parameters that have long moved
    on; being late makes an exchange less useful, never wrong, and no exchange can throw the centre further than
    ``moving_rate / workers`` of a worker's distance. It goes with every local optimizer.

    What asynchronous exchange brings here: nobody waits where workers are slow in turns (other jobs on the machine,
    garbage collection, a slow disk). Every worker takes the same number of steps an epoch, so a worker that is always
    slower than the others still decides when the epoch ends. Rank 0 handles the traffic of all workers.

    In which order workers reach the centre depends on their speed, so two runs differ. A run that goes on from a
    saved state is as good as one that did not stop, but does not have the same bits. The saved centre may be some
    exchanges ahead of a worker's saved parameters, or behind; the next exchanges even that out.

    Args:
        every: local steps between two exchanges (the paper's tau). More sends less and lets workers explore more.
        moving_rate: the paper's beta, at most 1; the centre goes ``moving_rate / workers`` of the way to each worker.

    Source: Zhang, Choromanska, LeCun, "Deep learning with Elastic Averaging SGD", arXiv 1412.6651, algorithm 1, with
    its moving rate of 0.9. Differs from it: the model at the end of an epoch is the mean of the workers, not the centre.
    """

    def __init__(self, every: int = 10, moving_rate: float = 0.9):
        self._every, self._moving_rate = every, moving_rate
        self._steps = 0
        self._lock = threading.Lock()  # of centre and bytes_sent on rank 0
        self._threads: dict[int, threading.Thread] = {}  # by rank, on rank 0
        self._heard: dict[int, float] = {}  # when, by rank
        self._failure: BaseException | None = None

    def on_start(self, model: nn.Module, optimizer: Optimizer, world: World) -> nn.Module:
        self._world = world
        broadcast_model(model)
        self._all = FlatBuffers(floating_state(model))
        self._parameters = FlatVector(p.data for p in model.parameters() if p.requires_grad)
        # In the host's memory: gloo carries it, also where gradients would go through NCCL.
        self._local = self._parameters.read().to("cpu", copy=True)
        self._centre = self._local.clone()  # of use on rank 0 only
        return model

    def after_backward(self, batch: Batch) -> None:
        self._serve()  # from the first step of an epoch on

    def after_step(self, batch: Batch) -> None:
        self._steps += 1
        self._count(batch)
        if self._steps == self._every:
            self._steps = 0
            self._exchange()

    def on_epoch_end(self) -> None:
        """Raises WorkerFailed on rank 0 if a worker has not been heard of for the timeout of the process group."""
        all_done = torch.zeros(1, dtype=torch.int64)
        if self._world.rank:
            _send(torch.tensor([_DONE]), _COMMAND_TAG)
            # Not in the collective: its timeout is meant for workers that go in step.
            _receive(all_done, 0, _ALL_DONE_TAG)
        else:
            self._serve()
            self._wait_for_others()
            for rank in range(1, self._world.world_size):
                dist.send(all_done, rank, tag=_ALL_DONE_TAG)
        self._all.weighted_sum(self.weight)
        self._centre.copy_(self._parameters.read())
        self._steps = 0
        self._exchanged(self._all.num_bytes)

    @property
    def in_step(self) -> bool:
        return False

    @property
    def never_in_step(self) -> bool:
        return True

    @property
    def ranks_agree(self) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        """On rank 0 with a copy of the centre as it is now, while others may be moving it."""
        state = super().state() | {"steps": self._steps}
        if self._world.rank:
            return state
        with self._lock:
            return state | {"centre": self._centre.clone()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._steps = state["steps"]
        if "centre" in state:
            self._centre.copy_(state["centre"])

    @property
    def bytes_per_step(self) -> float:
        """Of a worker that is not rank 0; rank 0 sends as much to each of the others."""
        return self._local.numel() * self._local.element_size() / self._every

    def _exchange(self) -> None:
        self._local.copy_(self._parameters.read())
        if self._world.rank == 0:
            self._raise_failure()
            difference = self._meet_centre(self._local)
        else:
            _send(torch.tensor([_EXCHANGE]), _COMMAND_TAG)
            _send(self._local, _PARAMETERS_TAG)
            difference = torch.empty_like(self._local)
            _receive(difference, 0, _DIFFERENCE_TAG)
            self.bytes_sent += self._local.numel() * self._local.element_size()
        self._parameters.write(self._local.sub_(difference))

    def _meet_centre(self, parameters: Tensor) -> Tensor:
        """Move the centre towards the parameters; the difference that the parameters should go back by."""
        with self._lock:
            difference = torch.sub(parameters, self._centre).mul_(self._moving_rate / self._world.world_size)
            self._centre.add_(difference)
        return difference

    def _serve(self) -> None:
        """On rank 0: have a thread for each other worker until that worker is done with the epoch."""
        if self._world.rank or self._threads:
            return
        for rank in range(1, self._world.world_size):
            self._heard[rank] = time.monotonic()
            self._threads[rank] = threading.Thread(
                target=self._serve_worker, args=(rank,), name=f"firesteel-centre-{rank}", daemon=True
            )
            self._threads[rank].start()

    def _wait_for_others(self) -> None:
        timeout_s = group_timeout().total_seconds()
        while missing := {rank: thread for rank, thread in self._threads.items() if thread.is_alive()}:
            for rank in missing:
                if time.monotonic() - self._heard[rank] > timeout_s:
                    raise WorkerFailed(
                        f"rank {rank} of {self._world.world_size} has not come to the centre for {timeout_s:.0f} s,"
                        " while others wait for the end of the epoch. If its rounds take that long, exchange more often.",
                        rank=rank,
                    )
            next(iter(missing.values())).join(timeout=0.5)
            self._raise_failure()
        self._raise_failure()
        self._threads = {}

    def _serve_worker(self, rank: int) -> None:
        command, parameters = torch.zeros(1, dtype=torch.int64), torch.empty_like(self._local)
        try:
            while True:
                _receive(command, rank, _COMMAND_TAG)
                self._heard[rank] = time.monotonic()
                if command.item() == _DONE:
                    return
                _receive(parameters, rank, _PARAMETERS_TAG)
                difference = self._meet_centre(parameters)
                dist.send(difference, rank, tag=_DIFFERENCE_TAG)
                with self._lock:
                    self.bytes_sent += difference.numel() * difference.element_size()
        except BaseException as error:  # the training thread raises it at its next exchange
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _send(tensor: Tensor, tag: int) -> None:
    dist.send(tensor, 0, tag=tag)


def _receive(tensor: Tensor, rank: int, tag: int) -> None:
    work = dist.irecv(tensor, rank, tag=tag)
    assert work is not None
    work.wait(_PATIENCE)
