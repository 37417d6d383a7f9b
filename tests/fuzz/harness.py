"""Runs damaged inputs through the sources, in a process of limited memory and with a limit of time for each.

Each input must be read or be set aside with a reason, or be refused with one of our errors. A child process runs the
cases and says in a file which one it is at, so that a crash is known by its number.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firesteel.data.sources import open_source
from firesteel.errors import FiresteelError, FormatError
from firesteel.formats import images
from tests.conftest import write_idx
from tests.fuzz.models import MODELS, read_model
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import seeds_of

SECONDS_EACH = 10
MEMORY_BYTES = 1 << 30
"""That the process may take on top of what it has before the first case."""

Reader = Callable[[str, bytes, Path], tuple[str, list[str]]]

_SPEC = images.ImageSpec(16, 16, 3)


@dataclass
class Outcome:
    """What became of the cases of one format.

    Attributes:
        cases: how many were run.
        read: inputs of which all records could be read.
        set_aside: inputs with a record that was set aside.
        refused: inputs that were refused as a whole.
        failures: number and description of those that did none of that.
        seconds: in all.
        slowest: seconds of the slowest case.
        memory_bytes: by which the process grew.
        reasons: kinds of reasons, counted.
    """

    cases: int = 0
    read: int = 0
    set_aside: int = 0
    refused: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0
    memory_bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def run(format: str, cases: int, seed: int = 0, *, reader: Reader | None = None) -> Outcome:
    """Run ``cases`` damaged inputs of a format; case ``i`` is the same whatever was run before it.

    Args:
        format: of :data:`tests.fuzz.seeds.FORMATS`.
        cases: how many.
        seed: of all.
        reader: what reads an input; None is :func:`read_input`.
    """
    total, first = Outcome(), 0
    while first < cases:
        with tempfile.TemporaryDirectory(prefix="firesteel-fuzz-") as folder:
            child = multiprocessing.get_context("spawn").Process(
                target=_child, args=(format, first, cases, seed, folder, reader or read_input)
            )
            child.start()
            child.join()
            state = json.loads((Path(folder) / "state").read_text())
            _add(total, state)
            if child.exitcode:
                total.cases += 1
                total.failures.append((state["at"], f"the process ended with status {child.exitcode}"))
            first = state["at"] + 1
    return total


def case(format: str, number: int, seed: int = 0) -> bytes:
    """The input of one case."""
    digest = hashlib.sha256(f"{format}/{seed}/{number}".encode()).digest()
    generator = random.Random(int.from_bytes(digest[:8], "big"))
    return mutate(generator.choice(seeds_of(format)), generator)


def _add(total: Outcome, state: dict[str, Any]) -> None:
    for name in ("cases", "read", "set_aside", "refused", "seconds"):
        setattr(total, name, getattr(total, name) + state[name])
    total.failures += [tuple(each) for each in state["failures"]]
    total.slowest = max(total.slowest, state["slowest"])
    total.memory_bytes = max(total.memory_bytes, state["memory_bytes"])
    total.reasons += Counter(state["reasons"])


def _child(format: str, first: int, cases: int, seed: int, folder: str, reader: Reader) -> None:
    work = Path(folder) / "work"
    read_input(format, seeds_of(format)[0], work)  # imports and caches
    before, base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (base + MEMORY_BYTES, base + MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _too_slow)
    warnings.simplefilter("error")
    outcome, began = Outcome(), time.monotonic()
    for number in range(first, cases):
        _say(Path(folder) / "state", outcome, number)
        _timed(outcome, reader, format, number, seed, work)
    outcome.seconds = time.monotonic() - began
    outcome.memory_bytes = max(0, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before)
    _say(Path(folder) / "state", outcome, cases - 1)


def _timed(outcome: Outcome, reader: Reader, format: str, number: int, seed: int, work: Path) -> None:
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
    try:
        kind, reasons = reader(format, case(format, number, seed), work)
        setattr(outcome, kind, getattr(outcome, kind) + 1)
        outcome.reasons.update(reasons)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {str(error)[:200]} ({os.path.basename(where.filename)}:{where.lineno})"
        outcome.failures.append((number, text))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    outcome.cases += 1
    outcome.slowest = max(outcome.slowest, time.monotonic() - start)


def read_input(format: str, data: bytes, work: Path) -> tuple[str, list[str]]:
    """Read one input to its end: what became of it, and the reasons."""
    if format in MODELS:
        return read_model(format, data, work)
    if format == "image":
        try:
            images.probe(data)
            images.decode(data, _SPEC)
        except FormatError as error:
            return "set_aside", [_kind(str(error))]
        return "read", []
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        source = open_source(_written(format, data, work), format if format in ("bson", "idx", "cifar") else "auto")
        rows = [row for part in source.partitions(3) for row in source.rows_of(part)]
        bare = [row for part in source.partitions(1) for row in source.rows_of(part, with_data=False)]
    except FiresteelError as error:
        if len(str(error).splitlines()) not in range(1, 5):
            raise ValueError(f"an error of {len(str(error).splitlines())} lines") from error
        return "refused", [_kind(str(error))]
    assert len(rows) == len(bare), f"{len(rows)} rows with data, {len(bare)} without"
    assert len({row.id for row in rows}) == len(rows) or format == "bson", "two rows of one id"
    reasons = [_kind(row.problem) for row in rows if row.problem is not None]
    assert all(reasons), "a reason is empty"
    return ("set_aside", reasons) if reasons else ("read", [])


def _written(format: str, data: bytes, work: Path) -> Path:
    """The input as a source on disk."""
    names = {
        "bson": "a.bson",
        "idx": "train-images-idx3-ubyte",
        "cifar": "data_batch_1.bin",
        "zip": "a.zip",
        "tar": "a.tar",
    }
    path = work / names[format]
    path.write_bytes(data)
    if format == "idx":
        import numpy as np

        write_idx(work / "train-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 3)
        return work
    return path


def _kind(reason: str) -> str:
    return reason.replace("\n", " ").partition(":")[0].partition(" (")[0][:60]


def _too_slow(number: int, frame: Any) -> None:
    raise TimeoutError(f"more than {SECONDS_EACH} s")


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _say(path: Path, outcome: Outcome, number: int) -> None:
    path.write_text(json.dumps({**vars(outcome), "at": number}))
