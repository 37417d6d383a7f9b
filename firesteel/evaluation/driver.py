"""The driver's side of an evaluation: does the model fit the dataset, start the workers, add up their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError, RunError
from firesteel.evaluation.counts import ClassificationCounts, Evaluation, metrics_of
from firesteel.models.description import ModelDescription, allowed_source, read_description
from firesteel.models.registry import resolve_model, travelling_source
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.runtime import Runtime

EVALUATE_WORKER = "firesteel.evaluation.worker:evaluate_worker"


@dataclass(frozen=True)
class EvaluatePayload:
    """What travels to each worker of an evaluation.

    Attributes:
        model_folder: URI.
        dataset: URI.
        split: name.
        batch_size: rows a forward pass.
        device: auto, cpu or cuda.
        threads: of torch; None leaves it.
        model: factory or name, where the description alone may not be followed.
    """

    model_folder: str
    dataset: str
    split: str
    batch_size: int = 256
    device: str = "auto"
    threads: int | None = None
    model: Any = None


def run_evaluation(
    folder: Place,
    dataset: Dataset,
    runtime: Runtime,
    *,
    split: str,
    batch_size: int,
    workers: int,
    device: str,
    threads: int | None,
    model: Any,
) -> Evaluation:
    """Evaluate the model of a folder; the arguments are those of :func:`firesteel.evaluate`."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {device!r}.")
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}.")
    dataset.split(split)
    description = read_description(folder)
    match(description, dataset)
    runtime.check(workers)
    source = travelling_source(resolve_model(model) if model is not None else allowed_source(description))
    payload = EvaluatePayload(
        folder.uri, dataset.place.uri, split, batch_size, device, threads, source.factory or model
    )
    with runtime.launcher(workers) as launcher:
        results = launcher.run(EVALUATE_WORKER, payload, workers=workers, meet=False)
    parts = (ClassificationCounts.from_json(part) for part in results)
    return metrics_of(sum(parts, ClassificationCounts.zero(len(description.labels))), description.labels)


def match(description: ModelDescription, dataset: Dataset) -> list[int]:
    """The model's number of each label of the dataset.

    Raises:
        RunError: if the model was made for rows of another shape or for other classes.
    """
    wants, has = description.feature, dataset.feature
    if tuple(wants.shape) != tuple(has.shape) or wants.dtype != has.dtype:
        raise RunError(
            f"the model takes {_shape(wants)}, {dataset.place} holds {_shape(has)}."
            f" It was trained on {description.trained_on.get('dataset', 'another dataset')}."
        )
    number = {label: position for position, label in enumerate(description.labels)}
    unknown = [label for label in dataset.manifest.labels if label not in number]
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:3])
        raise RunError(
            f"{dataset.place} has {len(unknown)} classes that the model does not know ({shown}{', ...' * (len(unknown) > 3)});"
            f" it knows {len(number)}.\nIt was trained on {description.trained_on.get('dataset', 'another dataset')}."
        )
    return [number[label] for label in dataset.manifest.labels]


def _shape(feature: Any) -> str:
    return "x".join(map(str, feature.shape)) + f" {feature.dtype}"
