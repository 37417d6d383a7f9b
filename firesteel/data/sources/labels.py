"""Where the label of a file comes from: its folder, a table, or a pattern on its path."""

from __future__ import annotations

import functools
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from firesteel.data.sources.base import SPLIT_NAMES
from firesteel.data.sources.label_table import LabelTable, read_label_table
from firesteel.errors import ConfigError, DataError
from firesteel.storage import Place

LABEL_OPTIONS = ("labels", "file_column", "label_column", "split_column", "label_pattern")
"""Options of every source of picture files."""


class Labelled(NamedTuple):
    """What is known of a file without looking into it; ``problem`` says why it has no label."""

    label: str | None
    split: str | None = None
    problem: str | None = None


class Labels(ABC):
    """Gives each file its label.

    Args:
        own_split: whether the first folder of each path names a split.
    """

    least_parts = 1
    """Folders and name that a path needs at least."""

    def __init__(self, own_split: bool):
        self.own_split = own_split

    def of(self, path: str) -> Labelled:
        """The label of a file, by its path below the source, with ``/`` between its parts."""
        head, _, rest = path.partition("/")
        if not self.own_split:
            return self._of(path, path)
        if not rest:
            return Labelled(None, None, "not in a class folder" if self.least_parts > 1 else "in no folder of a split")
        found = self._of(path, rest)
        return found._replace(split=found.split or SPLIT_NAMES[head.lower()])

    @abstractmethod
    def _of(self, path: str, rest: str) -> Labelled:
        """The label by the whole path, and by what is left of it below the folder of the split."""

    def fingerprint(self) -> list[Any]:
        """What the labels depend on beside the paths; JSON-able, empty for folders."""
        return []

    def notes(self) -> list[str]:
        """What a person should know."""
        return []


class FolderLabels(Labels):
    """``CLASS/any/depth/picture.jpg``."""

    least_parts = 2

    def _of(self, path: str, rest: str) -> Labelled:
        folder, slash, _ = rest.partition("/")
        return Labelled(class_name(folder)) if slash else Labelled(None, None, "not in a class folder")


class TableLabels(Labels):
    """As a table says; see :mod:`firesteel.data.sources.label_table`."""

    def __init__(self, own_split: bool, table: LabelTable, paths: Iterable[str]):
        super().__init__(own_split)
        self._table = table
        named_by = Counter(key for path in paths if (key := table.rule.key(path)) in table.entries)
        self._ambiguous = {key for key, count in named_by.items() if count > 1}

    def _of(self, path: str, rest: str) -> Labelled:
        table, key = self._table, self._table.rule.key(path)
        if key in table.conflicts:
            return Labelled(None, None, table.conflicts[key])
        if key in self._ambiguous:
            return Labelled(None, None, f"{key!r} in {table.name} may be more than one file")
        if key not in table.entries:
            return Labelled(None, None, f"not in {table.name}")
        label, split = table.entries[key]
        if not label:
            return Labelled(None, None, f"empty label in {table.name}")
        if table.has_split:
            split = SPLIT_NAMES.get((split or "").lower(), split)
            if not split or not split.isidentifier() or split == "quarantine":
                return Labelled(None, None, f"no name of a split in {table.name}: {split!r}")
        return Labelled(label, split)

    def fingerprint(self) -> list[Any]:
        return ["labels", self._table.digest, self._table.rule.parts, self._table.rule.extension]

    def notes(self) -> list[str]:
        return list(self._table.notes)


class PatternLabels(Labels):
    """What a group of a regular expression finds in the path (``re.search``)."""

    def __init__(self, own_split: bool, pattern: re.Pattern[str]):
        super().__init__(own_split)
        self._pattern = pattern
        self._group: str | int = "label" if "label" in pattern.groupindex else 1

    def _of(self, path: str, rest: str) -> Labelled:
        found = self._pattern.search(path)
        label = found.group(self._group) if found else None
        return (
            Labelled(class_name(label))
            if label
            else Labelled(None, None, "the label pattern finds no label in its path")
        )

    def fingerprint(self) -> list[Any]:
        return ["label_pattern", self._pattern.pattern]


def make_labels(options: Mapping[str, str], paths: Sequence[str], source: Place, *, own_split: bool) -> Labels:
    """The labels that the options ask for: folders, if they say nothing.

    Args:
        options: of LABEL_OPTIONS.
        paths: of all files, below the source.
        own_split: whether the first folder of each path names a split.
        source: for messages.

    Raises:
        ConfigError: for options that contradict each other, a bad pattern, or a column that is not there.
        DataError: if no file gets a label.
    """
    table, pattern = options.get("labels"), options.get("label_pattern")
    if table and pattern:
        raise ConfigError("labels come from a table (--labels) or from a pattern (--label-pattern). Give one of them.")
    columns = {name: options.get(name) for name in ("file_column", "label_column", "split_column")}
    stray = [name for name, value in columns.items() if value is not None]
    if stray and not table:
        raise ConfigError(f"{stray[0]} names a column of a table of labels; give the table: --labels FILE.csv")
    if pattern:
        labels: Labels = PatternLabels(own_split, _compiled(pattern))
    elif table:
        place = Place.of(table)
        if not place.exists() or place.is_dir():
            raise DataError(f"there is no table of labels at {place}.")
        labels = TableLabels(own_split, read_label_table(place, paths, **columns), paths)
    else:
        return FolderLabels(own_split)
    if paths and all(labels.of(path).label is None for path in paths):
        raise DataError(
            f"no file of {source} gets a label ({paths[0]!r}: {labels.of(paths[0]).problem}).\n"
            "Patterns and names in tables are compared with paths below the source, with / between folders."
        )
    return labels


def has_own_split(paths: Iterable[str]) -> bool:
    """Whether the folders at the top are called train, test, validation, or as these are also called, and nothing else."""
    tops = {path.partition("/")[0].lower() for path in paths if "/" in path}
    return bool(tops) and all(top in SPLIT_NAMES for top in tops)


@functools.lru_cache(1 << 16)
def class_name(folder: str) -> str:
    """A class by the name of its folder."""
    # macOS stores accents as separate characters; the same class from two machines must be one class.
    return unicodedata.normalize("NFC", printable(folder))


def printable(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8, which Python keeps as lone surrogates, are written as \\xe9."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _compiled(pattern: str) -> re.Pattern[str]:
    example = r"For cat.123.jpg: --label-pattern '([^/.]+)\.\d+\.jpg$'"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"label_pattern {pattern!r} is no regular expression: {error}.\n{example}") from None
    if "label" not in compiled.groupindex and compiled.groups != 1:
        raise ConfigError(
            f"label_pattern {pattern!r} has {compiled.groups} groups. It needs one around the label, or one named label.\n{example}"
        )
    return compiled
