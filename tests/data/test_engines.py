"""Into how many partitions a source is cut, and how many processes read them."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from firesteel.api import opening
from firesteel.data.engines import SourceEngine, partition_count
from firesteel.launch import InProcess
from firesteel.runtime import Runtime


@pytest.mark.parametrize(
    ("size_bytes", "expected"), [(0, 8), (1, 8), (8 * 64 << 20, 8), ((8 * 64 << 20) + 1, 16), (1000 * 64 << 20, 1000)]
)
def test_partitions_are_a_multiple_of_eight_by_size(size_bytes, expected):
    """Two, four or eight equal workers end together; a source of the same size is always cut alike."""
    assert partition_count(SimpleNamespace(size_bytes=size_bytes, rows=None)) == expected


def test_no_more_processes_start_ahead_than_there_are_surely_partitions(monkeypatch):
    """A small source may become many partitions once its rows are large: all workers that were asked for get some then."""
    said: list[Any] = []

    class Launcher(InProcess):
        def start_ahead(self, workers, module):
            said.append(workers)

        def close(self):
            said.append("closed")

    monkeypatch.setattr(opening, "local_launcher", lambda workers: Launcher())
    monkeypatch.setattr(
        SourceEngine, "__init__", lambda self, source, launcher, workers: said.append(("engine", workers))
    )
    source: Any = SimpleNamespace(size_bytes=1, rows=None)
    with ExitStack() as stack:
        opening.engine_maker(source, Runtime(engine="local"), 20, stack)()
    assert said == [8, ("engine", 20), "closed"]
