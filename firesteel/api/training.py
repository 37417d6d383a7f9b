"""``firesteel.train``: from a dataset to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from firesteel.training.driver import TrainResult


def train(
    dataset: Path | Dataset,
    run: Path,
    *,
    model: Any = None,
    workers: int | str | None = None,
    sync: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    init_from: Path | None = None,
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
            (``mlp:hidden=[64,32]``), or a callable that returns a module. None is cnn, or what the resumed run has.
        workers: how many, or ``2..8`` for as many as there are, within these bounds; None is the slots of a local Spark
            master, else 1, or what the resumed run had.
        sync: how workers are kept together: none, allreduce, average, threshold, diloco or async, with options behind
            (average:every=5); None is none for one worker, else allreduce.
        overwrite: replace another run in that folder.
        resume: go on with the run in that folder from its newest checkpoint, with the same bits as if it had never
            stopped (same number of workers, on a CPU). Its options hold but for those that are given now.
        init_from: begin with the weights of a run, of its checkpoint ``RUN@STEP``, or of a model folder.
        engine, master, spark, debug: see :class:`Runtime`; of a resumed run as before, if nothing is said.
        watch: shows the progress.
        options: see :class:`firesteel.training.job.TrainJob`: epochs, batch_size, augment, class_weights, sampling,
            normalize, device, threads, seed, lanes,
            prefetch, memory_bytes, scratch, log_every, timeout_s, split, validation_split, evaluate_every, score, stop,
            final_model, checkpoint_every, keep_checkpoints, keep_checkpoint_every, max_restarts; and
            :class:`firesteel.training.settings.UpdateSettings`: learning_rate, optimizer, schedule, warmup, lr_scaling,
            bias_learning_rate, layer_learning_rates, l1, l2, weight_decay, regularize, clip, init, precision.

    Raises:
        ConfigError: for a wrong option.
        DatasetError: if the dataset is missing or incomplete.
        RunError: if the folder holds another run, or with ``resume`` none that can go on.
        CheckpointError: if a checkpoint is missing, damaged or of another network.
        ModelError: if the model cannot be built.
        WorkerFailed: naming the worker that failed first.
    """
    from firesteel.training.continuing import initial_weights, resume_training
    from firesteel.training.driver import as_many_as_there_are, resolve_training, run_training
    from firesteel.training.run import RunDirectory

    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))
    if resume:
        if overwrite or init_from is not None:
            raise ConfigError("resume goes on with a run; overwrite and init_from begin a new one. Use one of them.")
        directory = RunDirectory.open(Place.of(run))
        if engine is None and master is None and spark is None:
            engine, master = directory.last_engine()
        training = resume_training(directory, opened, model, workers, sync, options)
        runtime = Runtime(engine, master, spark, debug=debug)
        training = as_many_as_there_are(training, runtime.slots())
        runtime.check(training.workers)
        directory.change_job(training.job)
        return run_training(training, directory, runtime, watch)
    runtime = Runtime(engine, master, spark, debug=debug)
    if init_from is not None:
        options["init_from"] = initial_weights(str(init_from)).uri
    training = resolve_training(
        opened,
        "cnn" if model is None else model,
        runtime.default_workers() if workers is None else workers,
        sync,
        options,
    )
    training = as_many_as_there_are(training, runtime.slots())
    runtime.check(training.workers)
    directory = RunDirectory.create(run, training.job, overwrite=overwrite)
    return run_training(training, directory, runtime, watch)
