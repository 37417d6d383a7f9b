"""Names of exported files: safe everywhere, different where they must be, and readable backwards."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.export.names import (
    MAX_NAME_BYTES,
    collision_key,
    file_name,
    folder_names,
    safe_name,
    stem_and_extension,
)

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)


@given(TEXT)
def test_a_safe_name_is_safe_and_can_be_read_back(text):
    """No separator, no control character, nothing hidden, no device; unquote gives the text."""
    name = safe_name(text)

    assert "/" not in name
    assert "\\" not in name
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert all(unicodedata.category(character)[0] != "C" for character in name)
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert "~" in name or unquote(name) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a cat", "a cat"),
        ("été", "été"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        ("../x", "%2E.%2Fx"),
        (".hidden", "%2Ehidden"),
        ("100%", "100%25"),
        ("con", "%63on"),
        ("Com1.x", "%43om1.x"),
        ("Thumbs.db", "%54humbs.db"),
        ("a\nb\x1b[31m", "a%0Ab%1B[31m"),
        ("dot.", "dot%2E"),
        ("a\u202eb", "a%E2%80%AEb"),
    ],
)
def test_names_stay_readable(text, name):
    assert safe_name(text) == name


def test_a_long_name_is_cut_and_told_apart():
    """By a digest of the whole; no character and no escape is cut in two."""
    names = [safe_name("ü" * 200 + end) for end in "ab"] + [safe_name("/" * 100)]

    assert len(set(names)) == 3
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in names)
    assert unquote(names[2].partition("~")[0]).strip("/") == ""


def test_folders_differ_in_more_than_case():
    """Cat and cat, é composed and separate, would be one folder on some file systems."""
    labels = ["Cat", "cat", "dog", "é", unicodedata.normalize("NFD", "é"), "a/b", "a%2Fb"]

    folders = folder_names(labels)

    assert folders["dog"] == "dog"
    assert len({unicodedata.normalize("NFC", name).casefold() for name in folders.values()}) == len(labels)


def test_classes_that_are_called_like_splits_are_no_splits():
    assert folder_names(["train", "test"]) == {"train": "%74rain", "test": "%74est"}
    assert folder_names(["train", "bus"]) == {"train": "train", "bus": "bus"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("cat/1.jpg", "cat", None), ("1", ".jpg")),
        (("train/cat/1.JPG", "cat", "train"), ("1", ".JPG")),
        (("val/cat/deep/1.jpeg", "cat", "validation"), ("deep%2F1", ".jpeg")),
        (("17_3", "1000001859", None), ("17_3", "")),
        (("dog/1.tar", "cat", None), ("dog%2F1.tar", "")),
        (("cat", "cat", None), ("cat", "")),
        ((".jpg", "cat", None), ("%2Ejpg", "")),
    ],
)
def test_folders_of_split_and_class_are_left_out(row, expected):
    assert stem_and_extension(*row) == expected


def test_the_extension_says_what_the_content_is():
    assert file_name("1", ".jpeg", "JPEG") == "1.jpeg"
    assert file_name("1", ".png", "JPEG") == "1.jpg"
    assert file_name("1", "", "WEBP") == "1.webp"
    assert file_name("1", "", "PCX", "~ab") == "1~ab.pcx"


@given(st.lists(st.tuples(TEXT, st.sampled_from(["", ".jpg", ".png", ".JPG", ".png.jpg"])), max_size=6, unique=True))
def test_rows_of_different_keys_get_different_files(rows):
    """Whatever their contents turn out to be: also where a file system tells no case apart."""
    ids = [text + extension for text, extension in rows]
    by_key = {collision_key(row_id, "c", None, with_splits=False): row_id for row_id in ids}

    for format in ("JPEG", "PNG"):
        names = [file_name(*stem_and_extension(row_id, "c", None), format) for row_id in by_key.values()]
        assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == len(by_key)
