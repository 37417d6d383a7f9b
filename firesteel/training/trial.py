"""Can the network and the optimizer of a job be built at all? Asked once, before a cluster is started for it."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from firesteel.models.registry import ZOO, ModelSource, build_model
from firesteel.models.transfer.freezing import freeze
from firesteel.training.initialization import initialize
from firesteel.training.job import TrainJob
from firesteel.training.update import build_optimizer


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
        ConfigError: if the network has nothing to train or to initialise, the optimizer refuses its options, or a
            pattern of layer_learning_rates, freeze_until or train_only matches nothing.
    """
    # On the "meta" device a network of the zoo costs nothing. A user's own may load weights: it is built for real.
    with torch.device("meta") if source.spec.name in ZOO else contextlib.nullcontext():
        built = build_model(source, input_shape=job.input_shape, num_classes=job.num_classes, seed=job.seed)
    initialize(built, job.init, job.seed)
    freeze(built, until=job.freeze_until, only=job.train_only, head=job.pretrained.head if job.pretrained else ())
    build_optimizer(job, built, source.spec.shown)
