"""What one worker does, whatever started it: the only entry of the launchers into training."""

from __future__ import annotations

import os
import platform
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from firesteel._version import __version__
from firesteel.data.cache import Rows
from firesteel.data.loader import Loader, Normalizer
from firesteel.data.manifest import Manifest
from firesteel.errors import CheckpointError, FiresteelError, ModelError, WorkerFailed
from firesteel.launch import lost_a_peer, place_of
from firesteel.models import build_model, count_parameters
from firesteel.models.description import ModelDescription, model_state, normalizer_of, save_state
from firesteel.models.transfer.freezing import freeze, still_norms
from firesteel.models.transfer.pretrained import load_pretrained, whole_state
from firesteel.monitoring.events import STOP_REQUESTED, EventWriter, events_of
from firesteel.storage import Place
from firesteel.sync import alone, make_sync
from firesteel.training.announcing import CountSampled, Start
from firesteel.training.best import BestModel, best_of_run, copy_model
from firesteel.training.callbacks import Callback, EventLog, Progress, ScoreForSchedule
from firesteel.training.checkpoint import Keep, find_checkpoint
from firesteel.training.checkpoint_writer import CheckpointWriter
from firesteel.training.class_weights import class_weights
from firesteel.training.control import Control, StopRequest
from firesteel.training.data import WorkerData, begin_loading
from firesteel.training.initialization import initialize
from firesteel.training.job import TrainJob, TrainPayload
from firesteel.training.loop import train
from firesteel.training.resume import load_initial, state_for
from firesteel.training.run import STOP_REQUEST_NAME, RunDirectory
from firesteel.training.schedules import Timing
from firesteel.training.state import Parts, Stateful, capture, restore
from firesteel.training.stopping import Stopping
from firesteel.training.triggers import Clock
from firesteel.training.update import make_update
from firesteel.training.validation import Validator
from firesteel.world import Meeting, World, using_threads


def train_worker(payload: TrainPayload, world: World, meeting: Meeting | None) -> dict[str, Any]:
    """Train one copy of the model on this worker's rows; rank 0 saves the result.

    Data is loaded and the model is built before the workers meet: a worker that cannot do so says it at once.

    Returns:
        steps, epochs (finished), rows, seconds (of training), loss_sums (for each epoch the sum of losses and the rows),
        parameters, bytes_sent, stop (why it ended before its last epoch, or None) and best (evaluation, or None).
    """
    job, run = payload.job, Place.of(payload.run)
    world = world.on_device(job.device)
    with ExitStack() as stack:
        events = stack.enter_context(EventWriter(run, world.rank))
        _begin_attempt(events, run, payload, world)
        stack.enter_context(using_threads(job.threads or world.default_threads))
        load = begin_loading(payload, world)
        checkpoint = None if payload.checkpoint is None else find_checkpoint(run, str(payload.checkpoint))
        model = _built_model(payload, world)
        still = _frozen(job, model)
        if meeting is not None:
            stack.enter_context(meeting.process_group())
        data = load()
        order, rows = data.order, data.rows
        update = make_update(
            job, model, Timing(order.steps_per_epoch, job.epochs), world, model_name=payload.model.spec.shown,
            gradients_agree=job.sync.name == "allreduce",
        )  # fmt: skip
        _seed(job.seed, world.rank, payload.checkpoint or 0)
        sync = make_sync(job.sync if world.world_size > 1 else alone(job.sync))
        normalize = _normalizer(job, data.manifest, world)
        loader = Loader(
            rows, order, world, normalize, prefetch=_prefetch(job, rows, world), augment=job.augment
        )  # fmt: skip
        validator = _validator(job, data, world, normalize)
        writer = _checkpoint_writer(job, run, world, meeting, events)
        describe = partial(_description, payload, data.manifest, model)
        progress, log = Progress(), EventLog(events, world.torch_device, job.log_every)
        others: dict[str, Stateful] = {"progress": progress, "log": log, "update": update}
        parts = Parts(model, update.optimizer, sync, others, world.rank, world.torch_device)
        control = Control(
            world=world, sync=sync, model=model, stopping=payload.stopping, evaluate=Clock(job.evaluate_every),
            validator=validator, best=BestModel(run, describe, writer, whole=partial(_whole_state, job)), checkpoint=Clock(job.checkpoint_every),
            writer=writer, capture=partial(capture, parts), requested=_stop_request(run, world, stack), events=events,
            epochs=job.epochs, steps_per_epoch=order.steps_per_epoch,
        )  # fmt: skip
        others["control"] = control

        def begin() -> Progress:
            if checkpoint is not None:
                restore(parts, state_for(checkpoint, world))
            return progress

        callbacks: list[Callback] = [Start(events, job, world, order, rows, model, sync), log]
        if update.schedule.wants_score:
            callbacks.append(ScoreForSchedule(update.schedule, log))
        if order.sampling is not None:
            callbacks.append(CountSampled(events, loader))
        with _first_step_explained(job, log):
            train(
                model, update, loader, sync, world,
                epochs=job.epochs, loss_function=partial(_loss, job, _class_weights(job, data, world)), callbacks=[*callbacks, control], begin=begin,
                still=[*still, *still_norms(model)],
            )  # fmt: skip
        if progress.stop == STOP_REQUESTED and writer is not None and writer.failure:
            raise CheckpointError(f"stopped at step {progress.step}, and {writer.failure}")
        if world.rank == 0 and progress.stop != STOP_REQUESTED:
            _save(payload, model, describe(progress.epoch, progress.step), events)
    return {
        "steps": progress.step,
        "epochs": progress.epoch,
        "rows": log.rows,
        "seconds": log.seconds,
        "loss_sums": log.epoch_sums,
        "last_epoch": log.last_epoch,
        "parameters": count_parameters(model),
        "bytes_sent": sync.bytes_sent,
        "stop": progress.stop,
        "best": _best_of(payload.stopping),
    }


