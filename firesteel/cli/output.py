"""How the command line talks: results on standard output, everything else on standard error, and the exit status."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
import unicodedata
from collections.abc import Iterator
from typing import Any, NoReturn

from rich.console import Console

from firesteel.errors import ConfigError, FiresteelError, WorkerFailed

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""For people: progress, notes, errors. Standard output holds results only."""


def printable(text: str) -> str:
    """Text that came from data, without characters that a terminal would obey."""
    return "".join(c if unicodedata.category(c)[0] != "C" or c == "\n" else repr(c)[1:-1] for c in text)


def say(text: str = "") -> None:
    """A line of the result on standard output."""
    print(printable(text))


def note(text: str) -> None:
    """A line for people on standard error."""
    console.print(printable(text), markup=False)


def print_json(value: Any) -> None:
    """The one JSON object on standard output. NaN and infinity, which JSON lacks, become null."""
    print(json.dumps(_finite(value), ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


@contextlib.contextmanager
def answering(debug: bool) -> Iterator[None]:
    """Turn exceptions into one to four lines and an exit status: 1 failed, 2 wrong use, 130 Ctrl-C, 143 SIGTERM."""
    stopped_by: list[int] = []

    def interrupt(number: int, frame: Any) -> NoReturn:
        stopped_by.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the ending short
        note("Stopped. Nothing half-written is left that looks whole.")
        sys.stdout.flush()
        sys.exit(143 if stopped_by else 130)
    except FiresteelError as error:
        if debug:
            traceback.print_exc()
            if isinstance(error, WorkerFailed) and error.worker_traceback:
                note(f"\nOn the worker:\n{error.worker_traceback}")
        _print_error(str(error))
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _print_error(
            f"unexpected {type(error).__name__}: {error}\nThis is a defect of Firesteel; --debug shows where it is."
        )
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_error(text: str) -> None:
    console.print("Error: ", style="bold red", end="")
    note(text)
