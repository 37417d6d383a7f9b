"""Who reads which rows in which order: a pure function of (rows per shard, lanes, world size, seed, epoch).

The rows of a split are dealt to *lanes*, each a slice of every shard, so that a lane is a sample of the whole also
where the source was sorted. Each epoch every lane is shuffled by itself. Step ``s`` of the epoch takes the next few
rows of every lane, one lane behind the other: that is the *global batch*, and worker ``r`` of ``W`` takes the rows
``r/W`` to ``(r+1)/W`` of it. With as many lanes as workers, each worker reads exactly its own lane; with another
number of workers, the same global batches come in the same order, only shared out differently. So one worker with a
batch of 2B sees step by step the rows that two workers with a batch of B see.

Every row comes once an epoch, every worker makes the same number of steps, nothing is padded or left out: the number
of steps is fixed first, then the rows are spread evenly over them, so that batches differ by one row at most per lane.

Where rows are sampled by class (:mod:`firesteel.data.sampling`), a lane shows as many rows as it has, but some of them
more than once and others not; which, follows from (labels of the lane, seed, epoch, lane).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from firesteel.data.sampling import ClassSampling
from firesteel.errors import ConfigError


@dataclass(frozen=True)
class Slice:
    """Rows ``start <= row < stop`` of one shard."""

    shard: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


def lane_slices(shard_rows: Sequence[int], lanes: int) -> list[list[Slice]]:
    """Deal every shard to the lanes; lanes differ by one row at most.

    Args:
        shard_rows: rows of each shard.
        lanes: how many.

    Returns:
        for each lane its slices, in the order of the shards; a lane gets no slice of a shard too small for it.
    """
    dealt: list[list[Slice]] = [[] for _ in range(lanes)]
    turn = 0  # the lane that gets the next odd row
    for shard, rows in enumerate(shard_rows):
        each, odd = divmod(rows, lanes)
        start = 0
        for lane in range(lanes):
            stop = start + each + ((lane - turn) % lanes < odd)
            if stop > start:
                dealt[lane].append(Slice(shard, start, stop))
            start = stop
        turn = (turn + odd) % lanes
    return dealt


@dataclass(frozen=True)
class Order:
    """The order of one split for one job.

    Attributes:
        shard_rows: rows of each shard.
        lanes: independently shuffled parts; the number of workers at the first start of a job.
        global_batch_size: rows a step over all workers, at most.
        seed: of the shuffles.
        sampling: by class; None shows every row once an epoch.
    """

    shard_rows: tuple[int, ...]
    lanes: int
    global_batch_size: int
    seed: int
    sampling: ClassSampling | None = None

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.global_batch_size < self.lanes:
            raise ConfigError(
                f"a global batch needs a row a lane, got {self.global_batch_size} for {self.lanes} lanes."
            )
        if self.rows < self.lanes:
            raise ConfigError(
                f"{self.rows} training rows cannot be shared by {self.lanes} workers: each needs one at least.\n"
                f"Use --workers {max(1, self.rows)} or fewer."
            )

    @property
    def rows(self) -> int:
        return sum(self.shard_rows)

    @cached_property
    def slices(self) -> list[list[Slice]]:
        return lane_slices(self.shard_rows, self.lanes)

    @cached_property
    def lane_rows(self) -> np.ndarray:
        """int64 of shape (lanes,)."""
        return np.array([sum(part.rows for part in lane) for lane in self.slices], dtype=np.int64)

    @cached_property
    def _lane_row_list(self) -> list[int]:
        return [int(rows) for rows in self.lane_rows]

    @cached_property
    def steps_per_epoch(self) -> int:
        return -(-int(self.lane_rows.max()) // (self.global_batch_size // self.lanes))

    def lanes_of(self, rank: int, world_size: int) -> range:
        """The lanes whose rows worker ``rank`` needs in memory."""
        if self.lanes % world_size == 0:
            each = self.lanes // world_size
            return range(rank * each, (rank + 1) * each)
        needed = {int(lane) for step in range(self.steps_per_epoch) for lane in self._share(step, rank, world_size)[0]}
        # A worker that never gets a row still needs one in memory, to stand in at its empty steps.
        return range(min(needed, default=0), max(needed, default=0) + 1)

    def batch(self, permutations: dict[int, np.ndarray], step: int, rank: int, world_size: int) -> np.ndarray:
        """Positions of this worker's rows at one step.

        Args:
            permutations: of each lane of :meth:`lanes_of` for this epoch, see :meth:`permutations`.
            step: 0 <= step < steps_per_epoch.

        Returns:
            int64 of shape (rows,): positions in the worker's memory, where its lanes lie one behind the other.
        """
        if world_size == self.lanes:  # the usual case, in plain integers: this runs at every step
            rows, steps = self._lane_row_list[rank], self.steps_per_epoch
            return permutations[rank][step * rows // steps : (step + 1) * rows // steps]
        lanes, starts, stops = self._share(step, rank, world_size)
        parts = [permutations[lane][start:stop] for lane, start, stop in zip(lanes, starts, stops)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def rows_at(self, step: int, rank: int, world_size: int) -> int:
        """Rows of this worker at one step."""
        _, starts, stops = self._share(step, rank, world_size)
        return int((stops - starts).sum())

    def global_rows_at(self, step: int) -> int:
        """Rows of all workers at one step."""
        steps = self.steps_per_epoch
        return sum((step + 1) * rows // steps - step * rows // steps for rows in self._lane_row_list)

    def permutations(
        self, epoch: int, rank: int, world_size: int, labels: np.ndarray | None = None
    ) -> dict[int, np.ndarray]:
        """The shuffled positions of each lane that this worker needs, for one epoch.

        The shuffle of a lane depends on (seed, epoch, lane) alone; where rows are sampled also on the lane's labels.

        Args:
            epoch: from 0.
            rank: of the worker.
            world_size: number of workers.
            labels: of the worker's rows, int64 of shape (rows,), as they lie in its memory; needed for sampling.
        """
        result, offset = {}, 0
        for lane in self.lanes_of(rank, world_size):
            rows = int(self.lane_rows[lane])
            generator = np.random.default_rng([self.seed, epoch, lane])
            if self.sampling is None:
                result[lane] = generator.permutation(rows) + offset
            else:
                assert labels is not None, "sampling needs the labels of the worker's rows"
                result[lane] = self.sampling.positions(labels[offset : offset + rows], generator) + offset
            offset += rows
        return result

    def places(self, rank: int, world_size: int) -> dict[int, np.ndarray]:
        """Numbers that name the rows of an epoch over all workers, to be given to :meth:`batch` as permutations.

        Each row that the epoch shows has one, also where a row is shown twice, and whatever the number of workers.
        """
        starts = np.concatenate([[0], np.cumsum(self.lane_rows)])
        return {lane: np.arange(starts[lane], starts[lane + 1]) for lane in self.lanes_of(rank, world_size)}

    def distinct_rows(self, permutations: dict[int, np.ndarray], rank: int, world_size: int) -> int:
        """How many different rows an epoch shows, of the lanes that this worker counts; workers add up to all."""
        # Workers may share a lane. Its last row comes at the last step, to one of them.
        lanes, _, stops = self._share(self.steps_per_epoch - 1, rank, world_size)
        mine = lanes[stops == self.lane_rows[lanes]]
        return sum(len(np.unique(permutations[int(lane)])) for lane in mine)

    def _share(self, step: int, rank: int, world_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(lanes, starts, stops): this worker's part of the global batch, in positions of the shuffled lanes."""
        steps = self.steps_per_epoch
        first = step * self.lane_rows // steps
        last = (step + 1) * self.lane_rows // steps
        if world_size == self.lanes:
            return np.array([rank]), first[rank : rank + 1], last[rank : rank + 1]
        if self.lanes % world_size == 0:
            each = self.lanes // world_size
            mine = slice(rank * each, (rank + 1) * each)
            return np.arange(self.lanes)[mine], first[mine], last[mine]
        edges = np.concatenate([[0], np.cumsum(last - first)])  # of the lanes within the global batch
        low, high = edges[-1] * rank // world_size, edges[-1] * (rank + 1) // world_size
        starts = first + np.clip(low - edges[:-1], 0, last - first)
        stops = first + np.clip(high - edges[:-1], 0, last - first)
        touched = np.flatnonzero(stops > starts)
        return touched, starts[touched], stops[touched]


