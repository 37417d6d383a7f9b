"""How workers keep their models together: one strategy a file, chosen by ``NAME:key=value,...``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError
from firesteel.specs import Spec, did_you_mean, parse_spec
from firesteel.sync.options import GIVEN, Option, check_values, choice, flag, number, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firesteel.sync.base import SyncStrategy

__all__ = ["STRATEGIES", "Strategy", "alone", "check_sync", "make_sync"]


@dataclass(frozen=True)
class Strategy:
    """A strategy as the table knows it: where its class is, and what its options may be.

    The defaults are those of the class. Every strategy also takes ``accumulate``, see :class:`SyncStrategy`.
    """

    module: str
    name: str
    options: Mapping[str, Option] = field(default_factory=dict)


_ACCUMULATE = whole("parts")

STRATEGIES: dict[str, Strategy] = {
    "none": Strategy("firesteel.sync.none", "NoSync"),
    "allreduce": Strategy(
        "firesteel.sync.all_reduce",
        "AllReduce",
        {
            "bucket_mb": number("a number of MiB", above=0),
            "communication": choice("fp32", "bf16", "fp16").only("powersgd", None),
            "powersgd": whole("columns (the rank of the approximation)"),
            "powersgd_start": whole("steps", at_least=2).only("powersgd", GIVEN),
            "powersgd_min_compression": number(at_least=1).only("powersgd", GIVEN),
        },
    ),
    "average": Strategy(
        "firesteel.sync.averaging",
        "Averaging",
        {"every": whole("steps"), "optimizer_state": flag(), "weighting": choice("rows", "equal")},
    ),
    "threshold": Strategy(
        "firesteel.sync.threshold",
        "Threshold",
        {
            "algorithm": choice("adaptive", "target", "fixed"),
            "threshold": number(above=0),
            "min_density": number(above=0, at_most=1).only("algorithm", None, "adaptive"),
            "max_density": number(above=0, at_most=1).only("algorithm", None, "adaptive"),
            "density": number(above=0, at_most=1).only("algorithm", "target"),
            "decay": number(above=0, below=1).only("algorithm", None, "adaptive", "target"),
            "updates": choice("mean", "sum"),
            "clip": number("a number of thresholds", above=0),
            "clip_every": whole("steps").only("clip", GIVEN),
        },
    ),
    "diloco": Strategy(
        "firesteel.sync.diloco",
        "DiLoCo",
        {
            "every": whole("steps"),
            "outer_learning_rate": number(above=0),
            "outer_momentum": number(at_least=0, below=1),
            "communication": choice("fp32", "fp16"),
        },
    ),
    "async": Strategy(
        "firesteel.sync.elastic",
        "ElasticAveraging",
        {"every": whole("steps"), "moving_rate": number(above=0, at_most=1)},
    ),
}
"""By name."""


def check_sync(sync: str | Spec, workers: int) -> Spec:
    """Read and check a strategy without importing torch.

    Raises:
        ConfigError: if there is no such strategy or option, an option is not allowed or would have no effect, or the
            strategy does not go with the number of workers.
    """
    spec = parse_spec(sync)
    if spec.name not in STRATEGIES:
        raise ConfigError(
            f"there is no synchronisation {spec.name!r}. There are {', '.join(STRATEGIES)}."
            f"{did_you_mean(spec.name, STRATEGIES)}"
        )
    check_values(spec.name, spec.options, {**STRATEGIES[spec.name].options, "accumulate": _ACCUMULATE})
    if spec.name == "threshold":
        low, high = spec.options.get("min_density", 1e-4), spec.options.get("max_density", 2e-2)
        if low > high:
            raise ConfigError(f"threshold:min_density must be at most max_density, got {low:g} and {high:g}.")
    if spec.name == "none" and workers > 1:
        raise ConfigError(
            f"sync none lets {workers} workers train {workers} different models. Use allreduce or average:every=5,"
            " or --workers 1."
        )
    return spec


def alone(spec: Spec) -> Spec:
    """What is left of a strategy where there is one worker only."""
    return Spec(name="none", options={key: spec.options[key] for key in spec.options.keys() & {"accumulate"}})


def make_sync(spec: Spec) -> SyncStrategy:
    """Build the strategy of a checked spec."""
    options = dict(spec.options)
    accumulate = options.pop("accumulate", 1)
    known = STRATEGIES[spec.name]
    strategy: SyncStrategy = getattr(importlib.import_module(known.module), known.name)(**options)
    strategy.accumulate = accumulate
    return strategy
