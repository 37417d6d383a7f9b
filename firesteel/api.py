"""The commands as functions: ``prepare``, ``train`` and ``evaluate``. The command line only parses and prints."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError, FiresteelError, WorkerFailed
from firesteel.launch import InProcess, Launcher
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.data.commit import Prepared, SourceFacts
    from firesteel.data.preparation import PrepareOptions
    from firesteel.evaluation.counts import Evaluation
    from firesteel.training.job import TrainJob

Watch = Callable[[Place], "contextlib.AbstractContextManager[Any]"]
"""Shows the progress of what is being written to a place, while the context lasts."""

Path = str | os.PathLike[str] | Place


@dataclass(frozen=True)
class Runtime:
    """What runs the workers.

    Attributes:
        engine: ``spark`` or ``local``; None is spark if a master or session is given or configured, else local.
        master: URL of the Spark master.
        spark: a session to use; it stays open.
        conf: Spark settings for a new session.
        debug: let Spark log.
    """

    engine: Literal["spark", "local"] | None = None
    master: str | None = None
    spark: Any = None
    conf: Mapping[str, str] | None = None
    debug: bool = False

    @property
    def uses_spark(self) -> bool:
        """Whether Spark runs the workers.

        Raises:
            ConfigError: if what is given contradicts itself.
        """
        if self.engine not in (None, "spark", "local"):
            raise ConfigError(f"engine must be spark or local, got {self.engine!r}.")
        if self.engine == "local" and (self.master or self.spark is not None):
            raise ConfigError("engine local takes no Spark master or session. Leave one of them out.")
        if self.engine is not None:
            return self.engine == "spark"
        if self.master or self.spark is not None:
            return True
        from firesteel.spark.settings import master_in_environment

        return master_in_environment() is not None

    @contextlib.contextmanager
    def session(self) -> Iterator[SparkSession]:
        """The session that was given, else the active one, else a new one."""
        if self.spark is not None:
            yield self.spark
            return
        from firesteel.spark.session import open_session

        with open_session(self.master, conf=self.conf, debug=self.debug) as spark:
            yield spark

    @contextlib.contextmanager
    def launcher(self, workers: int, meanwhile: Callable[[], Any] = lambda: None) -> Iterator[Launcher]:
        """What starts the workers. ``meanwhile`` is called while Spark starts, which takes seconds."""
        if not self.uses_spark:
            meanwhile()
            yield _local_launcher(workers)
            return
        from firesteel.spark.barrier import SparkWorkers

        with _started_aside(self.session()) as started:
            meanwhile()
            yield SparkWorkers(started())

    def default_workers(self) -> int:
        """Workers if nobody says how many: the slots of a local master, else 1."""
        if not self.uses_spark:
            return 1
        from firesteel.spark.settings import slots_of

        return (slots_of(self.master) if self.master else None) or 1

    def check(self, workers: int) -> None:
        """Refuse what cannot run before anything starts."""
        if self.uses_spark and self.spark is None:
            from firesteel.spark.settings import check_java, check_pyspark, check_slots, is_remote

            check_pyspark()
            check_slots(self.master, workers)
            if not is_remote(self.master):
                check_java()


# -- prepare --------------------------------------------------------------------------------------------------------


def prepare(
    source: Path | DataFrame,
    dataset: Path,
    *,
    features: str | None = None,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
    split_column: str | None = None,
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    **options: Any,
) -> Prepared:
    """Turn a source into a prepared dataset, or find that it is there already.

    Args:
        source: class folders of pictures, a BSON dump, idx files, or a DataFrame.
        dataset: folder for the dataset.
        features: of a DataFrame: the column with the picture or the array.
        label: of a DataFrame: the column with the class.
        id: of a DataFrame: the column that names a row; without it a row is named by the hash of its features.
        group: of a DataFrame: rows of one group never lie in two splits.
        split_column: of a DataFrame: the column that names the split; without it rows are split at random.
        overwrite: replace another dataset in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a core. Spark takes as many tasks as it has slots.
        watch: shows the progress.
        options: see :class:`firesteel.data.preparation.PrepareOptions`: format, size, channels, split, min_per_class,
            encoding, seed, shard_bytes, format_options.

    Returns:
        the dataset, and whether it was reused.

    Raises:
        ConfigError: for a wrong option.
        DataError: if the source holds nothing usable.
        DatasetError: if something else lies in the folder.
    """
    from firesteel.data.commit import prepare_dataset
    from firesteel.data.preparation import PrepareOptions
    from firesteel.training.job import checked

    chosen: PrepareOptions = checked(PrepareOptions, options)
    place = Place.of(dataset)
    with contextlib.ExitStack() as stack:
        if not isinstance(source, str | os.PathLike | Place):
            facts, make_engine = _frame_engine(source, features, label, id, group, split_column)
        else:
            if features or label or id or group or split_column:
                raise ConfigError("features, label, id, group and split_column are for DataFrames.")
            runtime = Runtime(engine, master, spark, debug=debug)
            facts, make_engine = _source_engine(source, chosen, runtime, workers, stack)
        return prepare_dataset(facts, make_engine, place, chosen, overwrite=overwrite, watching=watch)


def _source_engine(
    where: Path, options: PrepareOptions, runtime: Runtime, workers: int | None, stack: contextlib.ExitStack
) -> tuple[SourceFacts, Callable[[], Any]]:
    from firesteel.data.commit import SourceFacts
    from firesteel.data.engines import SourceEngine
    from firesteel.data.sources import open_source

    source = open_source(Place.of(where), options.format, **options.format_options)
    runtime.check(1)
    facts = SourceFacts(
        {"uri": Place.of(where).uri, "format": type(source).__name__.removesuffix("Source").lower()},
        source.fingerprint_parts(),
        source.array,
        source.class_names(),
        source.declared_splits(),
        source.notes(),
    )

    def make() -> Any:
        if runtime.uses_spark:
            from firesteel.spark.prepare import SparkSourceEngine

            return SparkSourceEngine(stack.enter_context(runtime.session()), source)
        count = workers or len(os.sched_getaffinity(0))
        return SourceEngine(source, _local_launcher(count), count)

    return facts, make


def _frame_engine(
    frame: Any, features: str | None, label: str | None, id: str | None, group: str | None, split_column: str | None
) -> tuple[SourceFacts, Callable[[], Any]]:
    if not hasattr(frame, "mapInArrow"):
        raise ConfigError(f"source must be a path or a Spark DataFrame, got {type(frame).__name__}.")
    if not features or not label:
        raise ConfigError(
            "a DataFrame needs the names of its columns: prepare(df, dataset, features='image', label='class')."
            f" It has {', '.join(frame.columns)}."
        )
    from firesteel.data.commit import SourceFacts
    from firesteel.spark.prepare import Columns, DataFrameEngine

    engine = DataFrameEngine(frame, Columns(features, label, id, group, split_column))
    facts = SourceFacts({"uri": "DataFrame", "format": "dataframe"}, None, engine.array, [], engine.own_splits(), [])
    return facts, lambda: engine


# -- train ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainResult:
    """How a training run ended.

    Attributes:
        run: its directory.
        epochs: passes made.
        steps: optimizer steps of each worker.
        rows: trained on by all workers together, over all epochs.
        seconds: of training, without starting and loading.
        rows_per_second: over all workers.
        score: mean training loss over the rows of the last epoch.
        best: epoch (from 1) and score of the epoch with the lowest mean training loss.
        epoch_scores: of every epoch.
        parameters: of the network.
    """

    run: str
    epochs: int
    steps: int
    rows: int
    seconds: float
    rows_per_second: float
    score: float
    best: dict[str, float]
    epoch_scores: list[float]
    parameters: int

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel train --json`` prints."""
        return dict(vars(self))


