"""Contact sheets: the originals, their copies, and what they are made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from firesteel.data.augmentation import Policy
from firesteel.data.augmentation.generate import Original, generate
from firesteel.data.augmentation.preview import samples_of, write_sheet
from firesteel.errors import ConfigError, DataError


def cell(sheet: Image.Image, row: int, column: int, edge: int = 8, scale: int = 12) -> np.ndarray:
    """A picture of the sheet, in its own pixels: (3, edge, edge)."""
    left, top = 4 + column * (edge * scale + 4), 4 + row * (edge * scale + 18) + 14
    part = np.asarray(sheet)[top : top + edge * scale : scale, left : left + edge * scale : scale]
    return part.transpose(2, 0, 1)


def test_a_sheet_shows_originals_and_the_copies_that_prepare_generates(image_folder, tmp_path):
    """A row a picture, in its own pixels enlarged; the same bytes again."""
    shown = write_sheet(str(image_folder), str(tmp_path / "a.png"), pictures=3, copies=4, seed=5)
    sheet = Image.open(tmp_path / "a.png")
    samples = samples_of(str(image_folder), 3)
    assert shown == {"sheet": str(tmp_path / "a.png"), "pictures": 3, "copies": 4}
    for row, sample in enumerate(samples):
        np.testing.assert_array_equal(cell(sheet, row, 0), sample.pixels)
        copies = generate(Policy.of("default"), [(sample, number) for number in (1, 2, 3, 4)], 5)
        for column, copy in enumerate(copies, start=1):
            np.testing.assert_array_equal(cell(sheet, row, column), copy)


def test_each_operation_is_shown_alone_and_surely(image_folder, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("operations: ['flip:axis=horizontal,probability=0.1', 'rotate90:degrees=[180],probability=0.1']")
    write_sheet(str(image_folder), str(tmp_path / "a.png"), policy=str(policy), pictures=1, copies=2, each=True)
    sheet = Image.open(tmp_path / "a.png")
    (sample,) = samples_of(str(image_folder), 1)
    np.testing.assert_array_equal(cell(sheet, 0, 1), np.flip(sample.pixels, 2))
    np.testing.assert_array_equal(cell(sheet, 1, 2), np.rot90(sample.pixels, 2, (1, 2)))


def test_large_pictures_are_shown_smaller(tmp_path):
    """A sheet of photographs as a camera gives them would take gigabytes."""
    from tests.conftest import picture

    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "1.png").write_bytes(picture(9, (600, 1200), format="PNG"))
    (sample,) = samples_of(str(tmp_path / "src"), 3)
    assert sample.pixels.shape == (3, 128, 256)


def test_originals_alone_are_shown_of_a_balanced_dataset(image_folder, tmp_path):
    import firesteel

    firesteel.prepare(image_folder, tmp_path / "ds", engine="local", workers=1, balance=60, encoding="jpeg")
    samples = samples_of(str(tmp_path / "ds"), 100)
    assert len(samples) == 48
    assert not any("+" in sample.id for sample in samples)


def test_sheets_of_datasets_and_grey_arrays(dataset, idx_folder, tmp_path):
    for number, source in enumerate((dataset, idx_folder)):
        write_sheet(str(source), str(tmp_path / f"{number}.png"), pictures=2, copies=1)
        (first, *_) = samples_of(str(source), 2)
        np.testing.assert_array_equal(cell(Image.open(tmp_path / f"{number}.png"), 0, 0)[:1], first.pixels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sheet": "a.jpg"}, "ends with .png"),
        ({"sheet": "there.png"}, "is there already"),
        ({"pictures": 0}, "1 to 100"),
        ({"policy": "hard"}, "no policy 'hard'"),
        ({"size": "x"}, "HEIGHTxWIDTH"),
    ],
)
def test_wrong_use(options, message, image_folder, tmp_path):
    (tmp_path / "there.png").write_bytes(b"mine")
    sheet = tmp_path / options.pop("sheet", "new.png")
    with pytest.raises(ConfigError, match=message):
        write_sheet(str(image_folder), str(sheet), **options)
    assert (tmp_path / "there.png").read_bytes() == b"mine"


def test_a_source_without_a_readable_picture(tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no picture"):
        write_sheet(str(tmp_path / "src"), str(tmp_path / "a.png"))


def test_a_sheet_is_a_png(image_folder, tmp_path):
    from firesteel.data.augmentation.preview import contact_sheet

    data = contact_sheet(Policy.of("light"), [Original("ü\x1b[31m", np.zeros((1, 4, 4), np.uint8))], copies=1, seed=0)
    assert Image.open(io.BytesIO(data)).format == "PNG"
