"""Writing checkpoints while training goes on."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from firesteel._version import __version__
from firesteel.errors import CheckpointError
from firesteel.monitoring.events import EventWriter
from firesteel.storage import Place
from firesteel.training.checkpoint import (
    CHECKPOINTS_FOLDER,
    COMPLETE_NAME,
    LATEST_NAME,
    Checkpoint,
    CheckpointInfo,
    Keep,
    checkpoints_of,
    file_name,
    folder_name,
)
from firesteel.training.state import WorkerState
from firesteel.world import Meeting, World

if TYPE_CHECKING:
    from torch.distributed import TCPStore


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

    def also(self, work: Callable[[], None], what: str) -> None:
        """Write something else in the same thread, after what is being written; ``what`` is for a warning."""
        self.wait()

        def do() -> None:
            try:
                work()
            except Exception as error:
                self._warn(f"{what} could not be written: {error}")

        self._thread = threading.Thread(target=do, name="firesteel-checkpoint", daemon=True)
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
            size = self._write_own(folder / file_name(self._world.rank), tensors, values)
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
                files={file_name(rank): int(each) for rank, each in enumerate(sizes)},
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
        from safetensors.torch import save_file

        # To a file: it writes from the tensors' own memory, without the interpreter's lock, and training goes on.
        with path.writing_path() as local:
            save_file(tensors, local, metadata={"values": values})
            return os.path.getsize(local)

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
