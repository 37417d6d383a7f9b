"""The task of a preparation: decode, resize, split and write the rows of one partition."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from firesteel.data.augmentation.generate import Original, generate
from firesteel.data.manifest import Feature
from firesteel.data.marker import check_token
from firesteel.data.preparation import PROGRESS_FOLDER, PreparePlan, Report
from firesteel.data.progress import TaskProgress
from firesteel.data.shards import ShardWriter, write_quarantine
from firesteel.data.sources import Row
from firesteel.data.statistics import ChannelSums
from firesteel.errors import FormatError
from firesteel.formats import images
from firesteel.storage import Place
from firesteel.world import using_threads

_SUM_ROWS = 256
_COPIES_AT_A_TIME = 64
_PICTURES_AT_A_TIME = 64
_MOST_WAITING_BYTES = 8 << 20

_HEAD_BYTES = {"image": 64, "array": 64, "table": 4096}
"""Of a record that cannot be used this much is kept; of a table's, which people mend, as a rule all."""


def write_partition(plan: PreparePlan, number: int, rows: Iterable[Row]) -> Report:
    """Decode, resize, split and write the rows of one partition.

    Args:
        plan: the same in every task.
        number: of the partition; with the plan's seed it fixes the mixing.
        rows: of the partition, in an order that is the same each time.

    Returns:
        what was done. Files carry a random part in their names: those of an attempt that fails are in no report.
    """
    _keep_freed_memory()
    return _PartitionWriter(plan, number).run(rows)


def _keep_freed_memory() -> None:
    """Let the C library keep what each picture frees, and not give it back to the system for the next one to fetch.

    glibc does so for blocks up to the largest that was freed as a whole (mallopt(3), M_MMAP_THRESHOLD): a tenth of the
    time of decoding.
    """
    bytearray(16 << 20)


class _Chosen(NamedTuple):
    """A row that is written, if it can be decoded."""

    id: str
    data: bytes
    label: str
    split: str
    copies: int


