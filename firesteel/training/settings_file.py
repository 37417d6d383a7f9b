"""Settings files: what the options of a command say, in YAML or TOML.

::

    # run.yaml
    dataset: /data/photos
    run: runs/first
    epochs: 20
    optimizer: {name: sgd, momentum: 0.9}      # or sgd:momentum=0.9
"""

from __future__ import annotations

import os
from typing import Any

from firesteel.documents import read_document, shortened
from firesteel.errors import ConfigError
from firesteel.specs import Spec
from firesteel.storage import Place


def read_settings(where: str | os.PathLike[str] | Place) -> dict[str, Any]:
    """The settings of a file, as they stand there: keys are not checked, and values are of any type.

    Args:
        where: path or URI of a ``.yaml``, ``.yml`` or ``.toml`` file.

    Raises:
        ConfigError: if there is no such file, or it does not hold settings.
    """
    return read_document(where, "a settings file", example="epochs: 20", suffixes=(".yaml", ".yml", ".toml"))


def spec_text(value: dict[Any, Any]) -> str:
    """A nested ``{name: sgd, momentum: 0.9}`` as the text ``sgd:momentum=0.9``.

    Raises:
        ConfigError: if it has no name, or holds what a spec cannot.
    """
    name = value.get("name")
    if not isinstance(name, str) or "=" in name or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"expected a name and options, as in {{name: sgd, momentum: 0.9}}, got {shortened(value)}")
    try:
        return str(Spec(name=name, options={key: each for key, each in value.items() if key != "name"}))
    except (TypeError, ValueError, RecursionError) as error:  # a date of TOML, or a value that holds itself
        raise ConfigError(
            f"an option of {name} is neither text, number, yes or no, nor a list of those: {error}"
        ) from error


__all__ = ["read_settings", "spec_text"]