def _built_model(payload: TrainPayload, world: World) -> nn.Module:
    job = payload.job
    model = build_model(payload.model, input_shape=job.input_shape, num_classes=job.num_classes, seed=job.seed)
    initialize(model, job.init, job.seed)
    if job.init_from is not None and payload.checkpoint is None:
        load_initial(model, Place.of(job.init_from))
    if job.pretrained is not None and payload.checkpoint is None:
        load_pretrained(model, job.pretrained, part=job.completes is not None)
    return model.to(world.torch_device)


def _frozen(job: TrainJob, model: nn.Module) -> list[nn.Module]:
    """Freeze what the job freezes; returns the layers that stay in evaluation mode."""
    head = () if job.pretrained is None else job.pretrained.head
    return freeze(model, until=job.freeze_until, only=job.train_only, head=head)


def _checkpoint_writer(
    job: TrainJob, run: Place, world: World, meeting: Meeting | None, events: EventWriter
) -> CheckpointWriter | None:
    if job.checkpoint_every.is_never:
        return None
    keep = Keep(job.keep_checkpoints, job.keep_checkpoint_every)
    return CheckpointWriter(run, world, meeting, keep, events, job.timeout_s)


def _stop_request(run: Place, world: World, stack: ExitStack) -> Callable[[], bool]:
    """Whether the run was asked to stop; rank 0 looks."""
    if world.rank:
        return lambda: False
    request = StopRequest(run / STOP_REQUEST_NAME)
    stack.callback(request.close)
    return request


def _begin_attempt(events: EventWriter, run: Place, payload: TrainPayload, world: World) -> None:
    """Say that this worker begins; refuse to begin twice.

    Sessions that are not ours let Spark repeat a stage whose task was lost: from the beginning, without a word. What goes
    on after a loss, and from where, the driver decides.
    """
    if payload.attempt:
        if any(
            event["event"] == "attempt" and event["attempt"] == payload.attempt for event in events_of(run, world.rank)
        ):
            raise WorkerFailed(
                "a worker was lost, and Spark began the stage again by itself.\n"
                "Set spark.stage.maxConsecutiveAttempts=1 to be told sooner."
            )
        events.write("attempt", attempt=payload.attempt, host=world.host, pid=os.getpid())


def _seed(seed: int, rank: int, step: int) -> None:
    """Random numbers of a worker; dropout must differ between workers, and from a checkpoint on between their numbers."""
    number = seed * 1_000_003 + rank + 7_919 * step
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def _normalizer(job: TrainJob, manifest: Manifest, world: World) -> Normalizer:
    return normalizer_of(
        job.normalization(manifest.statistics), job.channel_order, len(job.input_shape), world.torch_device
    )


