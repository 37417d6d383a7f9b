"""Labels: each file gets the one that its folder, a table or a pattern says, or a reason why it has none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import firesteel
from firesteel.data.sources import open_source
from firesteel.errors import ConfigError, DataError
from tests.conftest import picture
from tests.data.test_sources import rows_of, write_tree

FLAT = {f"{i}.jpg": b"%d" % i for i in range(4)}


def labelled(source: Path, table: str | bytes | None = None, /, **options: str) -> dict[str, str]:
    """The label of each file, or in brackets why it has none."""
    if table is not None:
        path = source.parent / "labels.csv"
        path.write_bytes(table.encode() if isinstance(table, str) else table)
        options["labels"] = str(path)
    return {row["id"]: row["label"] or f"[{row['problem']}]" for row in rows_of(open_source(source, **options))}


# -- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "0.jpg,a\n1.jpg,b\n2.jpg,a\n3.jpg,b\n",
        "file,label\n0.jpg,a\n1.jpg,b\n2.jpg,a\n3.jpg,b\n",
        "id,breed\n0,a\n1,b\n2,a\n3,b\n",
        "label;x;image\na;1;0.jpg\nb;1;1.jpg\na;2;2.jpg\nb;2;3.jpg\n",
        "images/0.jpg\ta\nimages/1.jpg\tb\nimages/2.jpg\ta\nimages/3.jpg\tb\n",
        "0.jpg a\n1.jpg b\n2.jpg a\n3.jpg b\n",
        b"\xef\xbb\xbfname,class\r\n'x,y',\r\n0.jpg,a\r\n1.jpg,b\r\n2.jpg,a\r\n3.jpg,b\r\n\r\n",
        '"0.JPG","a"\n"1.JPG","b"\n"2.png","a"\n"3","b"\n',
        "C:\\photos\\0.jpg,a\nC:\\photos\\1.jpg,b\nC:\\photos\\2.jpg,a\nC:\\photos\\3.jpg,b\n",
    ],
    ids=[
        "bare",
        "header",
        "no extension",
        "any order",
        "folder",
        "blanks",
        "windows",
        "other extension",
        "windows paths",
    ],
)
def test_tables_of_many_kinds_say_the_same(table, tmp_path):
    """With or without header, folder and extension; comma, semicolon, tab or blank; a byte order mark; quotes."""
    source = write_tree(tmp_path / "src", FLAT)

    assert labelled(source, table) == {"0.jpg": "a", "1.jpg": "b", "2.jpg": "a", "3.jpg": "b"}


def test_what_does_not_fit_is_counted_and_said(tmp_path):
    """A file that is not there, a file without a label, two labels, an empty label, a short line."""
    source = write_tree(tmp_path / "src", {**FLAT, "4.jpg": b"4"})
    table = "file,label\n0.jpg,a\n0.jpg,a\n1.jpg,a\n1.jpg,b\n2.jpg,\n9.jpg,a\n8.jpg,b\nshort\n3.jpg,b\n"

    assert labelled(source, table) == {
        "0.jpg": "a",
        "1.jpg": "[two labels in labels.csv: 'a' and 'b']",
        "2.jpg": "[empty label in labels.csv]",
        "3.jpg": "b",
        "4.jpg": "[not in labels.csv]",
    }
    assert open_source(source, labels=str(tmp_path / "labels.csv")).notes() == [
        "files that labels.csv names, but that are not there: 2 ('9.jpg', '8.jpg')",
        "rows of labels.csv that have too few columns and were left out: 1",
        "files that labels.csv names more than once, with different entries, quarantined: 1",
    ]


def test_a_name_that_two_files_have_labels_none_of_them(tmp_path):
    """Where the table names files by their folders, they are told apart."""
    source = write_tree(tmp_path / "src", {"x/1.jpg": b"1", "y/1.jpg": b"2", "y/2.jpg": b"3"})

    assert labelled(source, "1.jpg,a\n2.jpg,b\n")[
        "x/1.jpg"
    ] == "[1.jpg in labels.csv may be more than one file]".replace("[1.jpg", "['1.jpg'")
    assert labelled(source, "x/1.jpg,a\ny/1.jpg,b\ny/2.jpg,b\n") == {"x/1.jpg": "a", "y/1.jpg": "b", "y/2.jpg": "b"}


def test_columns_can_be_said(tmp_path):
    """By name, or by number; a wrong name lists those that are there."""
    source = write_tree(tmp_path / "src", FLAT)
    table = "n,who,what,part\n" + "".join(f"{i},{i}.jpg,c{i},{'train' if i else 'val'}\n" for i in range(4))
    expected = {f"{i}.jpg": f"c{i}" for i in range(4)}

    assert labelled(source, table, label_column="what") == expected
    assert labelled(source, table, file_column="2", label_column="3") == expected
    with pytest.raises(ConfigError, match=r"cannot tell which column of labels.csv holds the labels.*n, who, what"):
        labelled(source, table)
    with pytest.raises(ConfigError, match=r"no column 'wat' \(wanted as label\).*Did you mean 'what'"):
        labelled(source, table, label_column="wat")
    split = {row["id"]: row["split"] for row in rows_of(open_source(source, labels=str(tmp_path / "labels.csv"),
             label_column="what", split_column="part"))}  # fmt: skip
    assert split == {"0.jpg": "validation", "1.jpg": "train", "2.jpg": "train", "3.jpg": "train"}


def test_folders_of_splits_stay_splits_with_a_table(tmp_path):
    """train/ and test/ keep their meaning; labels come from the table."""
    source = write_tree(tmp_path / "src", {"train/1.jpg": b"", "train/2.jpg": b"", "test/3.jpg": b""})
    (tmp_path / "labels.csv").write_text("1,a\n2,b\n3,a\n")
    opened = open_source(source, labels=str(tmp_path / "labels.csv"))

    assert {row["id"]: (row["label"], row["split"]) for row in rows_of(opened)} == {
        "train/1.jpg": ("a", "train"),
        "train/2.jpg": ("b", "train"),
        "test/3.jpg": ("a", "test"),
    }
    assert opened.declared_splits() == ["test", "train"]


def test_the_table_itself_is_no_picture(tmp_path):
    """It may lie among the pictures; a change of it changes the fingerprint."""
    source = write_tree(tmp_path / "src", {**FLAT, "labels.csv": b"0.jpg,a\n1.jpg,b\n2.jpg,a\n3.jpg,b\n"})
    first = open_source(source, labels=str(source / "labels.csv"))
    assert first.rows == 4

    (source / "labels.csv").write_text("0.jpg,a\n1.jpg,b\n2.jpg,a\n3.jpg,a\n")
    assert open_source(source, labels=str(source / "labels.csv")).fingerprint_parts() != first.fingerprint_parts()


@pytest.mark.parametrize("first", ["9.jpg", "9"])
def test_a_first_line_whose_file_is_missing_is_no_header(first, tmp_path):
    source = write_tree(tmp_path / "src", FLAT)
    labelled(source, f"{first},a\n0,b\n1,b\n2.jpg,b\n3.jpg,b\n")

    notes = open_source(source, labels=str(tmp_path / "labels.csv")).notes()

    assert notes == ["files that labels.csv names, but that are not there: 1 ('9')"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty"),
        ("onlyone\n", "has one column"),
        ("x.png,a\ny.png,b\n", r"names none of the files: it says 'x.png', 'y.png', the source has '0.jpg'"),
        (b"caf\xe9.jpg,a\n", "is not UTF-8 text"),
        ('0.jpg,"a' + "x" * 200_000, "cannot be read as a table|names none|cannot tell"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table, message, tmp_path):
    source = write_tree(tmp_path / "src", FLAT)

    with pytest.raises(DataError, match=message):
        labelled(source, table)


# -- patterns -------------------------------------------------------------------------------------------------------


def test_a_pattern_finds_the_label_in_the_path(tmp_path):
    """One group, or one named label; a path without is a record with a problem."""
    files = {"cat.1.jpg": b"", "dog.22.jpg": b"", "sub/dog.3.jpg": b"", "readme": b""}
    source = write_tree(tmp_path / "src", files)
    expected = {
        "cat.1.jpg": "cat",
        "dog.22.jpg": "dog",
        "sub/dog.3.jpg": "dog",
        "readme": "[the label pattern finds no label in its path]",
    }

    assert labelled(source, label_pattern=r"([a-z]+)\.\d+\.jpg$") == expected
    assert labelled(source, label_pattern=r"(sub/)?(?P<label>[a-z]+)\.(\d+)\.jpg$") == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_pattern": "([a-z"}, ConfigError, "is no regular expression: unterminated"),
        ({"label_pattern": "[a-z]+"}, ConfigError, "has 0 groups"),
        ({"label_pattern": "(a)(b)"}, ConfigError, "has 2 groups"),
        ({"label_pattern": r"(\d\d)\.jpg"}, DataError, r"no file of .* gets a label \('0.jpg'"),
        ({"label_pattern": "(.)", "labels": "x.csv"}, ConfigError, "Give one of them"),
        ({"file_column": "x"}, ConfigError, "file_column names a column of a table"),
        ({"labels": "/nowhere.csv"}, DataError, "there is no table of labels at /nowhere.csv"),
        ({"label_patern": "x"}, ConfigError, "Did you mean 'label_pattern'"),
    ],
)
def test_wrong_options_say_what_to_do(options, error, message, tmp_path):
    source = write_tree(tmp_path / "src", FLAT)

    with pytest.raises(error, match=message):
        open_source(source, "images", **options)


def test_a_flat_folder_says_how_labels_can_be_given(tmp_path):
    with pytest.raises(DataError, match=r"no class folders \(4 files(.|\n)*--labels FILE.csv or --label-pattern"):
        open_source(write_tree(tmp_path / "src", FLAT))


def test_pictures_without_a_label_are_quarantined_and_counted(tmp_path):
    """The whole way: read = written + quarantined."""
    files = {f"{i}.png": picture(i, (8, 8), format="PNG") for i in range(12)}
    source = write_tree(tmp_path / "src", files)
    table = tmp_path / "t.csv"
    table.write_text("".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(10)) + "0.png,b\n77.png,a\n")

    options = {"labels": str(table)}
    manifest = firesteel.prepare(
        source, tmp_path / "ds", engine="local", workers=1, format_options=options
    ).dataset.manifest

    assert (manifest.counts.read, manifest.counts.written, manifest.counts.quarantined) == (12, 9, 3)
    assert manifest.quarantine.reasons == Counter({"not in t.csv": 2, "two labels in t.csv": 1})
    assert any("files that t.csv names, but that are not there: 1 ('77.png')" in text for text in manifest.warnings)
