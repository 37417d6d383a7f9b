"""What may watch a training loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from firesteel.data.loader import Batch
from firesteel.monitoring.events import EventWriter
from firesteel.training.schedules import Schedule


@dataclass
class Progress:
    """Where the loop is, and what it costs.

    Attributes:
        epoch: being trained, from 0; at the end of an epoch that of the next step.
        step: optimizer steps since the start of the run.
        step_in_epoch: of them in this epoch.
        learning_rate: of the last step, for parameters that have no rate of their own.
        data_s, compute_s, sync_s: seconds since the start of the run that went to waiting for batches, to forward, backward
            and optimizer (which includes gradients reduced while they are computed), and to exchanges after the step.
        stop: set to a reason it ends the loop.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    learning_rate: float = 0.0
    data_s: float = 0.0
    compute_s: float = 0.0
    sync_s: float = 0.0
    stop: str | None = None

    @property
    def seconds(self) -> float:
        """Of training, without what is done between steps (evaluating, copying a state)."""
        return self.data_s + self.compute_s + self.sync_s

    def state(self) -> dict[str, Any]:
        """Where the loop is, in JSON values."""
        return {name: value for name, value in vars(self).items() if name != "stop"}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        vars(self).update(state)


class Callback:
    """Hooks of :func:`firesteel.training.loop.train`; each does nothing unless overridden.

    ::

        on_train_begin
        for epoch:
            on_epoch_begin          not where a run goes on in the middle of an epoch
            for batch:  on_step_end
            on_epoch_end            the model is the same on all workers; not where the epoch was not finished
        on_train_end
    """

    def on_train_begin(self, progress: Progress) -> None:
        """Before the first step."""

    def on_epoch_begin(self, progress: Progress) -> None:
        """Before the first step of an epoch."""

    def on_step_end(self, progress: Progress, loss: Tensor, batch: Batch) -> None:
        """After a step; ``loss`` is the mean over this worker's rows, detached, on the device."""

    def on_epoch_end(self, progress: Progress) -> None:
        """After the last step of an epoch and its synchronisation."""

    def on_train_end(self, progress: Progress) -> None:
        """After the last epoch."""


class EventLog(Callback):
    """Writes ``step``, ``epoch`` and ``end`` events, and keeps the sums that the launcher merges.

    Attributes:
        epoch_sums: for each finished epoch the sum of the losses of this worker's rows, and their number.
        rows: that this worker has trained on.
        seconds: of training.

    Losses are summed on the device and fetched only when an event is due: on a GPU each fetch waits for the queue.
    """

    def __init__(self, events: EventWriter, device: torch.device, log_every: int):
        self._events, self._log_every = events, log_every
        self._window = torch.zeros((), dtype=torch.float64, device=device)
        self._epoch_sum = self._epoch_s = 0.0
        self._window_rows = self._epoch_rows = self._window_steps = 0
        self.epoch_sums: list[tuple[float, int]] = []
        self.rows = 0
        self.seconds = 0.0
        self._last = (0.0, 0.0, 0.0)
        self._began = self._epoch_began = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """The sums so far, in JSON values."""
        now = time.perf_counter()
        return {
            "epoch_sums": [list(pair) for pair in self.epoch_sums], "epoch": [self._epoch_sum, self._epoch_rows],
            "window": [float(self._window), self._window_rows, self._window_steps], "rows": self.rows,
            "seconds": self.seconds + now - self._began, "epoch_s": self._epoch_s + now - self._epoch_began,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.epoch_sums = [(float(total), int(rows)) for total, rows in state["epoch_sums"]]
        self._epoch_sum, self._epoch_rows = state["epoch"]
        window, self._window_rows, self._window_steps = state["window"]
        self._window.fill_(window)
        self.rows, self.seconds, self._epoch_s = state["rows"], state["seconds"], state["epoch_s"]

    def on_train_begin(self, progress: Progress) -> None:
        self._began = self._epoch_began = time.perf_counter()
        self._last = (progress.data_s, progress.compute_s, progress.sync_s)

    def on_epoch_begin(self, progress: Progress) -> None:
        self._epoch_sum, self._epoch_rows, self._epoch_s, self._epoch_began = 0.0, 0, 0.0, time.perf_counter()

    def on_step_end(self, progress: Progress, loss: Tensor, batch: Batch) -> None:
        if batch.rows:
            self._window.add_(loss, alpha=batch.rows)
        self._window_rows += batch.rows
        self._window_steps += 1
        if self._window_steps >= self._log_every or progress.step == 1:
            self._write_step(progress)

    def on_epoch_end(self, progress: Progress) -> None:
        if self._window_steps:
            self._write_step(progress)
        self.epoch_sums.append((self._epoch_sum, self._epoch_rows))
        self._events.write(
            "epoch", epoch=progress.epoch - 1, step=progress.step, loss_sum=self._epoch_sum, rows=self._epoch_rows,
            seconds=round(self._epoch_s + time.perf_counter() - self._epoch_began, 3),
        )  # fmt: skip

    def on_train_end(self, progress: Progress) -> None:
        if self._window_steps:
            self._write_step(progress)
        self.seconds += time.perf_counter() - self._began
        self._events.write("end", step=progress.step, seconds=round(self.seconds, 3), stop=progress.stop)

    @property
    def last_epoch(self) -> tuple[float, int]:
        """Sum of losses and rows of the last epoch, also of one that was not finished."""
        return (self._epoch_sum, self._epoch_rows)

    def _write_step(self, progress: Progress) -> None:
        total = float(self._window)
        self._window.zero_()
        self._epoch_sum += total
        self._epoch_rows += self._window_rows
        self.rows += self._window_rows
        now = (progress.data_s, progress.compute_s, progress.sync_s)
        data_s, compute_s, sync_s = (round(a - b, 4) for a, b in zip(now, self._last))
        epoch = progress.epoch - (progress.step_in_epoch == 0)  # after its last step an epoch is over already
        self._events.write(
            "step", epoch=max(0, epoch), step=progress.step, score=total / max(1, self._window_rows), rows=self.rows,
            learning_rate=float(f"{progress.learning_rate:.6g}"),
            seconds=round(self.seconds + time.perf_counter() - self._began, 4),
            data_s=data_s, compute_s=compute_s, sync_s=sync_s,
        )  # fmt: skip
        self._last, self._window_rows, self._window_steps = now, 0, 0


class ScoreForSchedule(Callback):
    """Gives a schedule that wants one the mean training loss of each epoch, over the rows of all workers.

    Args:
        schedule: fed on every rank with the same number.
        log: called before this one.
    """

    def __init__(self, schedule: Schedule, log: EventLog):
        self._schedule, self._log = schedule, log

    def on_epoch_end(self, progress: Progress) -> None:
        total = torch.tensor(self._log.epoch_sums[-1], dtype=torch.float64)
        if dist.is_initialized():
            dist.all_reduce(total)
        loss_sum, rows = total.tolist()
        self._schedule.add_score(loss_sum / max(1.0, rows))