class _PartitionWriter:
    """The state of one task: one shard writer a split, the quarantine, the counts."""

    def __init__(self, plan: PreparePlan, number: int):
        self._plan = plan
        self._dataset = Place.of(plan.dataset)
        self._check = partial(check_token, self._dataset, plan.token)
        self._name = f"part-{number:05d}-{uuid.uuid4().hex[:8]}"
        self._label_of = {name: label for label, name in enumerate(plan.labels)}
        self._report = Report()
        self._quarantine: list[dict[str, Any]] = []
        self._copies: list[tuple[Original, int, str]] = []
        self._waiting: list[_Chosen] = []
        self._waiting_bytes = 0
        self._sums = _TrainingSums(plan.feature)
        self._writers = {
            split: ShardWriter(
                self._dataset, split, plan.feature, shard_bytes=plan.shard_bytes, name=self._name,
                seed=plan.seed + number, check=self._check,
            )
            for split in plan.splits
        }  # fmt: skip
        self._progress = TaskProgress(self._dataset / PROGRESS_FOLDER, number, self._check)

    def run(self, rows: Iterable[Row]) -> Report:
        for row in rows:
            self._report.read += 1
            try:
                self._take(row)
            except FormatError as error:
                self._set_aside(row.id, str(error), row.data)
            if self._report.read % 64 == 0:
                self._say_progress()
        self._close()
        return self._report

    def _say_progress(self, *, at_once: bool = False) -> None:
        self._progress.say(self._report.read + self._report.generated, at_once=at_once)

    def _take(self, row: Row) -> None:
        plan, label, split = self._plan, row.label, row.split
        if row.problem is not None:
            raise FormatError(row.problem)
        if label is None:
            raise FormatError("no label")
        if label in plan.dropped:
            self._report.dropped += 1
            return
        if label not in self._label_of:
            raise FormatError("its class was not there when the source was indexed; did the source change?")
        if plan.rule is not None:
            split = plan.rule.split_of(label, row.id if row.group is None else row.group)
        elif split is None:
            raise FormatError("in no split of the source")
        copies = plan.balance.copies_of(label, row.id) if plan.balance and split == "train" else 0
        if copies is None:
            self._report.dropped += 1
            self._report.surplus += 1
            return
        chosen = _Chosen(row.id, row.data, label, split, copies)
        if plan.image is None:
            self._keep(chosen, self._array(row.data))
            return
        self._waiting.append(chosen)
        self._waiting_bytes += len(row.data)
        if len(self._waiting) == _PICTURES_AT_A_TIME or self._waiting_bytes > _MOST_WAITING_BYTES:
            self._decode(plan.image)

    def _decode(self, spec: images.ImageSpec) -> None:
        """Decode the pictures that are waiting, and keep them in their order."""
        data, pixels = [chosen.data for chosen in self._waiting], self._plan.pixels
        decoded = images.decode_all(data, spec) if pixels is None else images.resize_all(data, pixels.shape, spec)
        for chosen, found in zip(self._waiting, decoded):
            if isinstance(found, FormatError):
                self._set_aside(chosen.id, str(found), chosen.data)
                continue
            self._report.resized += found.original[:2] != (spec.height, spec.width)
            self._report.recolored += found.original[2] > spec.channels
            self._keep(chosen, found.pixels.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _keep(self, chosen: _Chosen, raw: np.ndarray) -> None:
        """Write a row, and have its copies generated."""
        self._write(chosen.split, chosen.id, chosen.label, raw)
        if not chosen.copies:
            return
        original = Original(chosen.id, np.ascontiguousarray(raw))
        for number in range(1, chosen.copies + 1):
            self._copies.append((original, number, chosen.label))
            if len(self._copies) == _COPIES_AT_A_TIME:
                self._generate()

    def _generate(self) -> None:
        """Generate and write the copies that are waiting."""
        assert self._plan.balance is not None
        assert self._plan.balance.policy is not None
        with using_threads(1):  # the other cores have tasks of their own
            pictures = generate(
                self._plan.balance.policy,
                [(original, number) for original, number, _ in self._copies],
                self._plan.balance.seed,
            )
        for (original, number, label), pixels in zip(self._copies, pictures):
            self._write("train", f"{original.id}+{number}", label, pixels)
        self._report.generated += len(self._copies)
        self._copies.clear()
        self._say_progress()

    def _write(self, split: str, row_id: str, label: str, raw: np.ndarray) -> None:
        if self._plan.measured in (split, None):
            self._sums.add(raw)
        stored = images.encode_jpeg(raw.transpose(1, 2, 0)) if self._plan.feature.encoding == "jpeg" else raw
        self._writers[split].add(row_id, self._label_of[label], stored)
        self._report.written += 1

    def _array(self, data: bytes) -> np.ndarray:
        """The row as an array of the feature's dtype and shape."""
        feature = self._plan.feature
        expected = math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
        if data is None or len(data) != expected:
            raise FormatError(f"array of {len(data or b'')} bytes, expected {expected}")
        values = np.frombuffer(data, dtype=feature.dtype).reshape(feature.shape)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise FormatError("array with NaN or infinity")
        return values

    def _set_aside(self, place: str, reason: str, data: bytes | None) -> None:
        self._report.quarantined += 1
        self._report.reasons[kind_of_problem(reason)] += 1
        self._quarantine.append(
            {"place": place, "reason": reason, "head": (data or b"")[: _HEAD_BYTES[self._plan.feature.kind]]}
        )

    def _close(self) -> None:
        if self._plan.image is not None:
            self._decode(self._plan.image)
        if self._copies:
            self._generate()
        self._report.sums = self._sums.close()
        for split, writer in self._writers.items():
            self._report.shards += [(split, shard) for shard in writer.close()]
        if self._quarantine:
            self._report.quarantine.append(write_quarantine(self._dataset, self._name, self._quarantine, self._check))
        self._say_progress(at_once=True)


class _TrainingSums:
    """Sums over the training rows, a few hundred rows at a time."""

    def __init__(self, feature: Feature):
        self._waiting = np.empty((_SUM_ROWS, *feature.shape), dtype=feature.dtype)
        self._count = 0
        self._sums: ChannelSums | None = None

    def add(self, row: np.ndarray) -> None:
        self._waiting[self._count] = row
        self._count += 1
        if self._count == _SUM_ROWS:
            self._sum_up()

    def close(self) -> ChannelSums | None:
        """The sums; None if there was no row."""
        if self._count:
            self._sum_up()
        return self._sums

    def _sum_up(self) -> None:
        sums = ChannelSums.of(self._waiting[: self._count])
        self._sums = sums if self._sums is None else self._sums + sums
        self._count = 0


def kind_of_problem(reason: str) -> str:
    """A reason without the particulars of one record, to count by."""
    return reason.partition(":")[0].partition(" (")[0][:100]
