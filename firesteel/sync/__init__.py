"""How workers keep their models together: one strategy a file, chosen by ``NAME:key=value,...``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec

if TYPE_CHECKING:
    from firesteel.sync.base import SyncStrategy

__all__ = ["STRATEGIES", "alone", "check_sync", "make_sync"]

STRATEGIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "none": ("firesteel.sync.none", "NoSync", ("accumulate",)),
    "allreduce": ("firesteel.sync.all_reduce", "AllReduce", ("accumulate", "bucket_mb")),
    "average": ("firesteel.sync.averaging", "Averaging", ("accumulate", "every", "optimizer_state")),
}
"""Name -> (module, class, options)."""


def check_sync(sync: str | Spec, workers: int) -> Spec:
    """Read and check a strategy without importing torch.

    Raises:
        ConfigError: if there is no such strategy or option, or it does not go with the number of workers.
    """
    spec = parse_spec(sync)
    if spec.name not in STRATEGIES:
        raise ConfigError(
            f"there is no synchronisation {spec.name!r}. There are {', '.join(STRATEGIES)}."
            f"{did_you_mean(spec.name, STRATEGIES)}"
        )
    check_options(f"sync {spec.name}", spec.options, STRATEGIES[spec.name][2])
    every = spec.options.get("every", 5)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ConfigError(f"average:every must be a whole number of steps, 1 or more, got {every!r}.")
    if not isinstance(spec.options.get("optimizer_state", True), bool):
        raise ConfigError(f"average:optimizer_state must be yes or no, got {spec.options['optimizer_state']!r}.")
    bucket = spec.options.get("bucket_mb", 25)
    if isinstance(bucket, bool) or not isinstance(bucket, int | float) or bucket <= 0:
        raise ConfigError(f"allreduce:bucket_mb must be a number of MiB above 0, got {bucket!r}.")
    accumulate = spec.options.get("accumulate", 1)
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise ConfigError(f"{spec.name}:accumulate must be a whole number of parts, 1 or more, got {accumulate!r}.")
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
    module, name, _ = STRATEGIES[spec.name]
    options = dict(spec.options)
    accumulate = options.pop("accumulate", 1)
    strategy: SyncStrategy = getattr(importlib.import_module(module), name)(**options)
    strategy.accumulate = accumulate
    return strategy
