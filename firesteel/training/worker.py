"""What one worker does, whatever started it: the only entry of the launchers into training."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from firesteel._version import __version__
from firesteel.data.cache import Rows, available_memory_bytes, load_rows
from firesteel.data.loader import Loader, Normalizer
from firesteel.data.manifest import Dataset
from firesteel.data.order import Order
from firesteel.errors import DatasetError, FiresteelError, ModelError, WorkerFailed
from firesteel.launch import lost_a_peer, place_of
from firesteel.models import build_model, count_parameters
from firesteel.models.description import ModelDescription, normalization_for, save_model
from firesteel.monitoring.events import EventWriter, events_of
from firesteel.storage import Place
from firesteel.sync import alone, make_sync
from firesteel.sync.base import SyncStrategy
from firesteel.training.callbacks import Callback, EventLog, Progress, ScoreForSchedule
from firesteel.training.initialization import initialize
from firesteel.training.job import TrainJob, TrainPayload
from firesteel.training.loop import train
from firesteel.training.run import RunDirectory
from firesteel.training.schedules import Timing
from firesteel.training.settings import learning_rate_line
from firesteel.training.update import make_update
from firesteel.world import Meeting, World, using_threads


def train_worker(payload: TrainPayload, world: World, meeting: Meeting | None) -> dict[str, Any]:
    """Train one copy of the model on this worker's rows; rank 0 saves the result.

    Data is loaded and the model is built before the workers meet: a worker that cannot do so says it at once.

    Returns:
        steps, rows, seconds (of training), loss_sums (for each epoch the sum of losses and the rows), parameters,
        bytes_sent.
    """
    job = payload.job
    world = world.on_device(job.device)
    if events_of(Place.of(payload.run), world.rank):
        # Sessions that are not ours let Spark repeat a stage whose task was lost: from the beginning, without a word.
        raise WorkerFailed(
            "a worker was lost, and Spark began the stage again; Firesteel does not train twice over it.\n"
            "Set spark.stage.maxConsecutiveAttempts=1 to be told sooner."
        )
    with ExitStack() as stack:
        events = stack.enter_context(EventWriter(Place.of(payload.run), world.rank))
        stack.enter_context(using_threads(job.threads or world.default_threads))
        dataset = _open_dataset(job)
        order = job.order(dataset)
        rows = _load(job, dataset, order, world)
        model = build_model(payload.model, input_shape=job.input_shape, num_classes=job.num_classes, seed=job.seed)
        initialize(model, job.init, job.seed)
        model.to(world.torch_device)
        update = make_update(
            job, model, Timing(order.steps_per_epoch, job.epochs), world, model_name=str(payload.model.spec),
            gradients_agree=job.sync.name == "allreduce",
        )  # fmt: skip
        torch.manual_seed(job.seed * 1_000_003 + world.rank)  # dropout must differ between workers
        sync = make_sync(job.sync if world.world_size > 1 else alone(job.sync))
        normalization = normalization_for(job.normalize, dataset.manifest.statistics)
        normalize = Normalizer.of(
            normalization.mean, normalization.std, normalization.scale, len(job.input_shape), world.torch_device
        )
        loader = Loader(rows, order, world, normalize, prefetch=_prefetch(job, rows, world))
        if meeting is not None:
            stack.enter_context(meeting.process_group())
        log = EventLog(events, world.torch_device, job.log_every)
        callbacks: list[Callback] = [_Start(events, job, world, order, rows, model, sync), log]
        if update.schedule.wants_score:
            callbacks.append(ScoreForSchedule(update.schedule, log))
        with _first_step_explained(job, log):
            progress = train(
                model, update, loader, sync, world,
                epochs=job.epochs, loss_function=partial(_loss, job), callbacks=callbacks,
            )  # fmt: skip
        if world.rank == 0:
            _save(payload, dataset, model, progress)
    return {
        "steps": progress.step,
        "rows": log.rows,
        "seconds": log.seconds,
        "loss_sums": log.epoch_sums,
        "parameters": count_parameters(model),
        "bytes_sent": sync.bytes_sent,
    }


def _loss(job: TrainJob, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, mean over the rows of a batch, of a network that gives one output a class."""
    wanted = (len(labels), job.num_classes)
    if not isinstance(outputs, torch.Tensor) or outputs.shape != wanted:
        given = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else f"a {type(outputs).__name__}"
        raise ModelError(
            f"model {job.model} gives {given} for a batch of shape {(len(labels), *job.input_shape)}; the dataset's"
            f" {job.num_classes} classes want outputs of shape {wanted}."
        )
    return nn.functional.cross_entropy(outputs, labels)


