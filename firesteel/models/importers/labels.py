"""Names of classes, from the files that come with published networks."""

from __future__ import annotations

import json
from typing import Any

from firesteel.data.manifest import MANIFEST_NAME, Dataset
from firesteel.errors import ConfigError, FormatError
from firesteel.storage import Place

_MOST_BYTES = 16 << 20


def read_labels(place: Place) -> list[str]:
    """The names in the order of the classes.

    Args:
        place: text with a name a line; a JSON list; a JSON object from numbers to names, or to lists whose last is the name
            (ImageNet's ``class_index.json``); or a prepared dataset, whose labels are taken.

    Raises:
        ConfigError: if there is nothing.
        FormatError: if it is none of these, or two classes have one name.
    """
    if (place / MANIFEST_NAME).exists():
        return Dataset.open(place).manifest.labels
    if not place.exists() or place.is_dir():
        raise ConfigError(f"there are no labels at {place}: a text file, a JSON file or a prepared dataset is needed.")
    if place.size() > _MOST_BYTES:
        raise FormatError(f"{place} is too large for names of classes ({place.size():,} bytes).")
    try:
        text = place.read_bytes().decode("utf-8-sig")
        labels = _of_json(json.loads(text)) if text.lstrip()[:1] in ("[", "{") else _of_lines(text)
    except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
        raise FormatError(
            f'{place} holds no labels ({str(error)[:80]}): a name a line, a JSON list, or JSON {{"0": name, ...}}.'
        ) from error
    return _distinct(place, labels)


def _of_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_json(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = [value[str(number)] for number in range(len(value))]
    return [str(each[-1] if isinstance(each, list) else each) for each in value]


def _distinct(place: Place, labels: list[str]) -> list[str]:
    """Labels must differ. ImageNet has two classes ``crane`` and two ``maillot``: the later ones get a number."""
    if not labels:
        raise FormatError(f"{place} holds no labels.")
    seen: dict[str, int] = {}
    named = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        named.append(label if seen[label] == 1 else f"{label} {seen[label]}")
    if len(set(named)) != len(named):
        raise FormatError(f"{place} gives several classes the same name.")
    return named


__all__ = ["read_labels"]
