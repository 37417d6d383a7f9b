"""The driver's side of an evaluation: does the model fit the dataset, start the workers, add up their counts."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firesteel.data.manifest import Dataset
from firesteel.data.progress import announce_rows
from firesteel.errors import ConfigError, RunError
from firesteel.evaluation.counts import ClassificationCounts, Evaluation, metrics_of
from firesteel.models.description import ModelDescription, allowed_source, read_description
from firesteel.models.registry import resolve_model, travelling_source
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.runtime import Runtime, Watch

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
        progress: URI of a folder to say the progress in; None says nothing.
    """

    model_folder: str
    dataset: str
    split: str
    batch_size: int = 256
    device: str = "auto"
    threads: int | None = None
    model: Any = None
    progress: str | None = None


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
    watch: Watch | None,
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
    with _watched(folder, dataset.split(split).rows, watch) as progress, runtime.launcher(workers) as launcher:
        payload = EvaluatePayload(
            folder.uri, dataset.place.uri, split, batch_size, device, threads, source.factory or model, progress
        )
        results = launcher.run(EVALUATE_WORKER, payload, workers=workers, meet=False)
    parts = (ClassificationCounts.from_json(part) for part in results)
    return metrics_of(sum(parts, ClassificationCounts.zero(len(description.labels))), description.labels)


@contextlib.contextmanager
def _watched(model_folder: Place, rows: int, watch: Watch | None) -> Iterator[str | None]:
    """A folder by the model, which all workers see, for the progress; None where nobody looks or nobody may write."""
    folder = model_folder / f".evaluating-{secrets.token_hex(4)}"
    if watch is None or not _announced(folder, rows):
        yield None
        return
    try:
        with watch(folder):
            yield folder.uri
    finally:
        with contextlib.suppress(OSError):
            folder.delete()


def _announced(folder: Place, rows: int) -> bool:
    try:
        announce_rows(folder, rows)
    except OSError:
        return False
    return True


def match(description: ModelDescription, dataset: Dataset) -> list[int]:
    """The model's number of each label of the dataset.

    Raises:
        RunError: if the model was made for rows of another shape or for other classes.
    """
    wants, has = description.feature, dataset.feature
    if tuple(wants.shape) != tuple(has.shape) or wants.dtype != has.dtype:
        raise RunError(f"the model takes {_shape(wants)}, {dataset.place} holds {_shape(has)}. {_origin(description)}")
    number = {label: position for position, label in enumerate(description.labels)}
    unknown = [label for label in dataset.manifest.labels if label not in number]
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:3])
        raise RunError(
            f"{dataset.place} has {len(unknown)} classes that the model does not know ({shown}{', ...' * (len(unknown) > 3)});"
            f" it knows {len(number)}.\n{_origin(description)}"
        )
    return [number[label] for label in dataset.manifest.labels]


def _origin(description: ModelDescription) -> str:
    if "imported_from" in description.trained_on:
        return (
            f"It was imported from {description.trained_on['imported_from']}; firesteel import has --labels, --input-shape"
            " and --size to say what it takes."
        )
    return f"It was trained on {description.trained_on.get('dataset', 'another dataset')}."


def _shape(feature: Any) -> str:
    return "x".join(map(str, feature.shape)) + f" {feature.dtype}"
