"""Readers of the event log for people: the progress line, and the live view of ``firesteel watch``."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from firesteel.data.preparation import PROGRESS_FOLDER
from firesteel.data.progress import progress_of
from firesteel.monitoring.events import EventReader
from firesteel.monitoring.state import RunState
from firesteel.storage import Place

_REFRESH_SECONDS = 0.25
_PLAIN_SECONDS = 5.0
_SILENT_SECONDS = 15.0


def duration(seconds: float | None) -> str:
    """``1:02:03``, ``4:05`` or ``--``."""
    if seconds is None:
        return "--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def status_line(state: RunState) -> str:
    """One line for logs and files: epoch, step, score, rate, time left."""
    if not state.total_steps:
        return f"{state.status}: waiting for the workers" if state.status == "starting" else state.status
    score = f"{state.score:.4f}" if state.score is not None else "--"
    evaluated = "" if state.evaluation is None else f" {evaluation_text(state.evaluation)}"
    return (
        f"{'stopping: ' if state.stopping and state.in_progress else ''}"
        f"epoch {min(state.epoch + 1, state.epochs)}/{state.epochs} step {state.step}/{state.total_steps}"
        f" score {score}{evaluated} {state.rows_per_second:,.0f} rows/s left {duration(state.seconds_left)}"
    )


def evaluation_text(event: Mapping[str, Any]) -> str:
    """``accuracy 0.9638``, of an ``evaluation`` event."""
    return f"{event['score']} {event['scores'][event['score']]:.4f}"


def run_view(state: RunState, *, details: bool) -> RenderableType:
    """What a terminal shows of a run.

    Args:
        state: of the run.
        details: also a table of the workers and the scores of the epochs.
    """
    bar = ProgressBar(total=max(1, state.total_steps), completed=state.step, width=14, pulse=not state.total_steps)
    line = Table.grid(padding=(0, 1))
    line.add_row(bar, Text(status_line(state)))
    if not details:
        return line
    parts: list[RenderableType] = [line, _workers_table(state)]
    if state.epoch_scores:
        scores = "  ".join(f"{epoch + 1}: {score:.4f}" for epoch, score in sorted(state.epoch_scores.items())[-8:])
        parts.append(Text(f"score by epoch   {scores}"))
    if state.best_evaluation is not None:
        best = state.best_evaluation
        parts.append(Text(f"best {evaluation_text(best)} at step {best['step']:,} (epoch {best['epoch']})"))
    if state.checkpoint is not None:
        parts.append(Text(f"checkpoint of step {state.checkpoint:,}"))
    parts += [Text(f"warning: {text}", style="yellow") for text in state.warnings[-3:]]
    if state.message:
        parts.append(Text(state.message, style="red"))
    return Group(*parts)


def _workers_table(state: RunState) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("worker")
    table.add_column("host", no_wrap=True, max_width=24)
    for name in ("device", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("step", "score", "rows/s", "data", "sync"):
        table.add_column(name, justify="right", no_wrap=True)
    for rank, worker in sorted(state.by_rank.items()):
        total = sum(worker.parts.values()) or 1.0
        data, sync = (f"{100 * worker.parts.get(part, 0.0) / total:.0f} %" for part in ("data_s", "sync_s"))
        silent = time.time() - worker.seen
        status = (
            f"silent {duration(silent)}" if worker.status == "training" and silent > _SILENT_SECONDS else worker.status
        )
        score = "--" if worker.score is None else f"{worker.score:.4f}"
        table.add_row(
            str(rank), worker.host, worker.device, status, str(worker.step), score, f"{worker.rows_per_second:,.0f}",
            data, sync,
        )  # fmt: skip
    return table


@contextlib.contextmanager
def following(console: Console, draw: Callable[[], RenderableType], plain: Callable[[], str | None]) -> Iterator[None]:
    """Show something that changes while the block runs: redrawn on a terminal, a line now and then elsewhere."""
    stop = threading.Event()
    if console.is_terminal:
        with Live(draw(), console=console, transient=True, refresh_per_second=4) as live:
            thread = threading.Thread(target=_redraw, args=(live, draw, stop), daemon=True)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
        return
    thread = threading.Thread(target=_say, args=(console, plain, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _redraw(live: Live, draw: Callable[[], RenderableType], stop: threading.Event) -> None:
    while not stop.wait(_REFRESH_SECONDS):
        with contextlib.suppress(OSError):  # storage that does not answer for a moment
            live.update(draw())


def _say(console: Console, plain: Callable[[], str | None], stop: threading.Event) -> None:
    last = None
    while not stop.wait(_PLAIN_SECONDS):
        with contextlib.suppress(OSError):
            line = plain()
            if line and line != last:
                console.print(line, highlight=False, markup=False)
                last = line


def watching_run(console: Console) -> Callable[[Place], contextlib.AbstractContextManager[Any]]:
    """The progress of a training run, for ``firesteel.train(..., watch=...)``."""

    def watch(run: Place) -> contextlib.AbstractContextManager[Any]:
        reader = EventReader(run)
        state = RunState().add(reader.new())
        said = len(state.warnings)

        def update() -> RunState:
            nonlocal said
            state.add(reader.new())
            for warning in state.warnings[said:]:
                console.print(warning, highlight=False, markup=False, soft_wrap=True)
            said = len(state.warnings)
            return state

        return following(console, lambda: run_view(update(), details=False), lambda: status_line(update()))

    return watch


def watching_preparation(
    console: Console, done: str = "prepared"
) -> Callable[[Place], contextlib.AbstractContextManager[Any]]:
    """The progress of a preparation or an export, for ``firesteel.prepare(..., watch=...)``."""
    return lambda dataset: _following_rows(console, done, dataset / PROGRESS_FOLDER)


def watching_analysis(console: Console) -> Callable[[Place], contextlib.AbstractContextManager[Any]]:
    """The progress of an analysis, for ``firesteel.analyze(..., watch=...)``."""
    return lambda folder: _following_rows(console, "analysed", folder)


def watching_evaluation(console: Console) -> Callable[[Place], contextlib.AbstractContextManager[Any]]:
    """The progress of an evaluation, for ``firesteel.evaluate(..., watch=...)``."""
    return lambda folder: _following_rows(console, "evaluated", folder)


def _following_rows(console: Console, done: str, folder: Place) -> contextlib.AbstractContextManager[Any]:
    began = time.monotonic()

    def line() -> str:
        rows, total = progress_of(folder)
        if not rows:
            return "waiting for the first rows"
        rate = rows / max(1e-9, time.monotonic() - began)
        of = f" of {total:,}" if total else ""
        left = f"  left {duration(max(0, total - rows) / rate)}" if total else ""
        return f"{done} {rows:,}{of} rows  {rate:,.0f} rows/s{left}"

    return following(console, lambda: Text(line()), line)


def watch_run(run: Place, console: Console, *, once: bool = False) -> RunState:
    """Show a run until it ends; returns its last state.

    Args:
        run: its directory; it may be on storage that another machine writes.
        console: to draw on.
        once: show the present state and return.
    """
    reader, state = EventReader(run), RunState()
    present_state(reader, state)
    if not once and state.in_progress:
        with following(console, lambda: run_view(state, details=True), lambda: status_line(state)):
            while state.in_progress:
                time.sleep(_REFRESH_SECONDS)
                present_state(reader, state)
    console.print(run_view(state, details=True))
    return state


def present_state(reader: EventReader, state: RunState) -> RunState:
    """Bring a state up to date; find out, where that can be seen, whether the run's driver is still there."""
    state.add(reader.new())
    if state.in_progress and state.driver is not None and not _is_there(*state.driver):
        state.add(reader.new())  # what it wrote last
        if state.in_progress:
            state.lose(f"the process that led this run ({state.driver[1]} on {state.driver[0]}) ended without a word")
    return state


def _is_there(host: str, process: int) -> bool:
    """False only if the process is certain to be gone."""
    if host != socket.gethostname():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
