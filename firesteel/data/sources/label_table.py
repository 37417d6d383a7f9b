"""A table that says which file has which label: ``name,label`` lines, as Kaggle and others ship them."""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from firesteel.errors import ConfigError, DataError
from firesteel.specs import did_you_mean
from firesteel.storage import Place

_DELIMITERS = (",", ";", "\t", "|", " ")
_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "category_id",
    "target",
    "class_name",
    "classname",
    "breed",
    "species",
)
_EXTENSIONS = frozenset(
    (
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "gif",
        "bmp",
        "webp",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "ico",
        "avif",
        "jp2",
    )
)
_SAMPLE = 1000
"""Rows of the table by which header, columns and the way of naming files are told."""


@dataclass(frozen=True)
class Rule:
    """How a name in the table and a file are compared: by their last ``parts`` (None: all), with or without extension."""

    parts: int | None
    extension: bool

    def key(self, path: str) -> str:
        names = [
            part for part in unicodedata.normalize("NFC", path).replace("\\", "/").split("/") if part not in ("", ".")
        ]
        if not self.extension and names:
            stem, dot, extension = names[-1].rpartition(".")
            names[-1] = stem if dot and extension.lower() in _EXTENSIONS else names[-1]
        return "/".join(names if self.parts is None else names[-self.parts :])


_RULES = [Rule(parts, extension) for parts in (None, 3, 2, 1) for extension in (True, False)]
"""Strictest first: of rules that find as many files, the first is taken."""


@dataclass(frozen=True)
class LabelTable:
    """What a table says, by the key of the file.

    Attributes:
        name: of the table, for messages.
        digest: SHA-256 of its bytes.
        rule: how files are found in it.
        entries: (label, split) by key.
        conflicts: keys with two different entries, and what is wrong with them.
        has_split: whether a column names the split.
        notes: what a person should know.
    """

    name: str
    digest: str
    rule: Rule
    entries: dict[str, tuple[str, str | None]]
    conflicts: dict[str, str]
    has_split: bool
    notes: tuple[str, ...]


def read_label_table(
    where: Place,
    paths: Sequence[str],
    *,
    file_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
) -> LabelTable:
    """Read a table (CSV, or with ; tab | or blanks between the columns; UTF-8) for the files of a source.

    Args:
        where: the table.
        paths: of the files, relative to the source.
        file_column: name of the column with the file names, or its number from 1; None looks for it.
        label_column: of the labels; None is a column called label, class, category, ..., else the only other one.
        split_column: of the splits; None is none.

    Raises:
        ConfigError: for a column that is not there, or if it cannot be told which it is.
        DataError: if the table cannot be read or names none of the files.
    """
    data = where.read_bytes()
    rows = _rows(where, data)
    columns = _Columns(where.name, rows, paths, file_column, label_column, split_column)
    body = rows[1:] if columns.has_header else rows
    entries: dict[str, tuple[str, str | None]] = {}
    conflicts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in body:
        if len(row) <= columns.last:
            counts["short"] += 1
            continue
        key = columns.rule.key(row[columns.file])
        entry = row[columns.label].strip(), None if columns.split is None else row[columns.split].strip()
        before = entries.setdefault(key, entry)
        if before != entry:
            counts["conflicts"] += key not in conflicts
            what, index = ("labels", 0) if before[0] != entry[0] else ("splits", 1)
            conflicts.setdefault(key, f"two {what} in {where.name}: {before[index]!r} and {entry[index]!r}")
    notes = _notes(where.name, entries, counts, {columns.rule.key(path) for path in paths}, columns.rule)
    digest = hashlib.sha256(data).hexdigest()
    return LabelTable(where.name, digest, columns.rule, entries, conflicts, columns.split is not None, tuple(notes))