def train(
    dataset: Path | Dataset,
    run: Path,
    *,
    model: Any = "cnn",
    workers: int | None = None,
    sync: str | None = None,
    overwrite: bool = False,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    **options: Any,
) -> TrainResult:
    """Train a network on a prepared dataset.

    Args:
        dataset: prepared.
        run: folder for the run.
        model: name in the zoo (cnn, mlp, lstm), ``MODULE:FACTORY``, either with options behind
            (``mlp:hidden=[64,32]``), or a callable that returns a module.
        workers: None is the slots of a local Spark master, else 1.
        sync: how workers are kept together (none, allreduce, average:every=5); None is none for one worker, else
            allreduce.
        overwrite: replace another run in that folder.
        engine, master, spark, debug: see :class:`Runtime`.
        watch: shows the progress.
        options: see :class:`firesteel.training.job.TrainJob`: epochs, batch_size, learning_rate, optimizer, normalize,
            device, threads, seed, lanes, prefetch, memory_bytes, scratch, log_every, timeout_s, split.

    Raises:
        ConfigError: for a wrong option.
        DatasetError: if the dataset is missing or incomplete.
        RunError: if the folder holds another run.
        ModelError: if the model cannot be built.
        WorkerFailed: naming the worker that failed first.
    """
    from firesteel.training.job import TrainJob, checked
    from firesteel.training.optimizers import check_optimizer
    from firesteel.training.run import RunDirectory

    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))
    runtime = Runtime(engine, master, spark, debug=debug)
    count = runtime.default_workers() if workers is None else workers
    job: TrainJob = checked(TrainJob, options | _job_values(opened, model, count, sync, options))
    check_optimizer(job.optimizer)
    order = _checked_order(job, opened)
    runtime.check(job.workers)
    directory = RunDirectory.create(run, job, overwrite=overwrite)
    try:
        return _train(job, model, directory, runtime, order.rows, watch)
    except BaseException as error:
        _after_failure(directory, error)
        raise


