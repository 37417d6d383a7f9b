"""The state of a run, folded from its events: what the progress line and ``firesteel watch`` show."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from firesteel.monitoring.events import LAUNCHER, STOP_REQUESTED

_RATE_WINDOW = 20


@dataclass
class WorkerState:
    """What is known of one worker."""

    rank: int
    host: str = ""
    device: str = ""
    epoch: int = 0
    step: int = 0
    rows: int = 0
    score: float | None = None
    seen: float = 0.0
    status: str = "starting"
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW))
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def rows_per_second(self) -> float:
        """Over the last step events."""
        if len(self.recent) < 2:
            return 0.0
        (first_time, first_rows), (last_time, last_rows) = self.recent[0], self.recent[-1]
        return (last_rows - first_rows) / max(1e-9, last_time - first_time)


@dataclass
class RunState:
    """What is known of a run.

    Attributes:
        status: starting, training, done, failed, stopped (by Ctrl-C or SIGTERM), or lost: its driver has ended without
            a word, as far as can be seen from here.
        driver: (host, process) that leads the run; None before it said so.
        epochs, steps_per_epoch, workers: as the workers announced; 0 before that.
        epoch_scores: mean training loss of each finished epoch, over the rows of all workers.
        message: of the failure.
        summary: of a run that is done: its result.
        restarts: how often the run went on from a checkpoint after losing a worker.
        stopping: whether it was asked to stop.
        evaluation, best_evaluation: the last one, and the one with the best score; None before the first.
        checkpoint: step of the newest one; None before the first.
    """

    status: str = "starting"
    epochs: int = 0
    steps_per_epoch: int = 0
    workers: int = 0
    announced: dict[str, Any] = field(default_factory=dict)
    by_rank: dict[int, WorkerState] = field(default_factory=dict)
    epoch_scores: dict[int, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    message: str = ""
    driver: tuple[str, int] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    stopping: bool = False
    evaluation: dict[str, Any] | None = None
    best_evaluation: dict[str, Any] | None = None
    checkpoint: int | None = None
    _epoch_parts: dict[int, dict[int, tuple[float, int]]] = field(default_factory=dict)

    def add(self, events: Iterable[dict[str, Any]]) -> RunState:
        """Fold events into this state; returns itself."""
        for event in events:
            handler = getattr(self, f"_on_{event['event']}", None)
            if handler is not None:
                handler(event)
        return self

    @property
    def in_progress(self) -> bool:
        """Whether more is to come."""
        return self.status in ("starting", "training")

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def step(self) -> int:
        """Steps that every worker has made."""
        return min((worker.step for worker in self.by_rank.values()), default=0)

    @property
    def epoch(self) -> int:
        """The epoch being trained, counted from 0."""
        return min((worker.epoch for worker in self.by_rank.values()), default=0)

    @property
    def score(self) -> float | None:
        """Mean over workers of their last scores."""
        scores = [worker.score for worker in self.by_rank.values() if worker.score is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def rows_per_second(self) -> float:
        return sum(worker.rows_per_second for worker in self.by_rank.values())

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None if there is none yet."""
        left = self.total_steps - self.step
        rates = [
            (worker.recent[-1][0] - worker.recent[0][0], worker) for worker in self.by_rank.values() if worker.recent
        ]
        if not self.by_rank or self.status == "done" or not rates:
            return None
        rows_per_step = max((worker.rows / worker.step for worker in self.by_rank.values() if worker.step), default=0)
        slowest = min((worker.rows_per_second for worker in self.by_rank.values()), default=0)
        return left * rows_per_step / slowest if slowest > 0 and rows_per_step else None

    def silent_workers(self) -> list[WorkerState]:
        """Workers that began and have said neither that they ended nor that they failed."""
        return [worker for _, worker in sorted(self.by_rank.items()) if worker.status == "training"]

    def _worker(self, event: dict[str, Any]) -> WorkerState:
        worker = self.by_rank.setdefault(event["worker"], WorkerState(event["worker"]))
        worker.seen = event["time"]
        return worker

    def _on_launch(self, event: dict[str, Any]) -> None:
        self.driver = (event["host"], event["pid"])

    def _on_attempt(self, event: dict[str, Any]) -> None:
        """Of the launcher: workers begin, for the first time or again."""
        if event["worker"] == LAUNCHER:
            self.status, self.message, self.stopping = "starting", "", False
            self.by_rank = {}

    def _on_restart(self, event: dict[str, Any]) -> None:
        self.restarts = event["number"]
        self.warnings.append(event["message"])

    def _on_stopping(self, event: dict[str, Any]) -> None:
        self.stopping = True

    def _on_evaluation(self, event: dict[str, Any]) -> None:
        self.evaluation = event
        if event["best"]:
            self.best_evaluation = event

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        self.checkpoint = event["step"]

    def _on_start(self, event: dict[str, Any]) -> None:
        worker = self._worker(event)
        worker.host, worker.device, worker.status = event["host"], event["device"], "training"
        worker.step, worker.epoch = event.get("step", 0), event.get("epoch", 0)
        self.status = "training"
        self.announced = event
        self.epochs, self.steps_per_epoch, self.workers = event["epochs"], event["steps_per_epoch"], event["workers"]

    def _on_step(self, event: dict[str, Any]) -> None:
        worker = self._worker(event)
        worker.epoch, worker.step, worker.rows = event["epoch"], event["step"], event["rows"]
        worker.score = event["score"]
        worker.parts = {name: event[name] for name in ("data_s", "compute_s", "sync_s")}
        worker.recent.append((event["seconds"], event["rows"]))

    def _on_epoch(self, event: dict[str, Any]) -> None:
        worker = self._worker(event)
        worker.step = event["step"]
        parts = self._epoch_parts.setdefault(event["epoch"], {})
        parts[event["worker"]] = (event["loss_sum"], event["rows"])
        if len(parts) == self.workers:
            rows = sum(count for _, count in parts.values())
            self.epoch_scores[event["epoch"]] = sum(total for total, _ in parts.values()) / max(1, rows)

    def _on_warning(self, event: dict[str, Any]) -> None:
        self.warnings.append(event["message"])

    def _on_end(self, event: dict[str, Any]) -> None:
        # One that was asked to stop has ended, but has more to do.
        self._worker(event).status = "ended" if event.get("stop") == STOP_REQUESTED else "done"

    def _on_finish(self, event: dict[str, Any]) -> None:
        self.status, self.summary = "done", event

    def _on_failed(self, event: dict[str, Any]) -> None:
        self.message = event["message"]
        if event["worker"] != LAUNCHER:
            self.status = self._worker(event).status = "failed"
            return
        # The launcher speaks last, when all workers have ended.
        self._end("stopped" if event["error"] == "stopped" else "failed")

    def lose(self, message: str) -> None:
        """The driver is gone, and so is everything that it led."""
        self.message = message
        self._end("lost")

    def _end(self, status: str) -> None:
        self.status = status
        for worker in self.silent_workers():
            worker.status = "ended"
