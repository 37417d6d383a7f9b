"""The sign that a preparation writes in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firesteel.data.manifest import Feature
from firesteel.data.marker import MARKER_NAME, check_token, is_leftover, remove_marker, revoke_marker, set_marker
from firesteel.data.partition import write_partition
from firesteel.data.preparation import PreparePlan
from firesteel.data.sources import Row
from firesteel.errors import DatasetError
from firesteel.storage import Place


def plan(place: Place, token: str) -> PreparePlan:
    feature = Feature(dtype="float32", shape=(2,), encoding="raw", kind="array")
    return PreparePlan(place.uri, feature, None, ("a",), frozenset(), None, ("train",), 0, 1 << 10, token)


def rows(count: int) -> list[Row]:
    return [Row(str(i), np.zeros(2, np.float32).tobytes(), "a", "train") for i in range(count)]


def test_a_task_whose_preparation_has_ended_writes_nothing(tmp_path: Path) -> None:
    """A cluster may run a task on for a while after its driver has cleared the folder, or another has begun there."""
    place = Place.of(tmp_path / "data")
    token = set_marker(place, "f")
    assert write_partition(plan(place, token), 0, rows(10)).written == 10
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    revoke_marker(place)
    with pytest.raises(DatasetError, match="has ended"):
        write_partition(plan(place, token), 1, rows(10))
    set_marker(place, "g")
    with pytest.raises(DatasetError, match="has ended"):
        write_partition(plan(place, token), 1, rows(10))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before

    remove_marker(place)
    with pytest.raises(DatasetError, match="has ended"):
        check_token(place, token)


def test_a_shard_whose_preparation_ends_while_it_is_written_does_not_appear(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "data")
    token = set_marker(place, "f")

    def ending() -> list[Row]:
        for number, row in enumerate(rows(300)):
            if number == 299:
                revoke_marker(place)
            yield row  # type: ignore[misc]

    with pytest.raises(DatasetError, match="has ended"):
        write_partition(plan(place, token), 0, ending())
    # 1 KiB a shard: two were finished before.
    assert len(list((tmp_path / "data" / "train").iterdir())) == 2


def test_a_folder_being_written_a_leftover_and_a_strangers_are_told_apart(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    assert not is_leftover(place)
    set_marker(place, "f")
    assert is_leftover(place)  # our own process does not wait for itself
    marker = json.loads((tmp_path / MARKER_NAME).read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / MARKER_NAME).write_text(json.dumps(marker | {"pid": other.pid}))
        with pytest.raises(DatasetError, match=rf"process {other.pid}\) is writing"):
            is_leftover(place)
        other.communicate(b"\n")
    assert is_leftover(place)
    (tmp_path / MARKER_NAME).write_text(json.dumps(marker | {"pid": os.getppid(), "host": "elsewhere"}))
    assert is_leftover(place)
    revoke_marker(place)
    assert is_leftover(place)
