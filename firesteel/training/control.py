"""Between steps: when to evaluate, to keep a checkpoint, to stop. The same on all workers at the same step.

Steps and epochs are the same on every worker: what is due by them each worker knows by itself. Time, the loss over all
workers, conditions to stop and a request from outside are known to one: at *control steps* the workers add up their
losses and worker 0 says the time, the decision and the next control step, which is about a tenth of a second away. A
strategy whose workers meet anyway is asked then, right after they have met.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from firesteel.data.loader import Batch
from firesteel.errors import FiresteelError
from firesteel.evaluation.counts import Evaluation
from firesteel.monitoring.events import STOP_REQUESTED, EventWriter
from firesteel.process import POSITION, WAITS
from firesteel.storage import Place
from firesteel.sync.base import SyncStrategy
from firesteel.sync.common import common_model
from firesteel.training.best import BestModel
from firesteel.training.callbacks import Callback, Progress
from firesteel.training.checkpoint_writer import CheckpointWriter
from firesteel.training.conditions import MaximumSteps, Record
from firesteel.training.state import WorkerState
from firesteel.training.stopping import Stopping, StopReason
from firesteel.training.triggers import Clock
from firesteel.training.validation import Validator
from firesteel.world import World

_CONTROL_S = 0.1
"""Wanted time between two control steps: a Ctrl-C is heard that soon, and the exchange costs less than a percent."""

_APART_CONTROL_S = 10.0
"""The same where workers do not meet within an epoch: each control step makes the fast wait for the slow."""

_GO_ON, _CONDITION, _REQUEST = 0.0, 1.0, 2.0


class Control(Callback):
    """Evaluates, keeps checkpoints and stops.

    Args:
        world: who this worker is.
        sync: the strategy.
        model: the network itself.
        stopping: conditions; asked on rank 0.
        evaluate: when the validation split is evaluated.
        validator: evaluates it; None if it never is.
        best: keeps the best model, on rank 0.
        checkpoint: when a checkpoint is kept.
        writer: writes it; None if none is kept, also not at the end.
        capture: the state of this worker.
        requested: whether somebody wants the training to stop; asked on rank 0.
        events: of this worker.
        epochs: of the job.
        steps_per_epoch: of the job.
    """

    def __init__(
        self,
        *,
        world: World,
        sync: SyncStrategy,
        model: nn.Module,
        stopping: Stopping,
        evaluate: Clock,
        validator: Validator | None,
        best: BestModel,
        checkpoint: Clock,
        writer: CheckpointWriter | None,
        capture: Callable[[], WorkerState],
        requested: Callable[[], bool],
        events: EventWriter,
        epochs: int,
        steps_per_epoch: int,
    ):
        self._world, self._sync, self._model, self._stopping = world, sync, model, stopping
        self._evaluate, self._validator, self._best = evaluate, validator, best
        self._checkpoint, self._writer, self._capture = checkpoint, writer, capture
        self._requested, self._events = requested, events
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._loss = torch.zeros((), dtype=torch.float64, device=world.torch_device)
        self._rows = 0
        self._training_loss: float | None = None
        self._seconds = 0.0  # of rank 0, at the last control step
        self._next, self._last, self._last_s = 1, 0, 0.0
        self.reason: StopReason | None = None

    def state(self) -> dict[str, Any]:
        """Clocks, evaluations and the loss since the last control step, in JSON values."""
        return {
            "evaluate": self._evaluate.state(), "checkpoint": self._checkpoint.state(),
            "stopping": self._stopping.state(), "seconds": self._seconds, "training_loss": self._training_loss,
            "loss": [float(self._loss), self._rows],
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._evaluate.load_state(state["evaluate"])
        self._checkpoint.load_state(state["checkpoint"])
        self._stopping.load_state(state["stopping"])
        self._seconds, self._training_loss = state["seconds"], state["training_loss"]
        loss, self._rows = state["loss"]
        self._loss.fill_(loss)

    def on_train_begin(self, progress: Progress) -> None:
        self._last, self._last_s, self._next = progress.step, progress.seconds, progress.step + 1
        if progress.step:  # a run that goes on may have reached what is to stop it now
            self._agree(progress, epoch_ended=progress.step_in_epoch == 0)

    def on_step_end(self, progress: Progress, loss: Tensor, batch: Batch) -> None:
        if batch.rows:
            self._loss.add_(loss, alpha=batch.rows)
        self._rows += batch.rows
        if progress.step_in_epoch == self._steps_per_epoch:
            return  # what is due now is done at the end of the epoch, when the workers have one model
        if progress.step >= self._next and (self._sync.in_step or self._sync.never_in_step):
            self._agree(progress, epoch_ended=False)
        self._do_what_is_due(progress, epoch_ended=False)

    def on_epoch_end(self, progress: Progress) -> None:
        self._agree(progress, epoch_ended=True)
        self._do_what_is_due(progress, epoch_ended=True)

    def on_train_end(self, progress: Progress) -> None:
        if self._writer is not None:
            self._writer.wait()

    # -- what is decided together ------------------------------------------------------------------------------------

    def _agree(self, progress: Progress, *, epoch_ended: bool) -> None:
        """A control step: add up losses, hear from rank 0 the time, whether to stop and when to meet again."""
        POSITION.at(progress.step, WAITS)
        sums = torch.tensor([float(self._loss), self._rows], dtype=torch.float64)
        self._loss.zero_()
        self._rows = 0
        if self._world.world_size > 1:
            dist.all_reduce(sums)
        if sums[1]:
            self._training_loss = float(sums[0] / sums[1])
        said = torch.zeros(3, dtype=torch.float64)
        if self._world.rank == 0:
            self._ask(self._stopping.on_check, self._record(progress, progress.seconds, epoch_ended))
            said[:] = torch.tensor([self._decision(), progress.seconds, self._interval(progress)])
        self._hear(progress, said)
        self._seconds, self._next = float(said[1]), progress.step + int(said[2])

    def _decision(self) -> float:
        if self.reason is not None:
            return _CONDITION
        return _REQUEST if self._requested() else _GO_ON

    def _hear(self, progress: Progress, said: Tensor) -> None:
        if self._world.world_size > 1:
            dist.broadcast(said, src=0)
        if said[0] == _REQUEST:
            progress.stop = STOP_REQUESTED
        elif said[0] == _CONDITION:
            progress.stop = str(self.reason or "a condition held")

    def _ask(self, question: Callable[[Record], StopReason | None], record: Record) -> None:
        if self.reason is None:
            self.reason = question(record)

    def _record(
        self, progress: Progress, seconds: float, epoch_ended: bool, evaluation: Evaluation | None = None
    ) -> Record:
        epoch = progress.epoch if epoch_ended else progress.epoch + 1
        return Record(progress.step, epoch, epoch_ended, seconds, self._training_loss, evaluation)

    def _interval(self, progress: Progress) -> int:
        """Steps until about the wanted time has passed."""
        steps, seconds = progress.step - self._last, progress.seconds - self._last_s
        self._last, self._last_s = progress.step, progress.seconds
        most = [each.maximum - progress.step for each in self._stopping.conditions if isinstance(each, MaximumSteps)]
        wanted = _APART_CONTROL_S if self._sync.never_in_step else _CONTROL_S
        if not steps or seconds <= 0:
            return 1
        # A maximum of steps is known beforehand: it is met to the step.
        return max(1, min(math.ceil(wanted * steps / seconds), 10_000, *most))

    # -- what each rank knows ----------------------------------------------------------------------------------------

    def _do_what_is_due(self, progress: Progress, *, epoch_ended: bool) -> None:
        place = (progress.step, progress.epoch, self._seconds)
        if self._validator is not None and self._evaluate.due(*place):
            self._validate(progress, epoch_ended=epoch_ended)
        if self._writer is None:
            return
        due = self._checkpoint.due(*place)
        if progress.stop is not None:
            self._save(progress, "stop")
        elif progress.epoch == self._epochs:
            self._save(progress, "end")
        elif due:
            self._save(progress, "due")

    def _save(self, progress: Progress, reason: str) -> None:
        assert self._writer is not None
        where = {
            "step": progress.step, "epoch": progress.epoch, "step_in_epoch": progress.step_in_epoch,
            "seconds": round(progress.seconds, 3),
        }  # fmt: skip
        self._writer.save(self._capture(), where, reason)

    def _validate(self, progress: Progress, *, epoch_ended: bool) -> None:
        assert self._validator is not None
        POSITION.at(progress.step, WAITS)
        # At the end of an epoch the workers have one model already.
        world = World() if epoch_ended else self._world
        with common_model(self._model, self._sync, world):
            evaluation = self._validator.evaluate(self._model)
            record = self._record(progress, self._seconds, epoch_ended, evaluation)
            self._ask(self._stopping.on_evaluation, record)
            if self._world.rank == 0:
                self._tell(progress, record)
                if self._stopping.is_best:
                    self._best.keep(self._model, self._stopping.history[-1], self._stopping.score)
        self._ask(self._stopping.on_check, record)
        self._hear(progress, torch.tensor([_CONDITION if self.reason is not None else _GO_ON], dtype=torch.float64))

    def _tell(self, progress: Progress, record: Record) -> None:
        last = self._stopping.history[-1]
        self._events.write(
            "evaluation", step=progress.step, epoch=record.epoch, epoch_ended=record.epoch_ended,
            scores=dict(last.scores), score=self._stopping.score.key, best=self._stopping.is_best,
        )  # fmt: skip


class StopRequest:
    """Whether a file that asks a run to stop is there; looked for by a thread, since storage may be slow.

    Args:
        path: of the file.
        every_s: seconds between two looks.
    """

    def __init__(self, path: Place, every_s: float = 0.2):
        self._path, self._every_s = path, every_s if path.is_local else max(every_s, 2.0)
        self._found = threading.Event()
        self._end = threading.Event()
        threading.Thread(target=self._look, name="firesteel-stop-request", daemon=True).start()

    def __call__(self) -> bool:
        return self._found.is_set()

    def close(self) -> None:
        """Look no more."""
        self._end.set()

    def _look(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                if self._path.exists():
                    self._found.set()
                    return
            except (FiresteelError, OSError):  # storage that does not answer for a moment
                continue
