"""YAML, TOML and JSON files that people write: settings, schemas, transform processes, policies.

YAML is read as YAML 1.2's core schema with ``yes`` and ``no`` besides: ``1e-3`` is a number, ``007`` and ``10:30`` are texts.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import yaml

from firesteel.errors import ConfigError, StorageError
from firesteel.storage import Place

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_document(
    where: str | os.PathLike[str] | Place,
    what: str,
    *,
    example: str,
    suffixes: Sequence[str] = (".yaml", ".yml", ".json"),
) -> dict[str, Any]:
    """What a file says, as it stands there: keys are not checked, and values are of any type.

    Args:
        where: path or URI.
        what: the file is, for messages: ``a settings file``.
        example: of a line in it, for messages.
        suffixes: that are allowed, of ``.yaml``, ``.yml``, ``.toml`` and ``.json``.

    Returns:
        a mapping; an empty one for an empty file.

    Raises:
        ConfigError: if there is no such file, or it does not hold a mapping.
    """
    place = Place.of(where)
    suffix = os.path.splitext(place.name)[1].lower()
    if suffix not in suffixes:
        raise ConfigError(f"{what} ends with {', '.join(suffixes[:-1])} or {suffixes[-1]}, got {place}.")
    try:
        found = _READERS[suffix](place.read_bytes().decode("utf-8-sig"))
    except StorageError as error:
        raise ConfigError(f"cannot read {what.replace('a ', 'the ', 1)} {place}: {error}") from error
    # What tomllib and json raise is a ValueError, and so is what is not UTF-8.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is no sound {suffix[1:].upper()}: {_one_line(error)}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{place} must hold lines such as {example!r}, got {shortened(found)}.")
    return found


def parse_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: if it is none.
    """
    return yaml.load(text, _Loader)


def dump_yaml(value: Any) -> str:
    """YAML that :func:`parse_yaml` reads as the same value of mappings, lists, texts, numbers and truth values.

    Keys keep their order; short lists and mappings stand in one line.
    """

    def dump(*, ascii_only: bool) -> str:
        return yaml.dump(
            value, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, default_flow_style=None, width=120
        )

    text = dump(ascii_only=False)
    # PyYAML writes a few signs as they are that it reads as ends of lines.
    return text if parse_yaml(text) == value else dump(ascii_only=True)


def shortened(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Loader(yaml.SafeLoader):
    """SafeLoader without what surprises: keys given twice, octal numbers, base 60, dates, and ``1e-3`` as a text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper for what :class:`_Loader` reads: quotes what that would take for something else."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE", "yYnNtTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
    ("merge", "<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):  # fmt: skip
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _parse_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key!r} is given twice")
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=once) if text.strip() else None


_READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": parse_yaml, ".yml": parse_yaml, ".toml": tomllib.loads, ".json": _parse_json,
}  # fmt: skip


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or error}"
    return " ".join(str(error).split()) or type(error).__name__


__all__ = ["dump_yaml", "parse_yaml", "read_document", "shortened"]
