"""Pieces of work in local processes: each is done once, by whoever is free."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firesteel.errors import DataError
from firesteel.launch import InProcess
from firesteel.local import LocalProcesses
from firesteel.local_tasks import map_local, run_pieces
from firesteel.world import World


def begin_to_mark(folder: Path, world: World) -> Callable[[int], list[int]]:
    """Pieces leave a file each; the first one ends when all others have."""

    def do(number: int) -> list[int]:
        deadline = time.monotonic() + 60
        while number == 0 and len(list(folder.iterdir())) < 7:
            if time.monotonic() > deadline:
                raise TimeoutError("the other pieces wait for this one")
            time.sleep(0.01)
        with (folder / str(number)).open("x") as file:
            file.write(str(os.getpid()))
        return [number, world.rank]

    return do


def begin_to_fail(bad: int, world: World) -> Callable[[int], int]:
    def do(number: int) -> int:
        if number == bad:
            raise DataError(f"piece {number} is bad. Mend it.")
        return number

    return do


def double(number: int, text: str) -> str:
    return text * number


def test_a_long_piece_does_not_hold_up_the_others(tmp_path):
    """One process is held by its first piece until all others are done: by the other process."""
    results = run_pieces(LocalProcesses(), 2, begin_to_mark, tmp_path, 8)
    assert [number for number, _ in results] == list(range(8))
    assert len({rank for _, rank in results[1:]}) == 1
    assert results[0][1] != results[1][1]
    assert len({(tmp_path / str(number)).read_text() for number in range(8)} - {str(os.getpid())}) == 2


@pytest.mark.parametrize(("workers", "count"), [(1, 5), (3, 5), (4, 2), (2, 0)])
def test_results_come_by_number_whatever_the_number_of_processes(workers, count):
    results = map_local(LocalProcesses(), workers, double, [(number, "x") for number in range(count)])
    assert results == ["x" * number for number in range(count)]


def test_one_process_is_this_one():
    assert map_local(InProcess(), 1, os.getpid, [(), ()]) == [os.getpid()] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_piece_that_fails_is_what_is_reported(workers, tmp_path, monkeypatch):
    """Its error comes as it was raised, and the folder by which processes share the pieces is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DataError, match="piece 3 is bad"):
        run_pieces(LocalProcesses(), workers, begin_to_fail, 3, 6)
    assert list(tmp_path.iterdir()) == []
