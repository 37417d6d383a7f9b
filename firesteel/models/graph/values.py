"""What stands in the lists of a stored graph: JSON values, and objects for what JSON lacks.

============================  ==========================================
``{"value": "conv2d"}``       what a step has given; ``input`` is the batch
``{"tensor": "scale"}``       a parameter or constant of the network
``{"dtype": "float32"}``      a dtype of torch
``{"layout": "channels_last"}``   a memory format of torch
``{"number": "-inf"}``        inf, -inf or nan
============================  ==========================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from firesteel.errors import ModelError

DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
LAYOUTS = {
    name: getattr(torch, name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_END = (1 << 63) - 1
"""What a slice without an end has for one."""
_MOST = 1 << 40
_DEPTH = 4


def check_value(value: Any, where: str, depth: int = 0) -> None:
    """Raises:
    ModelError: if a stored value is none of what may stand there."""
    if isinstance(value, dict):
        kind, name = next(iter(value.items())) if len(value) == 1 else (None, None)
        allowed = {"dtype": DTYPES, "layout": LAYOUTS, "number": _NUMBERS}.get(str(kind))
        if not isinstance(name, str) or (kind not in ("value", "tensor") and (allowed is None or name not in allowed)):
            raise ModelError(f"{where} has an input that is not known: {str(value)[:80]}.")
    elif isinstance(value, list | tuple):
        if depth == _DEPTH:
            raise ModelError(f"{where} has lists in lists, more than {_DEPTH} deep.")
        for each in value:
            check_value(each, where, depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > _MOST and abs(value) != _END:
            raise ModelError(f"{where} has the number {str(value)[:40]}, beyond what a network needs.")
    elif value is not None and not isinstance(value, bool | float | str):
        raise ModelError(f"{where} has an input of type {type(value).__name__}.")


def names_in(value: Any, kind: str = "value") -> Iterator[str]:
    """Names that a stored value refers to, of steps (``value``) or tensors (``tensor``)."""
    if isinstance(value, dict):
        if kind in value:
            yield value[kind]
    elif isinstance(value, list | tuple):
        for each in value:
            yield from names_in(each, kind)


def resolver(value: Any) -> Callable[[dict[str, Any], Callable[[str], Tensor]], Any]:
    """What makes the real value of a stored one, given the values of the steps and a look-up of tensors."""
    if isinstance(value, dict):
        ((kind, name),) = value.items()
        if kind == "value":
            return lambda values, tensor: values[name]
        if kind == "tensor":
            return lambda values, tensor: tensor(name)
        fixed = {"dtype": DTYPES, "layout": LAYOUTS, "number": _NUMBERS}[kind][name]
        return lambda values, tensor: fixed
    if isinstance(value, list | tuple):
        parts = [resolver(each) for each in value]
        if not any(names_in(value)) and not any(names_in(value, "tensor")):
            whole = [part({}, _no_tensor) for part in parts]
            return lambda values, tensor: list(whole)
        return lambda values, tensor: [part(values, tensor) for part in parts]
    return lambda values, tensor: value


def stored(value: Any) -> Any:
    """A number, string, dtype, memory format or list of these as it is stored.

    Raises:
        ModelError: if it cannot be.
    """
    if isinstance(value, torch.dtype) and str(value).removeprefix("torch.") in DTYPES:
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.memory_format):
        return {"layout": str(value).removeprefix("torch.")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, list | tuple):
        return [stored(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ModelError(
        f"a network with the value {str(value)[:60]} ({type(value).__name__}) cannot be stored as a graph."
    )


def _no_tensor(name: str) -> Tensor:
    raise AssertionError(name)
