"""Policies: which operations, how often, how far. In a YAML or JSON file::

operations:
- {name: flip, axis: horizontal, probability: 0.5}
- rotate:degrees=[-5,10],probability=0.5             # the same in one line
interpolation: bilinear
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError, field_validator, model_validator

from firesteel.data.augmentation.operation import Operation
from firesteel.data.augmentation.operations import OPERATIONS
from firesteel.documents import dump_yaml, read_document, shortened
from firesteel.errors import ConfigError
from firesteel.specs import check_options, did_you_mean, parse_spec
from firesteel.storage import Place

BUILT_IN: dict[str, list[str]] = {
    "default": [
        "flip:axis=random,probability=1.0", "rotate90:probability=0.9", "rotate90:degrees=[180],probability=0.9",
        "rotate90:degrees=[270],probability=0.9", "rotate:degrees=[-5,10],probability=0.5",
        "rotate:degrees=[-10,10],probability=0.5", "shear:degrees=[-5,5],probability=0.4",
        "skew:magnitude=1.0,probability=0.6", "zoom:factor=[1.0,1.6],probability=0.4",
    ],
    "light": ["flip:axis=horizontal,probability=0.5", "crop:padding=4"],
    "upright": [
        "flip:axis=horizontal,probability=0.5", "rotate:degrees=[-10,10],probability=0.5",
        "zoom:factor=[1.0,1.3],at=random,probability=0.5", "color_jitter:probability=0.8",
    ],
}  # fmt: skip
"""Policies that have a name.

``default`` are the nine operations with which the UCC report balanced its classes with the Python package Augmentor (Bloice,
Stocker, Holzinger, "Augmentor: an image augmentation library for machine learning", arXiv 1708.04680), in its order. As
there, rotated and sheared pictures are cropped, and skewed ones stretched outwards, so that no empty corner is seen.
Differs from Augmentor: angles are uniform in their range, not a side first and then whole degrees; all operations together
interpolate once. ``light`` is the usual one for CIFAR (arXiv 1512.03385, 4.2). ``upright`` is for photographs that have a
top and a bottom.
"""


class Policy(BaseModel):
    """Operations in order.

    Attributes:
        operations: see :mod:`firesteel.data.augmentation.geometric` and ``photometric``.
        interpolation: of operations that move pixels: bilinear, bicubic (sharper, about three times as slow) or nearest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operations: tuple[SerializeAsAny[Operation], ...]
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"operations": value} if isinstance(value, list | tuple) else value

    @field_validator("operations", mode="before")
    @classmethod
    def _build(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"expected a list of operations, got {shortened(value)}")
        return tuple(_operation(each, number) for number, each in enumerate(value, start=1))

    @classmethod
    def of(cls, value: Any) -> Policy:
        """A policy from what a user says: a name of BUILT_IN, a file, a mapping, a list of operations, or a policy.

        Raises:
            ConfigError: if there is no such policy or file, or it does not hold a policy.
        """
        if isinstance(value, Policy):
            return value
        if isinstance(value, str) and value in BUILT_IN:
            return cls.of(BUILT_IN[value])
        where = ""
        if isinstance(value, str | os.PathLike | Place):
            value, where = _read_file(value), f"{value}: "
        elif not isinstance(value, Mapping | list | tuple):
            raise ConfigError(f"a policy is a name ({', '.join(BUILT_IN)}), a file or operations, got {value!r}.")
        if isinstance(value, Mapping):
            check_options(f"{where}a policy", value, cls.model_fields)
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"{where}{_first_of(error)}") from error

    def __str__(self) -> str:
        """Its name if it has one, else the names of its operations."""
        for name, operations in BUILT_IN.items():
            if self == Policy(operations=operations):  # type: ignore[arg-type]
                return name
        return "+".join(operation.name for operation in self.operations)

    def to_yaml(self) -> str:
        """The text of a file that holds this policy."""
        return dump_yaml(self.model_dump(mode="json"))


def _read_file(where: Any) -> Mapping[str, Any]:
    text = str(where)
    if isinstance(where, str) and "." not in text and "/" not in text:
        raise ConfigError(
            f"there is no policy {text!r}.{did_you_mean(text, BUILT_IN)} There are {', '.join(BUILT_IN)}; or give a"
            " .yaml or .json file."
        )
    return read_document(where, "a policy", example="operations: [flip, zoom]")


def _operation(value: Any, number: int) -> Operation:
    """One operation from a text, a mapping, or as it is."""
    if isinstance(value, Operation):
        return value
    if isinstance(value, str):
        spec = parse_spec(value)
        name, options = spec.name, dict(spec.options)
    elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
        name, options = value["name"], {key: each for key, each in value.items() if key != "name"}
    else:
        raise ConfigError(f"operation {number}: expected {{name: rotate, degrees: [-5, 10]}}, got {shortened(value)}")
    if name not in OPERATIONS:
        raise ConfigError(
            f"operation {number}: there is no operation {name!r}.{did_you_mean(name, OPERATIONS)} There are"
            f" {', '.join(OPERATIONS)}"
        )
    kind = OPERATIONS[name]
    check_options(f"operation {number}, {name},", options, kind.model_fields.keys() - {"name"})
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise ConfigError(f"operation {number}, {name}: {_first_of(error)}") from error


def _first_of(error: ValidationError) -> str:
    problem = error.errors()[0]
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = "" if "got" in message else f", got {shortened(problem.get('input'))}"
    name = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
    prefix = "" if not name or (name == "operations" and problem["type"] == "value_error") else f"{name}: "
    return f"{prefix}{message[:1].lower()}{message[1:].rstrip('.')}{given}."


__all__ = ["BUILT_IN", "Policy"]
