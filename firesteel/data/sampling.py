"""Which rows an epoch shows where not each comes once: rows of rare classes more often, those of frequent ones less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean

SAMPLINGS = ("uniform", "balanced")


@dataclass(frozen=True)
class ClassSampling:
    """Draws rows with a weight by class.

    An epoch has as many rows and steps as ever. Of each class it shows the share that its weight gives, to one row a lane;
    within a class rows differ by one showing at most, and which get the odd ones is drawn anew every epoch (systematic
    sampling, Madow 1949). So a row of a frequent class comes at most once an epoch, or about equally often as its like.

    Attributes:
        weights: of a row, by class.
    """

    weights: tuple[float, ...]

    def positions(self, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Positions of the rows of an epoch, in order.

        Args:
            labels: of the rows to draw from, int64 of shape (rows,).
            generator: of the random numbers.

        Returns:
            int64 of shape (rows,); some positions come more than once, some not at all.
        """
        rows = len(labels)
        by_class = np.lexsort((generator.random(rows), labels))
        edges = np.cumsum(np.array(self.weights)[labels[by_class]])
        points = (np.arange(rows) + generator.random()) * (edges[-1] / rows)
        drawn = by_class[np.searchsorted(edges, points, side="right").clip(max=rows - 1)]
        return generator.permutation(drawn)


def class_sampling(spec: Spec, rows_per_class: Sequence[int]) -> ClassSampling | None:
    """What ``--sampling`` says, for a split with so many rows of each class; None: each row once.

    ``balanced`` weights a row with ``rows of its class ** -power``: with power 1 all classes come equally often, with 0.5 in
    proportion to the square root of their rows, with 0 as they are.

    Raises:
        ConfigError: if there is no such sampling or option.
    """
    if spec.name not in SAMPLINGS:
        raise ConfigError(
            f"sampling must be one of {', '.join(SAMPLINGS)}, got {spec.name!r}.{did_you_mean(spec.name, SAMPLINGS)}"
        )
    if spec.name == "uniform":
        check_options("sampling uniform", spec.options, ())
        return None
    check_options("sampling balanced", spec.options, ("power",))
    power = spec.options.get("power", 1)
    if isinstance(power, bool) or not isinstance(power, int | float) or not 0 <= power <= 1:
        raise ConfigError(f"sampling balanced: power must be a number from 0 to 1, got {power!r}.")
    return ClassSampling(tuple(float(rows) ** -power if rows else 0.0 for rows in rows_per_class))


def showings(sampling: ClassSampling, rows_per_class: Sequence[int]) -> list[float]:
    """How often an epoch shows a row of each class, on average; 0 for a class without rows."""
    total = sum(rows_per_class)
    mass = sum(weight * rows for weight, rows in zip(sampling.weights, rows_per_class))
    return [total * weight / mass for weight in sampling.weights]


def sampling_note(sampling: ClassSampling, rows_per_class: Sequence[int], labels: Sequence[str]) -> str:
    """What becomes of "each row once an epoch", for people."""
    often = showings(sampling, rows_per_class)
    present = [number for number, rows in enumerate(rows_per_class) if rows]
    rare, frequent = max(present, key=often.__getitem__), min(present, key=often.__getitem__)
    distinct = sum(min(1.0, often[number]) * rows_per_class[number] for number in present)
    return (
        f"sampling by class: an epoch of {sum(rows_per_class):,} rows shows about {distinct:,.0f} different ones; a row of"
        f" {labels[rare]!r} comes {often[rare]:.3g} times, one of {labels[frequent]!r} {often[frequent]:.3g} times"
    )
