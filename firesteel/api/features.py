"""``firesteel.compute_features``: what the frozen layers of a network make of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.data.commit import Prepared


def compute_features(
    model: Path,
    dataset: Path | Dataset,
    features: Path,
    *,
    freeze_until: str | None = None,
    train_only: str | Sequence[str] = (),
    replace_head: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> Prepared:
    """Compute what the frozen layers of a network give for every row of a dataset, once, on all workers.

    The result is a prepared dataset: :func:`firesteel.train` on it trains the layers that are left, and saves the whole
    network, which takes the rows of the first dataset.

    Args:
        model: a run or a model folder.
        dataset: prepared, with rows that the model takes; its classes may be others.
        features: folder for the features.
        freeze_until: the layer, or pattern, up to which layers are frozen; None freezes all but a new head.
        train_only: patterns on the layers that are not frozen, instead.
        replace_head: names of the layers that begin anew; None finds the last, if the classes are others.
        device: where the layers are computed.
        overwrite: replace another dataset in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a GPU, else one a core. Spark takes as many tasks as it has slots.
        watch: shows the progress.

    Returns:
        the dataset, and whether it was there already.

    Raises:
        ConfigError: for a wrong option.
        ModelError: if the network cannot be cut there.
        RunError: if there is no model.
    """
    from firesteel.api.opening import prepare_computed
    from firesteel.models.transfer.features import FeatureSource

    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))
    patterns = tuple(part.strip() for part in train_only.split(",")) if isinstance(train_only, str) else train_only

    def source(threads: int | None) -> FeatureSource:
        return FeatureSource.of(
            opened, Place.of(model), freeze_until=freeze_until, train_only=tuple(patterns), replace_head=replace_head,
            device=device, threads=threads,
        )  # fmt: skip

    return prepare_computed(
        source, Place.of(features), Runtime(engine, master, spark, debug=debug), workers, device,
        what="dataset of features", overwrite=overwrite, watch=watch,
    )  # fmt: skip
