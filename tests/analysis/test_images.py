"""Analysis of pictures: real dirt, figures of every kind of file, duplicates across classes and splits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import firesteel
from firesteel.analysis.images import ImageAnalysis
from firesteel.analysis.results import TableAnalysis
from firesteel.errors import ConfigError, DataError
from tests.conftest import picture, real_data, write_idx


def analysed(source: Path, **options: Any) -> ImageAnalysis:
    found = firesteel.analyze(source, engine="local", **options)
    assert isinstance(found, ImageAnalysis)
    return found


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def test_figures_are_those_of_numpy_over_all_pixels(image_folder: Path) -> None:
    found = analysed(image_folder)
    files = sorted(image_folder.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]) / 255
    assert found.images == 60
    assert found.channels is not None
    np.testing.assert_allclose(found.channels["mean"], pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(found.channels["std"], pixels.std(axis=(0, 1, 2)))
    grey = np.stack([np.asarray(Image.open(file).convert("L")) for file in files]) / 255
    assert found.figures["brightness"]["mean"] == pytest.approx(grey.mean(axis=(1, 2)).mean())
    assert found.figures["contrast"]["max"] == pytest.approx(grey.std(axis=(1, 2)).max())
    assert found.figures["bytes"]["total"] == sum(file.stat().st_size for file in files)
    assert found.per_class["mean"] == 20
    assert found.to_json()["class_sizes"] == {"dark": 20, "grey": 20, "white": 20}


def test_any_number_of_processes_finds_the_same(image_folder: Path) -> None:
    one, two = (analysed(image_folder, workers=workers).to_json() for workers in (1, 2))
    for figures in (one, two):
        del figures["seconds"]
    assert _close(one, two)


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_close(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_close, left, right))
    return left == pytest.approx(right, rel=1e-12) if isinstance(left, float) else left == right


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """One class with a picture of every odd kind, and one with what is none."""
    root = tmp_path / "dirty"
    (root / "odd").mkdir(parents=True)
    (root / "none").mkdir()
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    clear = Image.new("P", (30, 20), 0)
    files = {
        "a.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "b.png": saved(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "PNG"),
        "c.gif": saved(rgb.convert("P"), "GIF", save_all=True, append_images=[rgb.convert("L").convert("P")]),
        "d.png": saved(clear, "PNG", transparency=0),
        "e.png": saved(rgb.convert("RGBA"), "PNG"),
        "f.jpg": saved(rgb.convert("L"), "JPEG"),
        "g.webp": saved(rgb, "WEBP"),
        "h.bmp": saved(rgb, "BMP"),
        "i.png": saved(rgb.convert("1"), "PNG"),
    }
    for name, data in files.items():
        (root / "odd" / name).write_bytes(data)
    whole = picture(100, (60, 60), seed=1)
    broken = {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "note.txt": b"not a picture",
        "cut.png": files["e.png"][:-30],
    }
    for name, data in broken.items():
        (root / "none" / name).write_bytes(data)
    return root


def test_every_odd_picture_is_analysed_and_every_broken_one_is_listed(dirty: Path) -> None:
    found = analysed(dirty)
    assert (found.images, found.unreadable) == (9, 4)
    assert found.formats == {"PNG": 4, "JPEG": 2, "BMP": 1, "GIF": 1, "WEBP": 1}
    assert {"CMYK", "I;16", "P", "RGBA", "L", "1", "RGB"} <= found.modes.keys()
    assert found.animated == 1
    assert [where for where, _ in found.broken] == ["none/cut.jpg", "none/cut.png", "none/empty.jpg", "none/note.txt"]
    assert found.reasons["empty"] == 1
    assert found.reasons["not a picture"] == 1
    assert found.figures["height"]["quantiles"]["0.5"] == 20
    assert [(each.name, each.images) for each in found.classes] == [("odd", 9), ("none", 0)]


def test_duplicates_are_found_across_classes_and_splits(tmp_path: Path) -> None:
    coarse = [np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8) for seed in range(8)]
    scenes = [Image.fromarray(each).resize((80, 80), Image.Resampling.BICUBIC) for each in coarse]
    files = {
        "train/a/0.png": saved(scenes[0], "PNG"), "train/b/copy.png": saved(scenes[0], "PNG"),
        "train/a/1.png": saved(scenes[1], "PNG"), "test/a/near.jpg": saved(scenes[1].resize((64, 64)), "JPEG"),
        "train/a/2.png": saved(scenes[2], "PNG"), "test/b/3.png": saved(scenes[3], "PNG"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = analysed(tmp_path).duplicates
    assert found.exact == {"groups": 1, "images": 2, "across_classes": 1, "across_splits": 0}
    assert found.near == {"groups": 1, "images": 2, "across_classes": 0, "across_splits": 1}
    assert [sorted(each.id for each in group.pictures) for group in found.groups] == [
        ["train/a/0.png", "train/b/copy.png"],
        ["test/a/near.jpg", "train/a/1.png"],
    ]


def test_a_sample_keeps_all_copies_of_a_picture_or_none(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for seed in range(60):
            (tmp_path / name / f"{seed}.png").write_bytes(picture(90, (8, 8), format="PNG", seed=seed))
    found = analysed(tmp_path, compare=40)
    assert 20 < found.duplicates.compared < 70
    assert found.duplicates.exact["images"] == found.duplicates.compared
    assert found.duplicates.share == pytest.approx(1 / 3)
    assert "were compared" in found.notes[0]


def test_a_prepared_dataset_has_the_figures_of_its_rows(idx_folder: Path, tmp_path: Path) -> None:
    firesteel.prepare(idx_folder, tmp_path / "dataset", engine="local", workers=1)
    source, dataset = analysed(idx_folder), analysed(tmp_path / "dataset")
    assert dataset.images == source.images == 150
    assert dataset.splits == source.splits == {"train": 120, "test": 30}
    assert dataset.channels == source.channels
    assert _close(dataset.figures, source.figures)
    assert dataset.thumbnails


def test_a_dataset_of_jpegs_is_decoded(image_folder: Path, tmp_path: Path) -> None:
    firesteel.prepare(image_folder, tmp_path / "dataset", engine="local", workers=1, encoding="jpeg")
    found = analysed(tmp_path / "dataset")
    assert found.formats == {"JPEG": 60}
    assert len(found.classes) == 3


def test_arrays_that_are_no_pictures_are_analysed_as_a_table(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(">f4")
    header = bytes([0, 0, 13, 2]) + np.array([40, 3], ">i4").tobytes()
    (tmp_path / "train-images-idx2").write_bytes(header + values.tobytes())
    write_idx(tmp_path / "train-labels-idx1-ubyte", (np.arange(40) % 4).astype(np.uint8))
    found = firesteel.analyze(tmp_path, engine="local")
    assert isinstance(found, TableAnalysis)
    assert [column.name for column in found] == ["label", "split", "features[0]", "features[1]", "features[2]"]
    assert found["features[1]"].figures["mean"] == pytest.approx(values[:, 1].mean(dtype=np.float64), rel=1e-6)
    assert found["label"].figures["unique"] == 4


def test_folders_of_broken_pictures_only_have_an_analysis(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"no")
    found = analysed(tmp_path)
    assert (found.images, found.unreadable, found.channels) == (0, 1, None)
    assert "Unreadable" in found.to_html()
    assert found.to_json()["height"]["mean"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "jpg"}, "format must be one of"),
        ({"schema": "a double"}, "is for tables"),
        ({"compare": 0}, "compare must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, image_folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        firesteel.analyze(image_folder, engine="local", **options)


def test_what_cannot_be_analysed_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="holds no rows"):
        firesteel.analyze(tmp_path, engine="local")
    with pytest.raises(ConfigError, match="tables are read by Spark"):
        firesteel.analyze(tmp_path / "x.csv", engine="local")
    with pytest.raises(ConfigError, match="must be a path"):
        firesteel.analyze(3)  # type: ignore[arg-type]


def test_the_scene_that_has_two_labels_is_found(tmp_path: Path) -> None:
    """Real dirt: one picture of intel-scenes lies in two classes, two pairs are nearly the same, 13 have another height."""
    archive = real_data("intel-scenes") / "intel-scenes-150.zip"
    with zipfile.ZipFile(archive) as file:
        wanted = [
            name for name in file.namelist() if "/train/" in name and ("/buildings/" in name or "/street/" in name)
        ]
        file.extractall(tmp_path, wanted)
    found = analysed(tmp_path / "intel-scenes" / "train")
    assert found.images == 800
    (group,) = (each for each in found.duplicates.groups if each.distance is None)
    assert group.across_classes
    assert [each.id for each in group.pictures] == ["buildings/5069.jpg", "street/2764.jpg"]
