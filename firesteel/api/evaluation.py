"""``firesteel.evaluate``: how good a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.evaluation.counts import Evaluation


def evaluate(
    run: Path,
    dataset: Path | Dataset,
    *,
    split: str = "test",
    batch_size: int = 256,
    workers: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    model: Any = None,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> Evaluation:
    """Evaluate a trained model on a split of a prepared dataset.

    Args:
        run: a run directory or a model folder.
        dataset: prepared, with rows of the same shape and no class that the model does not know.
        split: name.
        batch_size: rows a forward pass.
        workers: each takes an equal share of the rows; None is the slots of a local Spark master, else 1.
        device: auto, cpu or cuda.
        threads: of torch in each worker; None shares the host's cores.
        model: the factory or its name, for models whose description alone may not be followed.
        engine, master, spark, debug: see :class:`Runtime`.
        watch: shows the progress.

    Raises:
        RunError: if there is no model, or it does not fit the dataset.
        DatasetError: if the dataset or the split is missing.
    """
    from firesteel.evaluation.driver import run_evaluation
    from firesteel.models.description import find_model_folder

    folder = find_model_folder(Place.of(run))
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))
    runtime = Runtime(engine, master, spark, debug=debug)
    return run_evaluation(
        folder, opened, runtime,
        split=split, batch_size=batch_size, workers=runtime.default_workers() if workers is None else workers,
        device=device, threads=threads, model=model, watch=watch,
    )  # fmt: skip
