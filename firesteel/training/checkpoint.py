"""Checkpoints on storage: written aside by each worker, made visible by one small file.

::

    RUN/checkpoints/step-00001300/
        worker-00000.safetensors     state of worker 0 (see firesteel.training.state); values as JSON in its header
        worker-00001.safetensors     of worker 1: what differs from worker 0
        complete.json                written last, by worker 0, when all files are there: it is the commit
    RUN/latest                       name of the newest one, for people; readers look at the folders themselves

Training stops only while the state is copied in memory; a thread writes the copy. Old checkpoints go when a newer one is
complete: there is never a moment without a whole one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from firesteel._version import __version__
from firesteel.errors import CheckpointError, FiresteelError
from firesteel.monitoring.events import EventWriter
from firesteel.storage import Place
from firesteel.training.state import WorkerState
from firesteel.world import Meeting, World

if TYPE_CHECKING:
    from torch.distributed import TCPStore

CHECKPOINTS_FOLDER = "checkpoints"
COMPLETE_NAME = "complete.json"
LATEST_NAME = "latest"
FORMAT_VERSION = 1


class CheckpointInfo(BaseModel):
    """What ``complete.json`` holds.

    Attributes:
        format_version: of the checkpoint.
        number: 1 for the first checkpoint of the run, and so on.
        step: optimizer steps made.
        epoch: that the next step belongs to, from 0.
        step_in_epoch: steps of it that were made.
        workers: that wrote it.
        files: name -> bytes.
        seconds: of training so far.
        reason: why it was written.
        written: seconds since 1970.
        versions: of what wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    number: int
    step: int
    epoch: int
    step_in_epoch: int
    workers: int
    files: dict[str, int]
    seconds: float
    reason: str
    written: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on storage."""

    place: Place
    info: CheckpointInfo

    @property
    def name(self) -> str:
        return self.place.name

    def state_of(self, rank: int) -> WorkerState:
        """The state of one of the workers that wrote it; where it was worker 0's, that is in it.

        Raises:
            CheckpointError: if a file is damaged.
        """
        first = self._read(0)
        if rank == 0:
            return first
        own = self._read(rank)
        own.tensors = {
            name: tensor for name, tensor in first.tensors.items() if name.startswith(("model/", "optimizer/"))
        } | own.tensors
        return own

    def common_state(self) -> WorkerState:
        """The one model that the workers had together at that moment, for any number of workers.

        Parameters, floating buffers and moments of the optimizer are the mean over the workers, weighted by the rows that
        each had seen since their last exchange. Of worker 0 are integers, clocks and what the update keeps; of nobody the
        random states and what the strategy kept for each worker.
        """
        states = [self.state_of(rank) for rank in range(self.info.workers)]
        first = states[0]
        weights = [state.values["weight"] for state in states]
        common = WorkerState(values={k: v for k, v in first.values.items() if k not in ("sync", "random")})
        for name, tensor in first.tensors.items():
            if not name.startswith(("model/", "optimizer/")):
                continue
            parts = [state.tensors[name] for state in states]
            if tensor.is_floating_point() and any(
                part is not tensor and not torch.equal(part, tensor) for part in parts
            ):
                total = sum(weight * part.double() for weight, part in zip(weights, parts))
                common.tensors[name] = torch.as_tensor(total).to(tensor.dtype)
            else:
                common.tensors[name] = tensor
        return common

    def values_of_all(self) -> list[dict[str, Any]]:
        """The JSON values of every worker."""
        return [self._read(rank).values for rank in range(self.info.workers)]

    def _read(self, rank: int) -> WorkerState:
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.place / _file_name(rank)
        data = path.read_bytes()
        try:
            if len(data) != self.info.files[path.name]:
                raise ValueError(f"it has {len(data)} bytes, not {self.info.files[path.name]}")
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return WorkerState(tensors, json.loads(header["__metadata__"]["values"]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged: {error}. An older checkpoint may be whole.") from error


def checkpoints_of(run: Place) -> list[Checkpoint]:
    """All whole checkpoints of a run, the oldest first."""
    folder = run / CHECKPOINTS_FOLDER
    if not folder.exists():
        return []
    found = []
    for name in folder.folders():
        place = folder / name
        if (place / COMPLETE_NAME).exists():
            found.append(Checkpoint(place, _read_info(place / COMPLETE_NAME)))
    return sorted(found, key=lambda checkpoint: checkpoint.info.step)


def find_checkpoint(run: Place, which: str = "latest") -> Checkpoint | None:
    """A checkpoint of a run by step number, or the newest whose files are all there.

    Args:
        run: its directory.
        which: ``latest``, or a step.

    Raises:
        CheckpointError: if there is none of that step.
    """
    found = checkpoints_of(run)
    if which == "latest":
        whole = (each for each in reversed(found) if all(_is_there(each, name) for name in each.info.files))
        return next(whole, None)
    for checkpoint in found:
        if which.isdecimal() and checkpoint.info.step == int(which):
            return checkpoint
    steps = ", ".join(str(each.info.step) for each in found) or "none"
    raise CheckpointError(f"{run} has no checkpoint of step {which}. It has: {steps}.")


def _is_there(checkpoint: Checkpoint, name: str) -> bool:
    try:
        return (checkpoint.place / name).size() == checkpoint.info.files[name]
    except FiresteelError:
        return False


def _read_info(path: Place) -> CheckpointInfo:
    try:
        return CheckpointInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is not readable by this version: {str(error).splitlines()[0]}") from error


def _file_name(rank: int) -> str:
    return f"worker-{rank:05d}.safetensors"


def folder_name(step: int) -> str:
    return f"step-{step:08d}"


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay.

    Attributes:
        last: so many of the newest.
        every: of all others each N-th, counted from the first of the run; None keeps none of them.
    """

    last: int = 2
    every: int | None = None

    def superfluous(self, found: list[Checkpoint]) -> Iterator[Checkpoint]:
        """Those of all whole checkpoints, the oldest first, that need not stay."""
        for checkpoint in found[: -self.last]:
            if self.every is None or checkpoint.info.number % self.every:
                yield checkpoint


