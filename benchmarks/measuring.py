"""What the benchmarks share: contestants that run in turns, commands with their seconds, and a small table."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FIRESTEEL = [sys.executable, "-m", "firesteel.cli.main"]
"""The console script ``firesteel``, of the interpreter in use."""


def in_turns(contestants: Mapping[str, Callable[[], T]], runs: int, *, warm_up: bool = True) -> dict[str, list[T]]:
    """Results of each contestant, ``runs`` of them, by name.

    They run one after the other in rounds, each second round backwards, so that all of them see the same good and bad
    times of the machine. The first round is only for its caches and is left out, unless ``warm_up`` is False.
    """
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(runs + warm_up):
        names = list(contestants)
        for name in reversed(names) if number % 2 else names:
            result = contestants[name]()
            if number >= warm_up:
                results[name].append(result)
        note(f"round {number + 1} of {runs + warm_up} done" + " (warm-up)" * (number < warm_up))
    return results


def ratio(values: Sequence[float], references: Sequence[float]) -> float:
    """Median over the rounds of value / reference: each pair was measured side by side."""
    return statistics.median(value / reference for value, reference in zip(values, references, strict=True))


@dataclass(frozen=True)
class Finished:
    """A command that has ended well: its standard output, and its seconds from the shell to the end."""

    output: str
    seconds: float


def run_command(command: Sequence[str | Path], cwd: Path, **environment: str) -> Finished:
    """Run a command to its end; if it fails, show what it said and end this benchmark."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        fail(command, done.stdout, done.stderr)
    return Finished(done.stdout, seconds)


def fail(command: Sequence[str | Path], output: str, errors: str) -> None:
    """End this benchmark because a command failed."""
    sys.exit(f"failed: {' '.join(map(str, command))}\n{output[-2000:]}\n{errors[-4000:]}")


def spread(values: Sequence[float], digits: int = 0) -> str:
    """``median (lowest to highest)``."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def machine() -> str:
    """Cores, processor and versions: what a table needs beside it."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy"))
    return f"{len(os.sched_getaffinity(0))} cores of {processor}; Python {platform.python_version()}, {versions}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        for row in [header, *rows]
    ]
    lines.insert(1, ["-" * (width - 1) + ":" if column else "-" * width for column, width in enumerate(widths)])
    for line in lines:
        print("| " + " | ".join(line) + " |", flush=True)


def note(text: str) -> None:
    """A line for the person who waits, on standard error."""
    print(text, file=sys.stderr, flush=True)
