"""Weights of classes in the loss, so that mistakes on rare ones count more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean

CLASS_WEIGHTS = {"none": (), "balanced": ("power",), "effective": ("beta",)}
"""Names and their options."""


def class_weights(spec: Spec, rows_per_class: Sequence[int]) -> list[float] | None:
    """The weight of each class; None if all count alike.

    ``balanced`` is ``rows of the class ** -power`` with power 1 (scikit-learn's ``class_weight="balanced"``) or less.
    ``effective`` is ``1 / E`` with the effective number of rows ``E = (1 - beta ** rows) / (1 - beta)``, beta 0.999: Cui et
    al., "Class-balanced loss based on effective number of samples", CVPR 2019, equation 2 and section 4.
    Both are scaled so that the mean weight of the rows of the split is 1: losses and learning rates keep their size.
    The paper scales them to a mean of 1 over the classes instead.

    Args:
        spec: ``--class-weights``.
        rows_per_class: of the split that is trained on. A class without rows gets 0.

    Raises:
        ConfigError: if there are no such weights, or an option is wrong.
    """
    if spec.name not in CLASS_WEIGHTS:
        raise ConfigError(
            f"class weights must be one of {', '.join(CLASS_WEIGHTS)}, got {spec.name!r}."
            f"{did_you_mean(spec.name, CLASS_WEIGHTS)}"
        )
    check_options(f"class weights {spec.name}", spec.options, CLASS_WEIGHTS[spec.name])
    if spec.name == "none":
        return None
    if spec.name == "balanced":
        power = _number(spec, "power", 1.0, highest=1.0)
        raw = [rows**-power if rows else 0.0 for rows in rows_per_class]
    else:
        beta = _number(spec, "beta", 0.999, highest=math.nextafter(1.0, 0.0))
        raw = [_effective(beta, rows) if rows else 0.0 for rows in rows_per_class]
    mean = sum(weight * rows for weight, rows in zip(raw, rows_per_class)) / sum(rows_per_class)
    return [weight / mean for weight in raw]


def _effective(beta: float, rows: int) -> float:
    # 1 - beta ** rows, also where beta is nearly 1.
    return (1.0 - beta) / -math.expm1(rows * math.log(beta)) if beta else 1.0


def _number(spec: Spec, name: str, default: float, highest: float) -> float:
    value = spec.options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        bound = "at most 1" if highest == 1.0 else "below 1"
        raise ConfigError(f"class weights {spec.name}: {name} must be a number from 0 and {bound}, got {value!r}.")
    return float(value)


__all__ = ["CLASS_WEIGHTS", "class_weights"]
