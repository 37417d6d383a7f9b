"""The results of a network's frozen layers as a dataset: computed once, trained on in every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from firesteel.data.manifest import FEATURES, Dataset, Feature
from firesteel.data.sources.base import ArraySpec, Row
from firesteel.data.sources.cifar import Run
from firesteel.data.sources.dataset import DatasetSource, raw_rows
from firesteel.errors import DatasetError
from firesteel.models.description import fingerprint_of_model, normalizer_of
from firesteel.models.registry import ModelSource
from firesteel.models.transfer.cutting import Cut, cut
from firesteel.models.transfer.pretrained import Beginning, Pretrained, begin_with
from firesteel.specs import Spec
from firesteel.storage import Place
from firesteel.world import World, using_threads

_ROWS = 32


@dataclass(frozen=True)
class FeatureSource(DatasetSource):
    """The rows of a prepared dataset, with what the frozen layers of a network make of them. Ids, classes and splits stay.

    Attributes:
        model: the network for the dataset's classes.
        pretrained: its weights.
        freeze_until, train_only: what of it is frozen.
        weights: SHA-256 of the file of its weights.
        where: the step of the network that gives the features.
        device: auto, cpu or cuda.
        threads: of torch in each process; None leaves it.
    """

    model: Spec = field(default=Spec(name=""), repr=False)
    pretrained: Pretrained | None = None
    freeze_until: str | None = None
    train_only: tuple[str, ...] = ()
    weights: str = ""
    where: str = ""
    device: str = "auto"
    threads: int | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        where: str | Place,
        *,
        freeze_until: str | None,
        train_only: tuple[str, ...],
        replace_head: str | None,
        device: str,
        threads: int | None,
    ) -> FeatureSource:
        """Find out which layers are frozen, and what they give.

        Raises:
            ConfigError, ModelError: see :func:`begin_with` and :func:`cut`.
        """
        beginning = begin_with(where, dataset.manifest.labels, dataset.feature, replace_head=replace_head)
        parts = _cut(beginning, dataset.feature, dataset.num_classes, freeze_until, train_only)
        return cls(
            dataset.place, dataset.manifest, ArraySpec("float32", parts.shape), beginning.source.spec,
            beginning.pretrained, freeze_until, train_only, _sha256(beginning.pretrained), parts.where, device, threads,
        )  # fmt: skip

    def description(self) -> dict[str, Any]:
        """What the manifest says of it: enough to train the rest of the network on it."""
        assert self.pretrained is not None
        return {
            "uri": self.place.uri, "format": FEATURES, "model": self.pretrained.place, "weights": self.weights,
            "head": list(self.pretrained.head), "freeze_until": self.freeze_until, "train_only": list(self.train_only),
            "where": self.where, "feature": self.manifest.feature.model_dump(mode="json"),
        }  # fmt: skip

    def fingerprint_parts(self) -> list[list[Any]]:
        assert self.pretrained is not None
        layers = [self.weights, self.freeze_until, self.train_only, self.pretrained.head, self.where]
        return [*super().fingerprint_parts(), layers]

    def rows_of(self, partition: Sequence[Run], *, with_data: bool = True) -> Iterator[Row]:
        rows = super().rows_of(partition, with_data=with_data)
        if not with_data:
            yield from rows
            return
        with using_threads(self.threads or torch.get_num_threads()):
            compute = _Computation(self)
            held: list[Row] = []
            for row in rows:
                held.append(row)
                if len(held) == _ROWS:
                    yield from compute(held)
                    held = []
            yield from compute(held)

    def sample(self, count: int) -> Iterator[Row]:
        return iter(())


class _Computation:
    """The frozen layers of a network, at work."""

    def __init__(self, source: FeatureSource):
        assert source.pretrained is not None
        feature, pretrained = source.manifest.feature, source.pretrained
        self._feature, self._device = feature, World().on_device(source.device).torch_device
        parts = cut(
            ModelSource(source.model), pretrained, feature.shape, len(source.manifest.labels),
            freeze_until=source.freeze_until, train_only=source.train_only,
        )  # fmt: skip
        self._trunk = parts.trunk.to(self._device)
        self._normalize = normalizer_of(
            pretrained.normalization, pretrained.channel_order, len(feature.shape), self._device
        )

    @torch.inference_mode()
    def __call__(self, rows: list[Row]) -> Iterator[Row]:
        if not rows:
            return
        batch = torch.from_numpy(raw_rows([row.data for row in rows], self._feature)).to(self._device)
        features = self._trunk(self._normalize(batch)).float().cpu().numpy()
        for row, values in zip(rows, features):
            yield row._replace(data=values.tobytes())


@dataclass(frozen=True)
class RestOfModel:
    """What a dataset of features trains.

    Attributes:
        head: the layers that learn.
        whole: the network that they belong to.
        pretrained: weights of the whole.
        feature: of a row of the dataset that the features were computed of.
        notes: for people.
    """

    head: Spec
    whole: Spec
    pretrained: Pretrained
    feature: Feature
    notes: tuple[str, ...]


def rest_of_model(dataset: Dataset) -> RestOfModel:
    """What a dataset of features trains.

    Raises:
        DatasetError: if the model has changed since the features were computed.
    """
    about = dataset.manifest.source
    feature = Feature.model_validate(about["feature"])
    head = ",".join(about["head"]) or None
    beginning = begin_with(about["model"], dataset.manifest.labels, feature, replace_head=head)
    if _sha256(beginning.pretrained) != about["weights"]:
        raise DatasetError(
            f"{dataset.place} holds features of {about['model']}, whose weights have changed since.\n"
            f"Compute them again: firesteel features {about['model']} {about['uri']} {dataset.place} --overwrite"
        )
    parts = _cut(beginning, feature, dataset.num_classes, about["freeze_until"], tuple(about["train_only"]))
    note = f"trains what follows {parts.where}; {parts.frozen:,} parameters before it are frozen"
    return RestOfModel(parts.head, beginning.source.spec, beginning.pretrained, feature, (*beginning.notes, note))


def _cut(
    beginning: Beginning, feature: Feature, num_classes: int, freeze_until: str | None, train_only: tuple[str, ...]
) -> Cut:
    return cut(
        beginning.source, beginning.pretrained, feature.shape, num_classes,
        freeze_until=freeze_until, train_only=train_only,
    )  # fmt: skip


def _sha256(pretrained: Pretrained) -> str:
    return fingerprint_of_model(Place.of(pretrained.place))


__all__ = ["FeatureSource", "RestOfModel", "rest_of_model"]
