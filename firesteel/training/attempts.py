"""Going on after a failure: from the last checkpoint, with as many workers as there are."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from firesteel.errors import TooFewSlots, WorkerFailed
from firesteel.launch import Launcher
from firesteel.monitoring.events import EventWriter
from firesteel.storage import Place
from firesteel.training.checkpoint import find_checkpoint
from firesteel.training.job import TrainPayload

TRAIN_WORKER = "firesteel.training.worker:train_worker"
"""By name: the driver of a network of the zoo then needs no torch, which takes a second to import."""


class Attempts:
    """Runs the workers of a job until they end well, or until it makes no sense to try again.

    All rows that were trained since the last checkpoint are trained again from the same state, so that none is lost or
    counted twice.

    Args:
        launcher: of the workers.
        payload: for them; checkpoint and attempt are filled in.
        events: of the launcher.
        workers: how many; a number that has been lowered once stays.
        named: makes a failure name what the event log knows of the lost worker.
        stopping: whether the run was asked to stop: then it is not begun again.
    """

    def __init__(
        self,
        launcher: Launcher,
        payload: TrainPayload,
        events: EventWriter,
        *,
        workers: int,
        named: Callable[[WorkerFailed], WorkerFailed],
        stopping: Callable[[], bool],
    ):
        self._launcher, self._payload, self._events, self._named = launcher, payload, events, named
        self._stopping = stopping
        self._workers, self._run = workers, Place.of(payload.run)
        self.restarts = 0
        self._last: WorkerFailed | None = None

    def results(self) -> list[dict[str, Any]]:
        """What the workers of the last attempt return.

        Raises:
            WorkerFailed: for a failure after the last restart that is allowed, or one that came back at the same step.
            TooFewSlots: if there are not even ``min_workers`` slots.
        """
        while True:
            try:
                return self._attempt()
            except WorkerFailed as error:
                failure = self._named(error)
                if self._stopping():
                    raise failure from error
                self._refuse_or_restart(failure)
            except TooFewSlots:
                least = self._payload.job.min_workers or self._workers
                if self._workers <= least:
                    raise
                slots = self._launcher.slots() or self._workers
                self._workers = max(least, min(slots, self._workers - 1))
                self._events.write("warning", message=f"too few slots; trying {_workers(self._workers)}")

    def _attempt(self) -> list[dict[str, Any]]:
        checkpoint = find_checkpoint(self._run)
        payload = replace(
            self._payload,
            attempt=secrets.token_hex(8),
            checkpoint=None if checkpoint is None else checkpoint.info.step,
        )
        self._events.write("attempt", workers=self._workers, checkpoint=payload.checkpoint, restarts=self.restarts)
        return self._launcher.run(
            TRAIN_WORKER, payload, workers=self._workers, meet=True, timeout_s=payload.job.timeout_s
        )

    def _refuse_or_restart(self, failure: WorkerFailed) -> None:
        allowed = self._payload.job.max_restarts
        if _comes_back(self._last, failure):
            raise WorkerFailed(
                f"{failure}\nIt came back at the same step after a restart, so it is not tried again.",
                rank=failure.rank, worker_traceback=failure.worker_traceback,
            ) from failure  # fmt: skip
        if self.restarts >= allowed:
            if allowed:
                self._events.write("warning", message=f"{allowed} restarts are used up (--max-restarts)")
            raise failure
        self._last = failure
        self.restarts += 1
        checkpoint = find_checkpoint(self._run)
        where = "the beginning" if checkpoint is None else f"step {checkpoint.info.step}"
        reason = str(failure).splitlines()[0].rstrip(".")
        self._events.write(
            "restart", number=self.restarts, rank=failure.rank, reason=reason,
            message=f"{reason}; going on from {where}", lost=time.time(),
        )  # fmt: skip


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number != 1)}"


def _comes_back(before: WorkerFailed | None, now: WorkerFailed) -> bool:
    """Whether the user's code has raised the same at the same step again. A worker that is lost may be lost again."""
    return before is not None and now.cause is not None and (before.cause, before.step) == (now.cause, now.step)