class CheckpointWriter:
    """Writes the checkpoints of one worker, in a thread.

    Args:
        run: its directory.
        world: who this worker is.
        meeting: through which worker 0 learns that the others have written; None for one worker.
        keep: which ones stay.
        events: for what goes wrong: a checkpoint that cannot be written is a warning, not the end of the training.
        timeout_s: worker 0 waits so long for the files of the others.
    """

    def __init__(
        self, run: Place, world: World, meeting: Meeting | None, keep: Keep, events: EventWriter, timeout_s: float
    ):
        self._run, self._world, self._meeting, self._keep = run, world, meeting, keep
        self._events, self._timeout_s = events, timeout_s
        self._copy: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._store: TCPStore | None = None
        self._found: list[Checkpoint] | None = None
        self._last_step = -1
        self.failure: str | None = None

    def save(self, state: WorkerState, where: Mapping[str, Any], reason: str) -> None:
        """Copy a state and begin to write it; waits for the write before. Nothing happens twice at one step.

        Args:
            state: of this worker; its tensors may change when this returns.
            where: step, epoch, step_in_epoch and seconds of the training.
            reason: why, in a word or two.
        """
        if where["step"] == self._last_step:
            return
        self.wait()
        began = time.perf_counter()
        self._last_step = where["step"]
        values = json.dumps(state.values)
        copy = self._copied(state.tensors)
        stalled = time.perf_counter() - began
        self._thread = threading.Thread(
            target=self._write,
            args=(copy, values, dict(where), reason, stalled),
            name="firesteel-checkpoint",
            daemon=True,
        )
        self._thread.start()

    def also(self, work: Callable[[], None]) -> None:
        """Do something else in the same thread, after what is being written."""
        self.wait()
        self._thread = threading.Thread(target=work, name="firesteel-checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _copied(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A copy on the CPU, in the memory of the copy before: new pages cost more than the copying."""
        kept = {}
        for name, tensor in tensors.items():
            old = self._copy.get(name)
            if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
                old = torch.empty(tensor.shape, dtype=tensor.dtype)
            kept[name] = old
        self._copy = kept
        pairs = [(kept[name], tensor) for name, tensor in tensors.items()]
        for copy, tensor in pairs:
            copy.copy_(tensor)
        return kept

    def _write(
        self, tensors: dict[str, Tensor], values: str, where: dict[str, Any], reason: str, stalled: float
    ) -> None:
        began = time.perf_counter()
        name = folder_name(where["step"])
        folder = self._run / CHECKPOINTS_FOLDER / name
        try:
            size = self._write_own(folder / _file_name(self._world.rank), tensors, values)
            answer = str(size)
        except Exception as error:  # a full disk, storage that is away: training goes on without this checkpoint
            answer = f"{type(error).__name__}: {error}"
        try:
            if self._world.rank > 0:
                self._client().set(f"checkpoint/{name}/{self._world.rank}", answer)
                self._warn_unless_size(answer, name)
                return
            sizes = self._sizes(name, answer)
            for each in sizes:
                if not each.isdecimal():
                    raise CheckpointError(each)
            info = CheckpointInfo(
                number=self._next_number(), workers=self._world.world_size, reason=reason, written=round(time.time(), 3),
                files={_file_name(rank): int(each) for rank, each in enumerate(sizes)},
                versions={"firesteel": __version__, "torch": torch.__version__}, **where,
            )  # fmt: skip
            (folder / COMPLETE_NAME).write_text(info.model_dump_json(indent=1))
            (self._run / LATEST_NAME).write_text(name + "\n")
            self._forget_old(Checkpoint(folder, info))
            self._events.write(
                "checkpoint", step=where["step"], name=name, reason=reason, bytes=sum(info.files.values()),
                stalled_s=round(stalled, 4), seconds=round(time.perf_counter() - began, 3),
            )  # fmt: skip
            self.failure = None
        except Exception as error:
            self._warn(f"the checkpoint of step {where['step']} could not be written: {error}")

    def _write_own(self, path: Place, tensors: dict[str, Tensor], values: str) -> int:
        from safetensors.torch import save

        data = save(tensors, metadata={"values": values})
        path.write_bytes(data)
        return len(data)

    def _sizes(self, name: str, own: str) -> list[str]:
        answers = [own]
        for rank in range(1, self._world.world_size):
            key = f"checkpoint/{name}/{rank}"
            self._client().wait([key], timedelta(seconds=self._timeout_s))
            answers.append(self._client().get(key).decode())
        return answers

    def _client(self) -> TCPStore:
        assert self._meeting is not None
        if self._store is None:
            self._store = self._meeting.client()
        return self._store

    def _next_number(self) -> int:
        if self._found is None:
            self._found = checkpoints_of(self._run)
        return max((each.info.number for each in self._found), default=0) + 1

    def _forget_old(self, newest: Checkpoint) -> None:
        assert self._found is not None
        self._found = [each for each in self._found if each.info.step != newest.info.step] + [newest]
        self._found.sort(key=lambda each: each.info.step)
        for old in list(self._keep.superfluous(self._found)):
            (old.place / COMPLETE_NAME).delete()  # first: half a folder must not look like a checkpoint
            old.place.delete()
            self._found.remove(old)

    def _warn_unless_size(self, answer: str, name: str) -> None:
        if not answer.isdecimal():
            self._warn(f"checkpoint {name}: {answer}")

    def _warn(self, message: str) -> None:
        self.failure = message
        self._events.write("warning", message=message)
