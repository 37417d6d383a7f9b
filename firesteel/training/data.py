"""The rows of one worker: its lanes of a prepared dataset, or what it has read from the source itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from firesteel.data.cache import Rows, available_memory_bytes, load_rows
from firesteel.data.direct import DirectData, OwnRows, agreed_manifest, lane_order, read_lanes
from firesteel.data.engines import report_from_json, report_to_json
from firesteel.data.manifest import Dataset, Manifest
from firesteel.data.order import Order, lane_slices, lanes_of_worker
from firesteel.data.sampling import class_sampling
from firesteel.errors import DatasetError, StorageError
from firesteel.storage import Place
from firesteel.training.job import TrainJob, TrainPayload
from firesteel.training.run import DATA_NAME, QUARANTINE_FOLDER
from firesteel.world import World


@dataclass(frozen=True)
class WorkerData:
    """What one worker trains on.

    Attributes:
        manifest: of the rows of all workers.
        order: of the training split.
        rows: of this worker: its lanes one behind the other.
        validation: this worker's share of the validation split; None if nothing is evaluated.
    """

    manifest: Manifest
    order: Order
    rows: Rows
    validation: Rows | None


def begin_loading(payload: TrainPayload, world: World) -> Callable[[], WorkerData]:
    """Load what this worker needs, before the workers meet.

    Returns:
        to be called when they have met: where each has read its own rows, they tell each other what they found.

    Raises:
        DatasetError: if the dataset is not the one that the driver sees.
        DataError: if what this worker is to read holds no training row.
    """
    if payload.direct is not None:
        return _begin_reading(payload, payload.direct, world)
    data = _prepared(payload.job, world)
    return lambda: data


# -- a prepared dataset ---------------------------------------------------------------------------------------------


def _prepared(job: TrainJob, world: World) -> WorkerData:
    dataset = _open_dataset(job, world)
    order, cache = job.order(dataset), _cache(job, world)
    slices = [part for lane in order.lanes_of(world.rank, world.world_size) for part in order.slices[lane]]
    rows = load_rows(dataset, job.split, slices, **cache)
    validation = None
    if (split := _validation_split(job)) is not None:
        mine = lane_slices([shard.rows for shard in dataset.split(split).shards], world.world_size)[world.rank]
        validation = load_rows(dataset, split, mine, **cache)
    return WorkerData(dataset.manifest, order, rows, validation)


def _open_dataset(job: TrainJob, world: World) -> Dataset:
    try:
        dataset = Dataset.open(job.dataset)
    except (DatasetError, StorageError) as error:  # the driver has just opened it
        raise DatasetError(
            f"worker {world.rank} on {world.host} does not see the dataset that the driver sees: {error}\n"
            "Driver and workers must see the same storage; firesteel doctor --place FOLDER checks it."
        ) from error
    if dataset.manifest.fingerprint != job.fingerprint:
        raise DatasetError(
            f"{job.dataset} is another dataset on this worker than on the driver (fingerprints"
            f" {dataset.manifest.fingerprint[:12]} and {job.fingerprint[:12]}). All must see the same storage."
        )
    return dataset


# -- the source itself ----------------------------------------------------------------------------------------------


def _begin_reading(payload: TrainPayload, direct: DirectData, world: World) -> Callable[[], WorkerData]:
    job = payload.job
    lanes = lanes_of_worker(direct.lanes, world.rank, world.world_size)
    wanted = [job.split, *([split] if (split := _validation_split(job)) is not None else [])]
    own = read_lanes(direct, lanes, world.brought, wanted, **_cache(job, world))
    _keep_quarantine(Place.of(payload.run), own)

    def finish() -> WorkerData:
        told = _told_by_all({lane: report_to_json(report) for lane, report in own.reports.items()}, world)
        reports = {int(lane): report_from_json(report) for part in told for lane, report in part.items()}
        manifest = agreed_manifest(direct, reports)
        if world.rank == 0:
            (Place.of(payload.run) / DATA_NAME).write_text(manifest.model_dump_json(indent=1))
        sampling = class_sampling(job.sampling, manifest.splits[job.split].rows_per_class)
        order = lane_order(
            direct, reports, job.split, global_batch_size=job.global_batch_size, seed=job.seed, sampling=sampling
        )
        validation = own.splits.get(split) or _no_rows(manifest) if split is not None else None
        return WorkerData(manifest, order, own.splits[job.split], validation)

    return finish


def _keep_quarantine(run: Place, own: OwnRows) -> None:
    """The records that cannot be used, in the run directory: the same names whoever reads the lane, and however often."""
    for lane, data in own.quarantine.items():
        (run / QUARANTINE_FOLDER / f"part-{lane:05d}.parquet").write_bytes(data)


def _told_by_all(own: dict[int, Any], world: World) -> list[dict[str, Any]]:
    """JSON values of all ranks, by rank."""
    text = json.dumps(own).encode()
    if world.world_size == 1:
        return [json.loads(text)]
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world.world_size)]
    dist.all_gather(sizes, torch.tensor([len(text)]))
    longest = int(max(sizes))
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(texts, torch.frombuffer(bytearray(text.ljust(longest)), dtype=torch.uint8))
    return [json.loads(bytes(each.numpy())) for each in texts]


def _no_rows(manifest: Manifest) -> Rows:
    feature = manifest.feature
    return Rows(np.empty((0, *feature.shape), feature.dtype), np.empty(0, np.int64), in_memory=True)


# -- both -----------------------------------------------------------------------------------------------------------


def _validation_split(job: TrainJob) -> str | None:
    return None if job.evaluate_every.is_never else job.validation_split


def _cache(job: TrainJob, world: World) -> dict[str, Any]:
    """Memory for rows, shared with the other workers of this host."""
    budget = job.memory_bytes
    if budget is None:
        budget = available_memory_bytes() // 4 // world.local_world_size
    return {"budget_bytes": budget, "threads": torch.get_num_threads(), "scratch": job.scratch}