class _Columns:
    """Which column is what, whether the first row is a header, and by which rule names are compared."""

    def __init__(
        self,
        name: str,
        rows: list[list[str]],
        paths: Sequence[str],
        file_column: str | None,
        label_column: str | None,
        split_column: str | None,
    ):
        self._name, self._rows, self._paths = name, rows, paths
        self._named = any(self._is_name(column) for column in (file_column, label_column, split_column))
        given = None if file_column is None else self._position(file_column, "file")
        self.split = None if split_column is None else self._position(split_column, "split")
        self.file, self.rule = self._find_files(range(len(rows[0])) if given is None else (given,))
        self.label = self._find_label() if label_column is None else self._position(label_column, "label")
        self.last = max(self.file, self.label, self.split or 0)

    @cached_property
    def has_header(self) -> bool:
        """The first row is one if a column was given by its name in it, or if it names no file and does not look so."""
        first = self._rows[0][self.file].strip()
        like_a_file = first.isdigit() or Rule(None, False).key(first) != Rule(None, True).key(first)
        return self._named or not (like_a_file or self.rule.key(first) in self._keys(self.rule))

    def _is_name(self, column: str | None) -> bool:
        return column is not None and (column in self._header or not column.isdigit())

    @property
    def _header(self) -> list[str]:
        return [cell.strip() for cell in self._rows[0]]

    def _position(self, column: str, role: str) -> int:
        if column in self._header:
            return self._header.index(column)
        if column.isdigit() and 1 <= int(column) <= len(self._header):
            return int(column) - 1
        raise ConfigError(
            f"{self._name} has no column {column!r} (wanted as {role}); its first row is {', '.join(self._header)}."
            f"{did_you_mean(column, self._header)}\nGive a name of that row, or a number from 1 to {len(self._header)}."
        )

    def _find_files(self, candidates: Iterable[int]) -> tuple[int, Rule]:
        sample = self._rows[: _SAMPLE + 1]
        found: list[tuple[int, int, Rule]] = []
        for rule in _RULES:
            keys = self._keys(rule)
            for column in candidates:
                hits = sum(rule.key(row[column]) in keys for row in sample if len(row) > column)
                found.append((hits, column, rule))
                if hits >= len(sample) - 1 > 0:
                    return column, rule
        hits, column, rule = max(found, key=lambda each: each[0])
        if not hits:
            raise DataError(
                f"{self._name} names none of the files: it says {', '.join(repr(row[0]) for row in sample[:3])}, the source has"
                f" {', '.join(repr(path) for path in self._paths[:3]) or 'none'}.\nIs it the table of another source?"
            )
        return column, rule

    def _keys(self, rule: Rule) -> set[str]:
        return {rule.key(path) for path in self._paths}

    def _find_label(self) -> int:
        others = [i for i in range(len(self._rows[0])) if i not in (self.file, self.split)]
        if self.has_header:
            called = [i for i in others if self._header[i].lower() in _LABEL_NAMES]
            others = called[:1] or others
        if len(others) != 1:
            raise ConfigError(
                f"cannot tell which column of {self._name} holds the labels; its first row is {', '.join(self._header)}.\n"
                f"Say it with --label-column: a name of that row, or a number from 1 to {len(self._header)}."
            )
        return others[0]


def _rows(where: Place, data: bytes) -> list[list[str]]:
    try:
        text = data.decode("utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = next((sign for sign in _DELIMITERS if sign in first.strip()), ",")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as a table: {error}.") from error
    if not rows:
        raise DataError(f"{where} is empty. Expected lines of a file name and a label.")
    if len(rows[0]) < 2:
        raise DataError(
            f"{where} has one column ({first.strip()[:60]!r}). Expected a file name and a label, with a comma between."
        )
    return rows


def _notes(
    name: str, entries: dict[str, tuple[str, str | None]], counts: Counter[str], files: set[str], rule: Rule
) -> list[str]:
    notes = []
    missing = [key for key in entries if key not in files]
    if missing:
        shown = ", ".join(repr(key) for key in missing[:3]) + (", ..." if len(missing) > 3 else "")
        notes.append(f"files that {name} names, but that are not there: {len(missing)} ({shown})")
    if counts["short"]:
        notes.append(f"rows of {name} that have too few columns and were left out: {counts['short']}")
    if counts["conflicts"]:
        notes.append(
            f"files that {name} names more than once, with different entries, quarantined: {counts['conflicts']}"
        )
    return notes