@dataclass(frozen=True)
class LaneOrder(Order):
    """The order of rows that workers have read from the source themselves: shard ``i`` is lane ``i``, whole.

    Lanes are not shared: a worker takes the rows of whole lanes at each step, also where lanes and workers do not divide. So
    the global batches are the same with every number of workers, but workers may have unequal shares of them.
    """

    @cached_property
    def slices(self) -> list[list[Slice]]:
        return [[Slice(lane, 0, rows)] for lane, rows in enumerate(self.shard_rows)]

    def lanes_of(self, rank: int, world_size: int) -> range:
        return lanes_of_worker(self.lanes, rank, world_size)

    def _share(self, step: int, rank: int, world_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        steps, mine = self.steps_per_epoch, np.array(self.lanes_of(rank, world_size))
        rows = self.lane_rows[mine]
        return mine, step * rows // steps, (step + 1) * rows // steps


def lanes_of_worker(lanes: int, rank: int, world_size: int) -> range:
    """The lanes that a worker reads where each is read by one.

    Raises:
        ConfigError: if there are more workers than lanes.
    """
    if world_size > lanes:
        raise ConfigError(
            f"{world_size} workers cannot share rows that were dealt to {lanes}: each reads its own part of the source.\n"
            f"Use {lanes} workers or fewer, or begin with more --lanes."
        )
    return range(lanes * rank // world_size, lanes * (rank + 1) // world_size)