def _validator(job: TrainJob, data: WorkerData, world: World, normalize: Normalizer) -> Validator | None:
    if data.validation is None:
        return None
    return Validator(data.validation, data.manifest.labels, world, normalize, batch_size=max(256, job.batch_size))


def _best_of(stopping: Stopping) -> dict[str, Any] | None:
    if stopping.best is None:
        return None
    score = stopping.score.key
    return {
        "epoch": stopping.best.epoch, "step": stopping.best.step, "score": stopping.best.scores[score], "name": score,
    }  # fmt: skip


def _class_weights(job: TrainJob, data: WorkerData, world: World) -> torch.Tensor | None:
    weights = class_weights(job.class_weights, data.manifest.splits[job.split].rows_per_class)
    return None if weights is None else torch.tensor(weights, device=world.torch_device)


def _loss(job: TrainJob, weights: torch.Tensor | None, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, mean over the rows of a batch, of a network that gives one output a class.

    With weights the sum is divided by the number of rows, not by the sum of their weights as torch's mean does: only so
    is the mean over workers that over the rows of all.
    """
    wanted = (len(labels), job.num_classes)
    if not isinstance(outputs, torch.Tensor) or outputs.shape != wanted:
        given = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else f"a {type(outputs).__name__}"
        raise ModelError(
            f"model {job.model.shown} gives {given} for a batch of shape {(len(labels), *job.input_shape)}; the dataset's"
            f" {job.num_classes} classes want outputs of shape {wanted}."
        )
    if weights is None:
        return nn.functional.cross_entropy(outputs, labels)
    return nn.functional.cross_entropy(outputs, labels, weights, reduction="sum") / len(labels)


@contextmanager
def _first_step_explained(job: TrainJob, log: EventLog) -> Iterator[None]:
    """A network that cannot take its input raises somewhere inside torch: say which network and which input."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if log.rows or isinstance(error, FiresteelError) or lost_a_peer(error):
            raise
        raise ModelError(
            f"model {job.model.shown} fails on its first batch, of shape ({job.batch_size}, "
            f"{', '.join(map(str, job.input_shape))}): {type(error).__name__}: {str(error).splitlines()[0]}\n"
            f"{place_of(traceback.format_exc())}"
        ) from error


def _prefetch(job: TrainJob, rows: Rows, world: World) -> int:
    if job.prefetch is not None:
        return job.prefetch
    return 2 if world.device.startswith("cuda") or not rows.in_memory else 0


def _description(
    payload: TrainPayload, manifest: Manifest, model: nn.Module, epochs: int, steps: int
) -> ModelDescription:
    job, whole = payload.job, payload.job.completes
    normalization = job.normalization(manifest.statistics)
    if whole is not None and job.pretrained is not None:
        normalization = job.pretrained.normalization
    return ModelDescription(
        model=payload.model.spec if whole is None else whole.model,
        importable=whole is not None or payload.model.has_name,
        feature=manifest.feature if whole is None else whole.feature,
        normalization=normalization,
        channel_order="rgb" if job.pretrained is None else job.pretrained.channel_order,
        labels=manifest.labels,
        parameters=count_parameters(model)
        if whole is None
        else sum(tensor.numel() for tensor in _whole_state(job, model_state(model)).values()),
        trained_on={
            "dataset": job.dataset,
            "fingerprint": job.fingerprint,
            "run": payload.run,
            "epochs": epochs,
            "steps": steps,
        },
        versions={"firesteel": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def _save(payload: TrainPayload, model: nn.Module, description: ModelDescription, events: EventWriter) -> None:
    """The model that the run gives: the best one on storage, if that is asked for and there is one, else the last."""
    run = RunDirectory(Place.of(payload.run))
    best = best_of_run(run.place) if payload.job.final_model == "best" else None
    if best is not None:
        copy_model(best[0], run.model_folder)
    else:
        if payload.stopping.best is not None and payload.job.final_model == "best":
            events.write("warning", message="the best model is not on storage any more: the run gives the last one")
        save_state(run.model_folder, _whole_state(payload.job, model_state(model)), description)


def _whole_state(job: TrainJob, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of the network that is saved, of which the one that was trained may be a part."""
    return whole_state(state, job.pretrained) if job.completes is not None and job.pretrained is not None else state
