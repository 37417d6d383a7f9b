"""The checks of ``firesteel doctor``."""

from __future__ import annotations

from pathlib import Path

import pytest

from firesteel.doctor import Check, checkup


def checks(master: str | None = None, place: Path | None = None) -> dict[str, Check]:
    return {check.name: check for check in checkup(master, None if place is None else str(place))}


@pytest.mark.spark
def test_a_sound_machine_passes_every_check_and_nothing_is_left_in_the_place(tmp_path: Path) -> None:
    found = checks("local[2]", tmp_path)
    assert {check.status for check in found.values()} <= {"ok", "warning"}, found
    assert "written, read and deleted" in found["storage"].found
    assert f"all of them see {tmp_path}" in found["barrier stage with 2 workers"].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spark
def test_a_place_that_is_not_there_is_one_failure_and_is_not_made(tmp_path: Path) -> None:
    found = checks("local[2]", tmp_path / "nowhere")
    assert [name for name, check in found.items() if check.status == "failed"] == ["storage"]
    assert "there is no folder" in found["storage"].found
    assert not (tmp_path / "nowhere").exists()


def test_a_master_that_does_not_answer_is_named() -> None:
    pytest.importorskip("pyspark")
    found = checks("spark://nowhere.invalid:7077")["Spark"]
    assert found.status == "failed"
    assert "spark://nowhere.invalid:7077" in found.found
