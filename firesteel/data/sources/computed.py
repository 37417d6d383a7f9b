"""A prepared dataset with vectors that a network computes in place of its rows."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from firesteel.data.manifest import Dataset
from firesteel.data.sources.base import Row
from firesteel.data.sources.cifar import Run
from firesteel.data.sources.dataset import DatasetSource, raw_rows
from firesteel.errors import DatasetError
from firesteel.world import World, using_threads

Computation = Callable[[np.ndarray], np.ndarray]
"""(N, *shape) of raw rows -> float32 (N, F)."""


class Origin(BaseModel):
    """What the manifest says of a dataset that a network has computed: of what it was made.

    Attributes:
        uri: of the dataset that it was made of.
        format: which kind of computation it was.
        model: URI of the model folder.
        weights: fingerprint of the model, see :func:`firesteel.models.description.fingerprint_of_model`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    format: str
    model: str
    weights: str

    @classmethod
    def of(cls: type[OriginType], dataset: Dataset) -> OriginType:
        """Read and check that of a dataset.

        Raises:
            DatasetError: if it is none, or another version's.
        """
        try:
            return cls.model_validate(dataset.manifest.source)
        except ValidationError as error:
            first = error.errors()[0]
            raise DatasetError(
                f"the manifest of {dataset.place} does not say soundly what it was made of:"
                f" {'.'.join(map(str, first['loc']))}: {first['msg']}.\nMake it again, with --overwrite."
            ) from None


OriginType = TypeVar("OriginType", bound=Origin)


@dataclass(frozen=True, kw_only=True)
class ComputedSource(DatasetSource):
    """The rows of a prepared dataset, each as the vector that a network gives for it. Ids, classes and splits stay.

    Attributes:
        about: what the manifest says of it.
        device: auto, cpu or cuda.
        threads: of torch in each process; None leaves it.
        local_rank: number of the process on its host, which tells its GPU.
    """

    about: Origin
    device: str = "auto"
    threads: int | None = None
    local_rank: int = 0

    rows_at_a_time: ClassVar[int] = 64

    @abstractmethod
    def computation(self) -> Computation:
        """Load the network."""

    def on(self, world: World) -> ComputedSource:
        return replace(self, local_rank=world.local_rank)

    @property
    def world(self) -> World:
        """With the device of this process."""
        return World(local_rank=self.local_rank).on_device(self.device)

    def fingerprint_parts(self) -> list[Sequence[Any]]:
        return [*super().fingerprint_parts(), [self.about.model_dump(mode="json", exclude={"uri", "model"})]]

    def rows_of(self, partition: Sequence[Run], *, with_data: bool = True) -> Iterator[Row]:
        rows = super().rows_of(partition, with_data=with_data)
        if not with_data:
            yield from rows
            return
        while held := list(islice(rows, self.rows_at_a_time)):
            with using_threads(self.threads):
                vectors = _computation_of(self)(raw_rows([row.data for row in held], self.manifest.feature))
            for row, vector in zip(held, vectors, strict=True):
                sound = np.isfinite(vector).all()
                problem = None if sound else "the network gives numbers for it that are not finite"
                yield row._replace(data=vector.tobytes() if sound else b"", problem=problem)

    def sample(self, count: int) -> Iterator[Row]:
        return iter(())


_loaded: list[tuple[str, Computation]] = []
"""The last network of this process, and of which source it is: one process computes many partitions of it."""


def _computation_of(source: ComputedSource) -> Computation:
    key = json.dumps([type(source).__name__, source.fingerprint_parts(), source.world.device])
    if not _loaded or _loaded[0][0] != key:
        _loaded.clear()  # first, so that two are never held
        _loaded.append((key, source.computation()))
    return _loaded[0][1]


__all__ = ["Computation", "ComputedSource", "Origin"]
