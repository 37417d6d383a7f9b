"""Balancing and augmentation from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.cli.test_cli import firesteel, refused


def test_prepare_augment_and_train_with_options_and_a_settings_file(image_folder: Path, tmp_path: Path) -> None:
    """Counts in text and JSON; a sheet that can be opened; the options of train also from a file."""
    for number in range(15):
        (image_folder / "dark" / f"{number:03d}.png").unlink()
    data, run = tmp_path / "data", tmp_path / "run"
    done = firesteel(
        "prepare", image_folder, data, "--balance", 16, "--policy", "light", "--engine", "local", "--workers", 1
    )
    assert "45 read + 12 generated = 57 written + 0 dropped + 0 quarantined" in done.stdout
    prepared = json.loads(
        firesteel("prepare", image_folder, data, "--balance", 16, "--policy", "light", "--json").stdout
    )
    assert (prepared["reused"], prepared["generated"], prepared["written"]) == (True, 12, 57)

    shown = json.loads(
        firesteel("augment", data, tmp_path / "sheet.png", "--pictures", 2, "--copies", 3, "--json").stdout
    )
    assert (shown["pictures"], shown["copies"]) == (2, 3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 4 * (96 + 4) + 4
    assert "is there already" in refused(firesteel("augment", data, tmp_path / "sheet.png"), 2)

    (tmp_path / "run.yaml").write_text(
        "augment: upright\nsampling: {name: balanced, power: 0.5}\nclass-weights: effective:beta=0.99\nepochs: 1\n"
    )
    firesteel("train", data, run, "--settings", tmp_path / "run.yaml", "--model", "mlp:hidden=[4]", "--engine", "local")
    job = json.loads((run / "job.json").read_text())
    assert [each["name"] for each in job["augment"]["operations"]] == ["flip", "rotate", "zoom", "color_jitter"]
    assert job["sampling"] == {"name": "balanced", "options": {"power": 0.5}}
    assert job["class_weights"] == {"name": "effective", "options": {"beta": 0.99}}


def test_wrong_use_is_answered_in_a_few_lines(image_folder: Path, tmp_path: Path) -> None:
    assert "--balance N" in refused(firesteel("prepare", image_folder, tmp_path / "d", "--policy", "light"), 2)
    wrong = firesteel("prepare", image_folder, tmp_path / "d", "--balance", 9, "--policy", "lihgt")
    assert "Did you mean 'light'?" in refused(wrong, 2)
    assert not (tmp_path / "d").exists()
