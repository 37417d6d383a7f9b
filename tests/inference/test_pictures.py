"""Which pictures names lead to, in which order, and what is left alone."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from firesteel.errors import ConfigError, FormatError, StorageError
from firesteel.inference.pictures import Picture, Pictures, names_from
from firesteel.storage import Place
from tests.conftest import picture


def _names(pictures: Pictures) -> list[str]:
    return [each.name for each in pictures]


def _error(found: Picture) -> str:
    with pytest.raises((FormatError, StorageError)) as caught:
        found.read()
    return str(caught.value)


def test_a_folder_gives_its_pictures_sorted_and_counts_the_others(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/notes.txt", ".hidden.png", "a/.git/x.png", "list.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(1))
    pictures = Pictures([f"{tmp_path}/"])
    assert _names(pictures) == [f"{tmp_path}/a/z.png", f"{tmp_path}/b.JPG"]
    assert pictures.left_alone == 2


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(picture(7))
    (found,) = Pictures([tmp_path / "photo"])
    assert found.read() == picture(7)
    assert found.held == 0


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_read_in_their_order(kind: str, tmp_path: Path) -> None:
    contents = {"x/b.jpg": picture(1), "x/a.jpg": picture(200), "x/readme.txt": b"hello"}
    path = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as tar:
            for name, data in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pictures = Pictures([str(path)])
    found = list(pictures)
    assert [(each.name, each.read(), each.held) for each in found] == [
        (f"{path}:x/b.jpg", picture(1), len(picture(1))), (f"{path}:x/a.jpg", picture(200), len(picture(200))),
    ]  # fmt: skip
    assert pictures.left_alone == 1


def test_standard_input_is_one_picture() -> None:
    (found,) = Pictures(["-"], stdin=io.BytesIO(picture(3)))
    assert (found.name, found.read()) == ("-", picture(3))


def test_what_cannot_be_read_is_a_picture_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "sound.jpg").write_bytes(picture(5))
    names = ["gone.jpg", "gone", "broken.zip", "empty", "texts", "sound.jpg"]
    found = list(Pictures(str(tmp_path / name) for name in names))
    assert [_error(each) for each in found[:2]] == ["there is no such file"] * 2
    assert "zip" in _error(found[2])
    assert str(tmp_path) not in _error(found[2])
    assert _error(found[3]) == "no picture in this folder"
    assert _error(found[4]) == "no picture in this folder (1 other files)"
    assert found[5].read() == picture(5)


def test_a_giant_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate(300 << 20)  # sparse: it takes no room
    (found,) = Pictures([tmp_path / "giant.jpg"])
    assert "too large" in _error(found)
    (endless,) = Pictures(["/dev/zero"])
    assert "too large" in _error(endless)


def test_a_list_of_names_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a b.jpg\r\n\n  c.png\n\xff.jpg")
    assert list(names_from(str(tmp_path / "list.txt"))) == ["a b.jpg", "  c.png", "\udcff.jpg"]
    assert list(names_from("-", stdin=io.BytesIO(b"x.jpg\ny.jpg\n"))) == ["x.jpg", "y.jpg"]
    with pytest.raises(ConfigError, match="is a folder"):
        next(names_from(str(tmp_path)))
    with pytest.raises(StorageError, match=r"gone\.txt"):
        next(names_from(str(tmp_path / "gone.txt")))


def test_one_name_is_not_taken_for_letters(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    assert _names(Pictures(str(tmp_path / "a.png"))) == [str(tmp_path / "a.png")]  # type: ignore[arg-type]
    assert len(_names(Pictures(Place.of(tmp_path)))) == 1  # type: ignore[arg-type]
