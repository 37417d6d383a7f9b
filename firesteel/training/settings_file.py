"""Settings files: what the options of a command say, in YAML or TOML.

::

    # run.yaml
    dataset: /data/photos
    run: runs/first
    epochs: 20
    optimizer: {name: sgd, momentum: 0.9}      # or sgd:momentum=0.9

YAML is read as YAML 1.2's core schema with ``yes`` and ``no`` besides: ``1e-3`` is a number, ``007`` and ``10:30`` are texts.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, ClassVar

import yaml

from firesteel.errors import ConfigError, StorageError
from firesteel.specs import Spec
from firesteel.storage import Place

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SUFFIXES = (".yaml", ".yml", ".toml")


def read_settings(where: str | os.PathLike[str] | Place) -> dict[str, Any]:
    """The settings of a file, as they stand there: keys are not checked, and values are of any type.

    Args:
        where: path or URI of a ``.yaml``, ``.yml`` or ``.toml`` file.

    Raises:
        ConfigError: if there is no such file, or it does not hold settings.
    """
    place = Place.of(where)
    suffix = os.path.splitext(place.name)[1].lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"a settings file ends with {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}, got {place}.")
    try:
        text = place.read_bytes().decode("utf-8-sig")
        found = tomllib.loads(text) if suffix == ".toml" else yaml.load(text, _Loader)
    except StorageError as error:
        raise ConfigError(f"cannot read the settings file {place}: {error}") from error
    # What tomllib raises is a ValueError, and so is what is not UTF-8.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is no sound {suffix[1:].upper()}: {_one_line(error)}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{place} must hold lines such as 'epochs: 20', got {_shortened(found)}.")
    return found


def spec_text(value: dict[Any, Any]) -> str:
    """A nested ``{name: sgd, momentum: 0.9}`` as the text ``sgd:momentum=0.9``.

    Raises:
        ConfigError: if it has no name, or holds what a spec cannot.
    """
    name = value.get("name")
    if not isinstance(name, str) or "=" in name or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"expected a name and options, as in {{name: sgd, momentum: 0.9}}, got {_shortened(value)}")
    try:
        return str(Spec(name=name, options={key: each for key, each in value.items() if key != "name"}))
    except (TypeError, ValueError, RecursionError) as error:  # a date of TOML, or a value that holds itself
        raise ConfigError(
            f"an option of {name} is neither text, number, yes or no, nor a list of those: {error}"
        ) from error


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


for _tag, _pattern, _first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE", "yYnNtTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
    ("merge", "<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or error}"
    return " ".join(str(error).split()) or type(error).__name__


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["read_settings", "spec_text"]
