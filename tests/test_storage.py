"""Places: the same on a disk and behind fsspec, and a file is there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import FiresteelError, StorageError
from firesteel.storage import Entry, Place, safe_relative


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder that is not there yet, on the disk and in fsspec's file system in memory."""
    if request.param == "local":
        yield Place.of(tmp_path / "folder")
        return
    memory = fsspec.filesystem("memory")
    yield Place.of(f"memory://{tmp_path.name}/folder")
    memory.rm(f"/{tmp_path.name}", recursive=True) if memory.exists(f"/{tmp_path.name}") else None


def listing(place: Place) -> list[tuple[str, int]]:
    return [(entry.path, entry.size) for entry in place.files()]


# -- names ----------------------------------------------------------------------------------------------------------


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    """A path is taken from the working folder, with ~ as the home; a file: URI is a path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")

    assert Place.of("data/x").uri == str(tmp_path / "data" / "x")
    assert Place.of(Path("../y")).uri == str(tmp_path.parent / "y")
    assert Place.of("~/z").uri == "/home/someone/z"
    assert Place.of("file:///a/b").uri == "/a/b"
    assert Place.of(Place("/p")) == Place("/p")


def test_a_uri_keeps_its_scheme():
    """Other schemes are not local; a slash at the end does not matter."""
    place = Place.of("s3://bucket/folder/")

    assert (place.uri, place.is_local, place.name) == ("s3://bucket/folder", False, "folder")
    assert (place / "train/x").uri == "s3://bucket/folder/train/x"
    assert (Place.of("hdfs:///").is_local, (Place.of("hdfs:///") / "x").uri) == (False, "hdfs:///x")
    assert Place.of("/data/a.bson").is_local
    assert Place.of("/data/a.bson").name == "a.bson"


@pytest.mark.parametrize("path", ["a", "train/part-0.parquet", "a/b/c", "..a", "a..b/c", "a b", "é"])
def test_a_path_below_a_folder_is_safe(path):
    """A path of plain parts stays in the folder it is joined to."""
    assert safe_relative(path)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a/../b", "x\0y", "//x"]
)
def test_a_path_that_leaves_its_folder_is_not_safe(path):
    """Absolute paths, paths with .. anywhere, and paths that name nothing are refused."""
    assert not safe_relative(path)


@given(st.text("./ab\\0", max_size=12))
def test_a_safe_path_stays_inside(path):
    """What is called safe resolves to a place strictly below the folder."""
    if safe_relative(path):
        assert os.path.normpath(f"/root/folder/{path}").startswith("/root/folder/")


# -- listing --------------------------------------------------------------------------------------------------------


def test_files_are_listed_below_at_any_depth(place):
    """Every file below a folder is listed once, by path, with its size; hidden ones too."""
    for path, size in [("b/x", 3), ("a", 1), ("b/c/d", 0), (".hidden", 2)]:
        (place / path).write_bytes(bytes(size))

    assert listing(place) == [(".hidden", 2), ("a", 1), ("b/c/d", 0), ("b/x", 3)]
    assert place.folders() == ["b"]
    assert (place / "b").folders() == ["c"]


def test_a_file_lists_itself_alone(place):
    """A file is a listing of one entry with an empty path."""
    (place / "one").write_bytes(b"abc")

    assert listing(place / "one") == [("", 3)]
    assert (place / "one").size() == 3
    assert not (place / "one").is_dir()


def test_the_listing_tells_when_a_file_changed(place):
    """Writing a file again changes what the listing says of it: the fingerprint of a source depends on that."""
    (place / "x").write_bytes(b"a")
    before = list(place.files())
    (place / "x").write_bytes(b"b")

    assert isinstance(before[0], Entry)
    assert list(place.files()) != before


def test_a_folder_without_files_is_empty(place):
    """Missing, empty, and holding only empty folders: nothing there could be overwritten; one file changes that."""
    assert place.is_empty_or_missing()
    (place / "sub").make_dirs()
    assert place.is_empty_or_missing()
    (place / "sub/file").write_bytes(b"")
    assert not place.is_empty_or_missing()
    assert not (place / "sub/file").is_empty_or_missing()


def test_links_are_followed_once(tmp_path):
    """A link to a folder is followed; one that leads back to its own folder ends there, and a dangling one is listed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "dangling").symlink_to(tmp_path / "nowhere")

    assert listing(Place.of(tmp_path / "root")) == [("dangling", 0), ("linked/x", 1)]


