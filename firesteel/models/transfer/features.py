"""The results of a network's frozen layers as a dataset: computed once, trained on in every epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch

from firesteel.data.manifest import FEATURES, Dataset, Feature
from firesteel.data.sources.base import ArraySpec
from firesteel.data.sources.computed import Computation, ComputedSource, Origin
from firesteel.errors import DatasetError
from firesteel.models.description import fingerprint_of_model, normalizer_of
from firesteel.models.registry import ModelSource
from firesteel.models.transfer.cutting import Cut, cut
from firesteel.models.transfer.pretrained import Beginning, Pretrained, begin_with
from firesteel.specs import Spec
from firesteel.storage import Place


class FeaturesOrigin(Origin):
    """What the manifest says of a dataset of features: enough to train the rest of the network on it.

    Attributes:
        replace_head, freeze_until, train_only: as they were given.
        where: the step of the network that gives the features.
        feature: of a row of the dataset that they were computed of.
    """

    format: Literal["features"] = FEATURES
    replace_head: str | None
    freeze_until: str | None
    train_only: tuple[str, ...]
    where: str
    feature: Feature


@dataclass(frozen=True, kw_only=True)
class FeatureSource(ComputedSource):
    """The rows of a prepared dataset, with what the frozen layers of a network make of them.

    Attributes:
        model: the network for the dataset's classes.
        pretrained: its weights.
    """

    about: FeaturesOrigin
    model: Spec = field(repr=False)
    pretrained: Pretrained

    rows_at_a_time: ClassVar[int] = 32

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
        pretrained = beginning.pretrained
        about = FeaturesOrigin(
            uri=dataset.place.uri, model=pretrained.place, weights=fingerprint_of_model(Place.of(pretrained.place)),
            replace_head=replace_head, freeze_until=freeze_until, train_only=train_only, where=parts.where,
            feature=dataset.feature,
        )  # fmt: skip
        return cls(
            place=dataset.place, manifest=dataset.manifest, array=ArraySpec("float32", parts.shape), about=about,
            model=beginning.source.spec, pretrained=pretrained, device=device, threads=threads,
        )  # fmt: skip

    def computation(self) -> Computation:
        feature, pretrained, device = self.manifest.feature, self.pretrained, self.world.torch_device
        parts = cut(
            ModelSource(self.model), pretrained, feature.shape, len(self.manifest.labels),
            freeze_until=self.about.freeze_until, train_only=self.about.train_only,
        )  # fmt: skip
        trunk = parts.trunk.to(device)
        normalize = normalizer_of(pretrained.normalization, pretrained.channel_order, len(feature.shape), device)

        @torch.inference_mode()
        def compute(rows: np.ndarray) -> np.ndarray:
            return trunk(normalize(torch.from_numpy(rows).to(device))).float().cpu().numpy()

        return compute


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
        DatasetError: if the model has changed since the features were computed, or the manifest is not sound.
    """
    about = FeaturesOrigin.of(dataset)
    if fingerprint_of_model(Place.of(about.model)) != about.weights:
        raise DatasetError(
            f"{dataset.place} holds features of {about.model}, which has changed since.\n"
            f"Compute them again: firesteel features {about.model} {about.uri} {dataset.place} --overwrite"
        )
    beginning = begin_with(about.model, dataset.manifest.labels, about.feature, replace_head=about.replace_head)
    parts = _cut(beginning, about.feature, dataset.num_classes, about.freeze_until, about.train_only)
    note = f"trains what follows {parts.where}; {parts.frozen:,} parameters before it are frozen"
    return RestOfModel(parts.head, beginning.source.spec, beginning.pretrained, about.feature, (*beginning.notes, note))


def _cut(
    beginning: Beginning, feature: Feature, num_classes: int, freeze_until: str | None, train_only: tuple[str, ...]
) -> Cut:
    return cut(
        beginning.source, beginning.pretrained, feature.shape, num_classes,
        freeze_until=freeze_until, train_only=train_only,
    )  # fmt: skip


__all__ = ["FeatureSource", "RestOfModel", "rest_of_model"]
