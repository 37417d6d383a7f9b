"""Can the network and the optimizer of a job be built at all? Asked once, before a cluster is started for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.models.registry import ZOO, ModelSource, build_model
from firesteel.training.job import TrainJob
from firesteel.training.optimizers import make_optimizer


def try_job(job: dict[str, Any], world: object, meeting: object) -> None:
    """Try a job (as JSON) whose network is one of the zoo.

    Raises:
        FiresteelError: as the workers would.
    """
    read = TrainJob.model_validate(job)
    try_model(ModelSource(read.model), read)


def try_model(source: ModelSource, job: TrainJob) -> None:
    """Build a network and its optimizer, and forget them.

    Raises:
        ModelError: if the factory raises.
        ConfigError: if the network has nothing to train, or the optimizer refuses its options.
    """
    # On the "meta" device a network of the zoo costs nothing. A user's own may load weights: it is built for real.
    with torch.device("meta") if source.spec.name in ZOO else contextlib.nullcontext():
        built = build_model(source, input_shape=job.input_shape, num_classes=job.num_classes, seed=job.seed)
    make_optimizer(job.optimizer, trainable_parameters(built, source), job.learning_rate)


def trainable_parameters(model: nn.Module, source: ModelSource) -> Iterable[nn.Parameter]:
    """The parameters that an optimizer moves.

    Raises:
        ConfigError: if there is none.
    """
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise ConfigError(f"model {source.spec} has no trainable parameter.")
    return found