@contextmanager
def _first_step_explained(job: TrainJob, log: EventLog) -> Iterator[None]:
    """A network that cannot take its input raises somewhere inside torch: say which network and which input."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if log.rows or isinstance(error, FiresteelError) or lost_a_peer(error):
            raise
        raise ModelError(
            f"model {job.model} fails on its first batch, of shape ({job.batch_size}, "
            f"{', '.join(map(str, job.input_shape))}): {type(error).__name__}: {str(error).splitlines()[0]}\n"
            f"{place_of(traceback.format_exc())}"
        ) from error


def _open_dataset(job: TrainJob) -> Dataset:
    dataset = Dataset.open(job.dataset)
    if dataset.manifest.fingerprint != job.fingerprint:
        raise DatasetError(
            f"{job.dataset} is another dataset on this worker than on the driver (fingerprints"
            f" {dataset.manifest.fingerprint[:12]} and {job.fingerprint[:12]}). All must see the same storage."
        )
    return dataset


def _load(job: TrainJob, dataset: Dataset, order: Order, world: World) -> Rows:
    slices = [part for lane in order.lanes_of(world.rank, world.world_size) for part in order.slices[lane]]
    budget = available_memory_bytes() // 4 // world.local_world_size if job.memory_bytes is None else job.memory_bytes
    return load_rows(
        dataset, job.split, slices, budget_bytes=budget, threads=torch.get_num_threads(), scratch=job.scratch
    )


def _prefetch(job: TrainJob, rows: Rows, world: World) -> int:
    if job.prefetch is not None:
        return job.prefetch
    return 2 if world.device.startswith("cuda") or not rows.in_memory else 0


def _save(payload: TrainPayload, dataset: Dataset, model: nn.Module, progress: Progress) -> None:
    job = payload.job
    description = ModelDescription(
        model=payload.model.spec,
        importable=payload.model.has_name,
        feature=dataset.feature,
        normalization=normalization_for(job.normalize, dataset.manifest.statistics),
        labels=dataset.manifest.labels,
        parameters=count_parameters(model),
        trained_on={
            "dataset": job.dataset,
            "fingerprint": job.fingerprint,
            "run": payload.run,
            "epochs": job.epochs,
            "steps": progress.step,
        },
        versions={"firesteel": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    save_model(RunDirectory(Place.of(payload.run)).model_folder, model, description)


class _Start(Callback):
    """Announces the run when everything is ready for the first step."""

    def __init__(
        self,
        events: EventWriter,
        job: TrainJob,
        world: World,
        order: Order,
        rows: Rows,
        model: nn.Module,
        sync: SyncStrategy,
    ):
        self._events, self._sync = events, sync
        self._fields = {
            "host": world.host,
            "device": world.device,
            "threads": torch.get_num_threads(),
            "workers": world.world_size,
            "epochs": job.epochs,
            "steps_per_epoch": order.steps_per_epoch,
            "global_batch_size": job.global_batch_size,
            "rows": len(rows),
            "in_memory": rows.in_memory,
            "parameters": count_parameters(model),
            "sync": str(job.sync),
            "learning_rate": job.learning_rate * job.worker_factor,
            "learning_rate_line": learning_rate_line(job),
            "pid": os.getpid(),
            "versions": {"torch": torch.__version__, "python": platform.python_version(), "firesteel": __version__},
        }

    def on_train_begin(self, progress: Progress) -> None:
        self._events.write("start", bytes_per_step=self._sync.bytes_per_step, **self._fields)
