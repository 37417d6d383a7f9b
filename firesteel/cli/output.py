"""How the command line talks: results on standard output, everything else on standard error, and the exit status."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console

from firesteel.errors import ConfigError, FiresteelError
from firesteel.stderr import muted

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""For people: progress, notes, errors. Standard output holds results only."""


def printable(text: str) -> str:
    """Text that came from data, without characters that a terminal would obey."""
    if text.isprintable():  # most is, and then it costs a hundredth
        return text
    return "".join(c if unicodedata.category(c)[0] != "C" or c == "\n" else repr(c)[1:-1] for c in text)


def say(text: str = "", *, at_once: bool = False) -> None:
    """A line of the result on standard output; ``at_once`` also where that is a pipe, whose reader waits for it."""
    print(printable(text), flush=at_once)


def note(text: str) -> None:
    """A line for people on standard error."""
    console.print(printable(text), markup=False)


def print_json(value: Any, *, at_once: bool = False) -> None:
    """The one JSON object on standard output. NaN and infinity, which JSON lacks, become null."""
    print(_json(value), flush=at_once)


def print_json_list(
    head: dict[str, Any], name: str, items: Iterable[dict[str, Any]], tail: Callable[[], dict[str, Any]]
) -> None:
    """The one JSON object on standard output, with a list in it whose items are printed as they come.

    Args:
        head: what stands before the list.
        name: of the list.
        items: of the list. Nothing is printed before the first is there, and nothing closes the object if they raise.
        tail: gives what stands behind it.
    """
    separator = _json(head)[:-1] + f', "{name}": ['
    for item in items:
        sys.stdout.write(separator + _json(item))
        separator = ", "
    sys.stdout.write(separator if separator != ", " else "")
    print("], " + _json(tail())[1:])


def _json(value: Any) -> str:
    text = json.dumps(_finite(value), ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return json.dumps(_finite(value))
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


@contextlib.contextmanager
def answering(debug: bool, *, stopped: Callable[[], str] = lambda: "Stopped.") -> Iterator[None]:
    """Turn exceptions into one to four lines and an exit status: 1 failed, 2 wrong use, 130 Ctrl-C, 143 SIGTERM.

    Args:
        debug: show tracebacks.
        stopped: what to say after Ctrl-C or SIGTERM, when everything has been cleaned up.
    """
    stop = _StopSignals(debug)
    try:
        with stop:
            yield
    except BaseException as error:
        if stop.number is not None:  # whatever the interrupted call made of it
            note(stopped())
            sys.stdout.flush()
            sys.exit(128 + stop.number)
        _answer(error, debug)


def _answer(error: BaseException, debug: bool) -> None:
    if isinstance(error, FiresteelError):
        if debug:
            traceback.print_exc()
            if error.worker_traceback:
                note(f"\nOn the worker:\n{error.worker_traceback}")
        _print_error(str(error))
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    if isinstance(error, BrokenPipeError):  # the reader of our output went away, as `head` does
        sys.stderr.close()
        sys.exit(1)
    if debug or not isinstance(error, Exception):
        raise error
    _print_error(
        f"unexpected {type(error).__name__}: {error}\nThis is a defect of Firesteel; --debug shows where it is."
    )
    sys.exit(1)


class _StopSignals:
    """Lets Ctrl-C and SIGTERM unwind the stack once; while it unwinds, Spark's cries are kept from the terminal.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(self, debug: bool):
        self.number: int | None = None
        self._debug = debug
        self._before: dict[int, Any] = {}
        self._muting = contextlib.ExitStack()

    def __enter__(self) -> _StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._muting.close()

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.number is not None:  # a second Ctrl-C must not cut the ending short
            return
        self.number = number
        if not self._debug:
            self._muting.enter_context(muted())
        raise KeyboardInterrupt


def _print_error(text: str) -> None:
    console.print("Error: ", style="bold red", end="")
    note(text)
