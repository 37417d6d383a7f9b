"""Damaged inputs are read or set aside, without a crash, a hang or a heap of memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fuzz.harness import MEMORY_BYTES, case, run
from tests.fuzz.models import MODELS
from tests.fuzz.seeds import FORMATS, seeds_of


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_inputs_are_read_or_set_aside(format):
    """Three hundred of each format; `benchmarks/fuzz.py` runs a hundred thousand."""
    cases = (
        40 if format == "keras" else 100 if format in MODELS else 300
    )  # each file of HDF5 is read by a process of its own
    outcome = run(format, cases, seed=1)

    assert outcome.failures == []
    assert outcome.cases == cases
    assert outcome.read + outcome.set_aside + outcome.refused == cases
    assert outcome.set_aside + outcome.refused >= 10  # the damage does reach the readers
    assert outcome.memory_bytes < MEMORY_BYTES


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("format", FORMATS)
def test_many_damaged_inputs_are_read_or_set_aside(format):
    assert run(format, 17_000, seed=0).failures == []


def test_a_case_is_the_same_whatever_was_run_before():
    assert case("tar", 17, seed=3) == case("tar", 17, seed=3)
    assert len({case("zip", number) for number in range(50)}) > 40
    assert case("bson", 5) not in seeds_of("bson")


def misbehaving(format: str, data: bytes, work: Path) -> tuple[str, list[str]]:
    """Fails in four ways, by the number of the call in its process."""
    number = sum(1 for _ in work.parent.glob("call*"))
    (work.parent / f"call{number}").touch()
    if number == 1:
        raise KeyError("not one of ours")
    if number == 2:
        bytearray(2 * MEMORY_BYTES)
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return "read", []


def test_a_wrong_error_a_heap_of_memory_and_a_crash_are_failures():
    """The harness itself: what it must not miss. After a crash the other cases are run by another process."""
    outcome = run("cifar", 7, reader=misbehaving)

    kinds = [(number, text.partition(":")[0]) for number, text in outcome.failures]
    assert kinds == [(1, "KeyError"), (2, "MemoryError"), (4, "the process ended with status -9"), (6, "KeyError")]
    assert outcome.cases == 7