def test_a_folder_is_listed_once_under_its_first_name(tmp_path):
    """Of several links to one folder, the first by name counts, whatever order the disk gives them in."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "root").mkdir()
    for name in ("d", "a", "c", "b"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "real")

    assert listing(Place.of(tmp_path / "root")) == [("a/x", 1)]


def test_listing_what_is_not_there_is_a_storage_error(tmp_path):
    """The message names the place and the reason."""
    with pytest.raises(StorageError, match=f"cannot list {tmp_path}/nothing: No such file or directory"):
        list(Place.of(tmp_path / "nothing").files())
    with pytest.raises(StorageError, match="cannot list"):
        Place.of(tmp_path / "nothing").folders()


# -- reading and writing --------------------------------------------------------------------------------------------


def test_what_was_written_is_read(place):
    """Bytes and text come back, folders above are made, and writing again replaces."""
    (place / "a/b/file").write_bytes(b"\0\xff")
    assert (place / "a/b/file").read_bytes() == b"\0\xff"
    (place / "a/b/file").write_text("Käse")
    assert (place / "a/b/file").read_text() == "Käse"
    with (place / "a/b/file").open() as file:
        file.seek(1)
        assert file.read() == "Käse".encode()[1:]
    assert listing(place) == [("a/b/file", 5)]


def test_writing_in_pieces_appears_at_the_end(place):
    """While a file is being written, its name shows nothing, or what was there before."""
    file_place = place / "x"
    with file_place.writing() as file:
        file.write(b"new")
        assert not file_place.exists()
    assert file_place.read_bytes() == b"new"

    with file_place.writing() as file:
        file.write(b"newer")
        assert file_place.read_bytes() == b"new"
    assert file_place.read_bytes() == b"newer"


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "broken disk")])
def test_a_failing_write_leaves_nothing(place, error):
    """If the block raises, no file appears, no temporary one stays, and an old one keeps its content."""

    def write_half() -> None:
        with (place / "x").writing() as file:
            file.write(b"half")
            raise error

    place.make_dirs()
    with pytest.raises((type(error), StorageError)):
        write_half()
    assert listing(place) == []

    (place / "x").write_bytes(b"old")
    with pytest.raises((type(error), StorageError)):
        write_half()
    assert listing(place) == [("x", 3)]
    assert (place / "x").read_bytes() == b"old"


def test_a_full_disk_is_said_in_words(tmp_path, monkeypatch):
    """No space left: the message names the file and says what to do, the errno stays, and nothing is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    place = Place.of(tmp_path / "x")

    with pytest.raises(
        StorageError, match=r"No space left on device\. Free space there or choose another place"
    ) as caught:
        place.write_bytes(b"1")

    assert caught.value.errno == errno.ENOSPC
    assert str(place) in str(caught.value)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, FiresteelError)
    assert os.listdir(tmp_path) == []


def test_reading_what_is_not_there_is_a_storage_error(place):
    """The message names the place, for opening and reading, on a disk and elsewhere."""
    for action in (place.read_bytes, place.open, place.size):
        with pytest.raises(StorageError, match=f"cannot read {place}"):
            action()


def test_writing_below_a_file_is_a_storage_error(tmp_path):
    """A folder cannot be made where a file lies; the message names the place."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/file/x"):
        (Place.of(tmp_path / "file") / "x").write_bytes(b"1")
    with pytest.raises(StorageError, match="cannot write to"):
        (Place.of(tmp_path / "file") / "folder").make_dirs()


def test_an_unknown_scheme_is_a_storage_error():
    """A scheme without a driver is said to be unusable, with the reason."""
    with pytest.raises(StorageError, match="cannot use nonsense://x/y"):
        Place.of("nonsense://x/y").exists()


def test_deleting_removes_all_and_only_that(place):
    """A file or a whole folder goes; what lies beside it stays; a place that is not there is no error."""
    for path in ("keep", "gone/a", "gone/b/c"):
        (place / path).write_bytes(b"1")

    (place / "gone").delete()
    (place / "gone").delete()
    assert listing(place) == [("keep", 1)]
    (place / "keep").delete()
    assert listing(place) == []


def test_deleting_a_link_leaves_its_target(tmp_path):
    """A link to a folder is removed, not what it points to."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    Place.of(tmp_path / "link").delete()

    assert not (tmp_path / "link").exists()
    assert (tmp_path / "real" / "x").exists()


def test_a_place_knows_what_it_lies_in(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    photos = Place.of(tmp_path / "photos")
    for inside in ("photos", "photos/out", "photos/a/../b", "link/out"):
        assert Place.of(tmp_path / inside).is_inside(photos)
    for outside in ("photos2", "photos/../out", ""):
        assert not Place.of(tmp_path / outside).is_inside(photos)
    assert Place.of("memory://bucket/a/b").is_inside(Place.of("memory://bucket/a"))
    assert not Place.of("memory://bucket/ab").is_inside(Place.of("memory://bucket/a"))
