"""Numbered pieces of work, done in processes of this host; each takes the next piece when it has done one."""

from __future__ import annotations

import base64
import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from firesteel.launch import InProcess, Launcher
from firesteel.world import Meeting, World

Begin = Callable[[Any, World], Callable[[int], Any]]
"""Called once in each process with the work and the process's place; what it returns is called with each number."""


def run_pieces(launcher: Launcher, workers: int, begin: Begin, work: Any, count: int) -> list[Any]:
    """Do the pieces 0 to ``count - 1`` of a work.

    Args:
        launcher: of the processes.
        workers: how many processes, at most; one is this process.
        begin: importable.
        work: picklable.
        count: of pieces.

    Returns:
        what each piece gave, by number; picklable.

    Raises:
        FiresteelError: that a piece raised, of the same type.
        WorkerFailed: if one raised anything else, or a process ended.
    """
    workers = max(1, min(workers, count))
    if count == 0:
        return []
    if workers == 1:
        (done,) = InProcess().run(_do_pieces, _Pieces(begin, work, count, None), workers=1, meet=False)
        return [result for _, result in done]
    with tempfile.TemporaryDirectory(prefix="firesteel-") as taken:
        parts = launcher.run(_do_pieces_elsewhere, _Pieces(begin, work, count, taken), workers=workers, meet=False)
    done = [piece for part in parts for piece in pickle.loads(base64.b64decode(part))]  # from our own processes
    return [result for _, result in sorted(done, key=_number)]


def map_local(
    launcher: Launcher, workers: int, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Run an importable function once per tuple of arguments; see :func:`run_pieces`.

    Returns:
        the results in the order of ``arguments``.
    """
    return run_pieces(launcher, workers, _calling, (function, arguments), len(arguments))


def _calling(work: tuple[Callable[..., Any], Sequence[tuple[Any, ...]]], world: World) -> Callable[[int], Any]:
    function, arguments = work
    return lambda number: function(*arguments[number])


@dataclass(frozen=True)
class _Pieces:
    """What each process gets.

    Attributes:
        begin, work, count: see :func:`run_pieces`.
        taken: folder in which a process leaves a file for each number that it takes; None if there is one process.
    """

    begin: Begin
    work: Any
    count: int
    taken: str | None

    def take(self, number: int) -> bool:
        """Whether no other process has taken this number."""
        if self.taken is None:
            return True
        try:
            os.close(os.open(os.path.join(self.taken, str(number)), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True


def _do_pieces(pieces: _Pieces, world: World, meeting: Meeting | None) -> list[tuple[int, Any]]:
    function = pieces.begin(pieces.work, world)
    return [(number, function(number)) for number in range(pieces.count) if pieces.take(number)]


def _do_pieces_elsewhere(pieces: _Pieces, world: World, meeting: Meeting | None) -> str:
    return base64.b64encode(pickle.dumps(_do_pieces(pieces, world, meeting))).decode()


def _number(piece: tuple[int, Any]) -> int:
    return piece[0]
