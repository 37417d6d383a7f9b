"""Networks of a user's own, good and bad, for tests that name them as ``tests.networks:NAME``."""

from __future__ import annotations

import os
import random
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


class Misbehaving(nn.Module):
    """A linear network that does something at one step on one rank; only once, if a file is given to remember it by."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        what: str = "raise",
        at: int = 3,
        rank: int = 1,
        once: str | None = None,
    ):
        super().__init__()
        self.once = once
        self.linear = nn.Linear(int(torch.tensor(input_shape).prod()), num_classes)
        self.what, self.at, self.rank, self.calls = what, at, rank, 0

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        rank = dist.get_rank() if dist.is_initialized() else 0
        if self.calls == self.at and rank == self.rank and self._first_time():
            if self.what == "raise":
                raise ValueError("this network is tired")
            if self.what == "kill":
                os.kill(os.getpid(), 9)
            if self.what == "kill_parent":
                os.kill(os.getppid(), 9)
                time.sleep(5)
            if self.what == "stop":
                os.kill(os.getpid(), 19)
            if self.what == "sleep":
                time.sleep(60)
        return self.linear(features.flatten(1))

    def _first_time(self) -> bool:
        if self.once is None:
            return True
        try:
            open(self.once, "x").close()
        except FileExistsError:
            return False
        return True


class Everything(nn.Module):
    """What makes going on to the same bits hard: random numbers, running statistics, another memory layout."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Dropout(0.3),
            nn.Flatten(), nn.LazyLinear(num_classes),
        )  # fmt: skip
        self.layers(torch.zeros(2, *input_shape))
        self.to(memory_format=torch.channels_last)

    def forward(self, features: Tensor) -> Tensor:
        noise = np.random.rand() + random.random()
        return self.layers(features) * (1 + 0.01 * noise)


def in_the_way(input_shape: tuple[int, ...], num_classes: int, run: str) -> nn.Module:
    """A linear network that puts a file where the checkpoints of its run should go."""
    if os.path.exists(run):
        with open(os.path.join(run, "checkpoints"), "w"):
            pass
    return linear(input_shape, num_classes)


class WithBatchNorm(nn.Module):
    """A small network with buffers."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes)
        )
        self.layers(torch.zeros(2, *input_shape))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.second(torch.relu(self.first(features.flatten(1)))))


class Scale(nn.Module):
    """One number a class: a network without any layer of torch's."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(1).mean(dim=1, keepdim=True) * self.scale


def linear(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A factory that says what it returns."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(input_shape).prod()), num_classes))


def undeclared(num_classes):  # type: ignore[no-untyped-def]
    """A factory that does not say what it returns."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def raising(num_classes: int) -> nn.Module:
    """A factory that cannot do its work."""
    raise FileNotFoundError("weights.bin")


def not_a_module(num_classes: int) -> list[int]:
    """A factory of something else."""
    return [num_classes]


VALUE = 3


def wrong_outputs(num_classes: int) -> nn.Module:
    """A network with one output too many."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes + 1))


def wrong_input(num_classes: int) -> nn.Module:
    """A network for pictures of another size."""
    return nn.Sequential(nn.Flatten(), nn.Linear(100, num_classes))
