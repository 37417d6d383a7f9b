"""What a worker says of itself in the event log of the run."""

from __future__ import annotations

import os
import platform

import torch
from torch import nn

from firesteel._version import __version__
from firesteel.data.cache import Rows
from firesteel.data.loader import Loader
from firesteel.data.order import Order
from firesteel.models import count_parameters
from firesteel.monitoring.events import EventWriter
from firesteel.sync.base import SyncStrategy
from firesteel.training.callbacks import Callback, Progress
from firesteel.training.job import TrainJob
from firesteel.training.settings import learning_rate_line
from firesteel.world import World


class CountSampled(Callback):
    """Counts the different rows of each epoch where not each comes once."""

    def __init__(self, events: EventWriter, loader: Loader):
        self._events, self._loader = events, loader

    def on_epoch_end(self, progress: Progress) -> None:
        self._events.write("sampled", epoch=progress.epoch - 1, distinct_rows=self._loader.distinct_rows)


class Start(Callback):
    """Announces the run when everything is ready for the first step."""

    def __init__(
        self,
        events: EventWriter,
        job: TrainJob,
        world: World,
        order: Order,
        rows: Rows,
        model: nn.Module,
        sync: SyncStrategy,
    ):
        self._events, self._sync = events, sync
        self._fields = {
            "host": world.host,
            "device": world.device,
            "threads": torch.get_num_threads(),
            "workers": world.world_size,
            "epochs": job.epochs,
            "steps_per_epoch": order.steps_per_epoch,
            "global_batch_size": job.global_batch_size,
            "rows": len(rows),
            "in_memory": rows.in_memory,
            "parameters": count_parameters(model),
            "sync": str(job.sync),
            "learning_rate": job.learning_rate * job.worker_factor,
            "learning_rate_line": learning_rate_line(job),
            "pid": os.getpid(),
            "versions": {"torch": torch.__version__, "python": platform.python_version(), "firesteel": __version__},
        }

    def on_train_begin(self, progress: Progress) -> None:
        self._events.write(
            "start", bytes_per_step=self._sync.bytes_per_step, step=progress.step, epoch=progress.epoch, **self._fields
        )


__all__ = ["CountSampled", "Start"]
