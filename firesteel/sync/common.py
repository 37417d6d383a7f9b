"""What strategies share: the one model that the workers have together in the middle of a round, and how long they wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.constants import default_pg_timeout

from firesteel.sync.base import SyncStrategy
from firesteel.sync.flat import FlatBuffers, floating_state
from firesteel.world import World


@contextlib.contextmanager
def common_model(model: nn.Module, sync: SyncStrategy, world: World) -> Iterator[None]:
    """Let every rank's model be the common one inside the block, and as it was afterwards, to the bit.

    The common model is the mean over ranks of parameters and floating buffers, weighted by the rows that each has seen since
    the last exchange. All ranks must enter at the same step.
    """
    if world.world_size == 1:
        yield
        return
    tensors = floating_state(model)
    own = [tensor.clone() for tensor in tensors]
    FlatBuffers(tensors).weighted_sum(sync.weight)
    try:
        yield
    finally:
        for tensor, before in zip(tensors, own):
            tensor.copy_(before)


def group_timeout() -> timedelta:
    """How long a collective of the process group waits."""
    assert dist.group.WORLD is not None
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    return getattr(getattr(backend, "options", None), "_timeout", default_pg_timeout)