def _job_values(
    dataset: Dataset, model: Any, workers: int, sync: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    from firesteel.specs import Spec, parse_spec
    from firesteel.sync import check_sync

    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers must be a whole number, 1 or more, got {workers!r}.")
    named = parse_spec(model) if isinstance(model, str | Spec) else Spec(name=getattr(model, "__qualname__", "model"))
    return {
        "dataset": dataset.place.uri,
        "fingerprint": dataset.manifest.fingerprint,
        "model": named,
        "input_shape": dataset.feature.shape,
        "num_classes": dataset.num_classes,
        "workers": workers,
        "lanes": options.get("lanes") or workers,
        "sync": check_sync(sync or ("none" if workers == 1 else "allreduce"), workers),
    }


def _checked_order(job: TrainJob, dataset: Dataset) -> Any:
    from firesteel.data.order import Order

    shard_rows = tuple(shard.rows for shard in dataset.split(job.split).shards)
    return Order(shard_rows, job.lanes or job.workers, job.global_batch_size, job.seed)


def _train(job: TrainJob, model: Any, directory: Any, runtime: Runtime, rows: int, watch: Watch | None) -> TrainResult:
    from firesteel.monitoring.events import LAUNCHER, EventWriter

    shipped: list[Any] = []
    with EventWriter(directory.place, LAUNCHER) as events, contextlib.ExitStack() as stack:
        events.write("launch", workers=job.workers, engine="spark" if runtime.uses_spark else "local", pid=os.getpid())
        if watch is not None:
            stack.enter_context(watch(directory.place))
        try:
            launcher = stack.enter_context(
                runtime.launcher(job.workers, lambda: shipped.append(_try_model(model, job)))
            )
            payload = _payload(job, directory.place.uri, shipped[0])
            from firesteel.training.worker import train_worker

            results = launcher.run(train_worker, payload, workers=job.workers, meet=True, timeout_s=job.timeout_s)
        except WorkerFailed as error:
            named = _naming_the_lost(error, directory.place)
            events.write("failed", error="WorkerFailed", message=str(named))
            raise named from error.__cause__
        except BaseException as error:
            kind = "stopped" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            events.write("failed", error=kind, message=str(error) or kind)
            raise
        result = _merge(job, directory.place.uri, results)
        events.write("finish", **result.to_json())
    return result


def _naming_the_lost(error: WorkerFailed, run: Place) -> WorkerFailed:
    """Add to Spark's word that a worker is gone what the event log knows of it: its host and how far it came."""
    from firesteel.monitoring.events import read_events
    from firesteel.monitoring.state import RunState

    state = RunState().add(read_events(run))
    silent = state.silent_workers()
    rank = error.rank if error.rank is not None else silent[0].rank if len(silent) == 1 else None
    found = f"{'a worker' if error.rank is None else f'worker {rank}'} was lost"
    if rank not in state.by_rank or not str(error).startswith(found):
        return error
    lost = state.by_rank[rank]
    named = f"worker {rank} of {state.workers} on {lost.host} was lost (last heard of at step {lost.step})"
    return WorkerFailed(str(error).replace(found, named), rank=rank, worker_traceback=error.worker_traceback)


def _try_model(model: Any, job: TrainJob) -> Any:
    """Build the model once here, without memory where that works: a factory that raises must not cost a cluster."""
    import torch

    from firesteel.models import build_model, resolve_model
    from firesteel.models.registry import ZOO
    from firesteel.training.optimizers import make_optimizer

    source = resolve_model(model)
    # On the "meta" device a network of the zoo costs nothing. A user's own may load weights: it is built for real.
    with torch.device("meta") if source.spec.name in ZOO else contextlib.nullcontext():
        built = build_model(source, input_shape=job.input_shape, num_classes=job.num_classes, seed=job.seed)
    trainable = [parameter for parameter in built.parameters() if parameter.requires_grad]
    if not trainable:
        raise ConfigError(f"model {source.spec} has no trainable parameter.")
    make_optimizer(job.optimizer, trainable, job.learning_rate)
    return source


def _payload(job: TrainJob, run: str, source: Any) -> Any:
    """What travels. The user's own module goes along by value: other machines cannot import it."""
    import cloudpickle

    from firesteel.models.registry import load_factory, travelling_module
    from firesteel.training.worker import TrainPayload

    module = travelling_module(source)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
        source = replace(source, factory=source.factory or load_factory(source.spec.name))
    return TrainPayload(job, run, source)


def _merge(job: TrainJob, run: str, results: list[dict[str, Any]]) -> TrainResult:
    scores = []
    for parts in zip(*(result["loss_sums"] for result in results)):
        rows = sum(count for _, count in parts)
        scores.append(sum(total for total, _ in parts) / max(1, rows))
    best = min(range(len(scores)), key=lambda epoch: (scores[epoch] != scores[epoch], scores[epoch]))
    rows = sum(result["rows"] for result in results)
    seconds = max(result["seconds"] for result in results)
    return TrainResult(
        run=run,
        epochs=job.epochs,
        steps=results[0]["steps"],
        rows=rows,
        seconds=round(seconds, 3),
        rows_per_second=round(rows / max(1e-9, seconds), 1),
        score=scores[-1],
        best={"epoch": best + 1, "score": scores[best]},
        epoch_scores=scores,
        parameters=results[0]["parameters"],
    )


def _after_failure(directory: Any, error: BaseException) -> None:
    """A run that failed before its first step leaves nothing: the same command must work once its cause is mended."""
    from firesteel.monitoring.events import read_events

    with contextlib.suppress(FiresteelError, OSError, ValueError):
        if not any(event["event"] == "step" for event in read_events(directory.place)):
            directory.clear()


# -- evaluate -------------------------------------------------------------------------------------------------------


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

    Raises:
        RunError: if there is no model, or it does not fit the dataset.
        DatasetError: if the dataset or the split is missing.
    """
    from firesteel.evaluation.counts import ClassificationCounts, metrics_of
    from firesteel.evaluation.worker import EvaluatePayload, evaluate_worker, match
    from firesteel.models.description import find_model_folder, read_description

    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {device!r}.")
    folder = find_model_folder(Place.of(run))
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))
    opened.split(split)
    description = read_description(folder)
    match(description, opened)
    runtime = Runtime(engine, master, spark, debug=debug)
    count = runtime.default_workers() if workers is None else workers
    if count < 1:
        raise ConfigError(f"workers must be at least 1, got {count}.")
    runtime.check(count)
    payload = EvaluatePayload(
        folder.uri, opened.place.uri, split, batch_size, device, threads, _factory_of(model, description)
    )
    with runtime.launcher(count) as launcher:
        results = launcher.run(evaluate_worker, payload, workers=count, meet=False)
    total = sum(
        (ClassificationCounts.from_json(part) for part in results), ClassificationCounts.zero(len(description.labels))
    )
    return metrics_of(total, description.labels)


def _factory_of(model: Any, description: Any) -> Any:
    """The model argument as it can travel: a user's module goes by value."""
    import cloudpickle

    from firesteel.models import resolve_model
    from firesteel.models.description import allowed_source
    from firesteel.models.registry import load_factory, travelling_module

    source = resolve_model(model) if model is not None else allowed_source(description)
    module = travelling_module(source)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
        return source.factory or load_factory(source.spec.name)
    return model


# -- shared ---------------------------------------------------------------------------------------------------------


def _local_launcher(workers: int) -> Launcher:
    if workers == 1:
        return InProcess()
    from firesteel.local import LocalProcesses

    return LocalProcesses()


@contextlib.contextmanager
def _started_aside(context: contextlib.AbstractContextManager[Any]) -> Iterator[Callable[[], Any]]:
    """Enter a context in a thread; the block gets a function that waits for its value."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        began = time.monotonic()
        entering = pool.submit(context.__enter__)
        try:
            yield entering.result
        finally:
            # Also if the block failed at once: what has been started must be stopped.
            with contextlib.suppress(Exception):
                entering.result(timeout=max(1.0, 120 - (time.monotonic() - began)))
                context.__exit__(None, None, None)


__all__ = ["Runtime", "TrainResult", "evaluate", "prepare", "train"]
