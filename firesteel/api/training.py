"""``firesteel.train``: from a dataset to a run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.direct import opened_directly
from firesteel.api.paths import Path
from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch
from firesteel.storage import Place
from firesteel.training.continuing import initial_weights, resume_training
from firesteel.training.driver import run_training
from firesteel.training.resolving import (
    Training,
    as_many_as_there_are,
    check_options_early,
    evaluated_at_the_end,
    resolve_training,
    workers_of,
)
from firesteel.training.run import RunDirectory

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.training.driver import TrainResult


def train(
    dataset: Path | Dataset | DataFrame,
    run: Path,
    *,
    direct: bool = False,
    prepare: Mapping[str, Any] | None = None,
    features: str | Sequence[str] | None = None,
    label: str | None = None,
    id: str | None = None,
    group: str | None = None,
    split_column: str | None = None,
    model: Any = None,
    workers: int | str | None = None,
    sync: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    init_from: Path | None = None,
    from_model: Path | None = None,
    replace_head: str | None = None,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    **options: Any,
) -> TrainResult:
    """Train a network on a prepared dataset, or directly on a source or a DataFrame.

    Args:
        dataset: prepared; with ``direct`` a source of pictures or arrays; or a DataFrame, which is always read directly.
        run: folder for the run.
        direct: let each worker read its part of the source itself, into its own memory or scratch folder: no dataset is
            written. Every run reads and decodes the source again; what is evaluated is the split ``test``, at the end.
        prepare: with ``direct``: options of :func:`firesteel.prepare`: size, split, min_per_class, ...
        features, label, id, group, split_column: of a DataFrame: its columns, see :func:`firesteel.prepare`.
        model: name in the zoo (``firesteel models``), ``MODULE:FACTORY``, either with options behind
            (``mlp:hidden=[64,32]``), or a callable that returns a module. None is cnn, or what the resumed run has.
        workers: how many, or ``2..8`` for as many as there are, within these bounds; None is the slots of a local Spark
            master, else 1, or what the resumed run had.
        sync: how workers are kept together: none, allreduce, average, threshold, diloco or async, with options behind
            (average:every=5); None is none for one worker, else allreduce.
        overwrite: replace another run in that folder.
        resume: go on with the run in that folder from its newest checkpoint, with the same bits as if it had never
            stopped (same number of workers, on a CPU). Its options hold but for those that are given now.
        init_from: begin with the weights of a run, of its checkpoint ``RUN@STEP``, or of a model folder.
        from_model: begin with the network of a run or a model folder, also an imported one, for the classes of this
            dataset: where they are others, the last layer is replaced by one for them. The input is normalised as it was.
        replace_head: with ``from_model``: names of the layers that begin anew (``classifier.1``, with commas between them).
        engine, master, spark, debug: see :class:`Runtime`; of a resumed run as before, if nothing is said.
        watch: shows the progress.
        options: see :class:`firesteel.training.job.TrainJob`: epochs, batch_size, augment, class_weights, sampling,
            normalize, device, threads, seed, lanes,
            freeze_until, train_only, prefetch, memory_bytes, scratch, log_every, timeout_s, split, validation_split, evaluate_every, score, stop,
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
    roles = {"features": features, "label": label, "id": id, "group": group, "split_column": split_column}
    given = {**(prepare or {}), **{name: value for name, value in roles.items() if value is not None}}
    runtime = Runtime(engine, master, spark, debug=debug)
    with contextlib.ExitStack() as stack:
        if resume:
            if overwrite or init_from is not None or from_model is not None:
                raise ConfigError(
                    "resume goes on with a run; overwrite, init_from and from_model begin a new one. Use one of them."
                )
            going_on = _resumed(dataset, run, runtime, stack, given, direct, model, workers, sync, options)
            return run_training(*going_on, watch)
        _check_beginning(from_model, replace_head, init_from)
        if init_from is not None:
            options["init_from"] = initial_weights(str(init_from)).uri
        workers = runtime.default_workers() if workers is None else workers
        if direct or _is_frame(dataset):
            check_options_early("cnn" if model is None else model, options)
            lanes = options.get("lanes") or workers_of(workers)[1]
            rows = stack.enter_context(opened_directly(dataset, Place.of(run), runtime, given, lanes))
            opened, data, runtime = rows.dataset, rows.data, rows.runtime
            options = {**evaluated_at_the_end(opened, options), "prepare": given}
        else:
            _refuse_preparation(given)
            opened, data = _opened(dataset), None  # type: ignore[arg-type]
        network, options, notes = _network(opened, model, from_model, replace_head, options)
        training = resolve_training(opened, network, workers, sync, options)
        training = replace(
            as_many_as_there_are(training, runtime.slots()), direct=data, notes=[*notes, *training.notes]
        )
        runtime.check(training.workers)
        directory = RunDirectory.create(run, training.job, overwrite=overwrite)
        return run_training(training, directory, runtime, watch)


def _check_beginning(from_model: Path | None, replace_head: str | None, init_from: Path | None) -> None:
    if from_model is None and replace_head is not None:
        raise ConfigError(
            "replace_head is for a network that was trained before: --from MODEL (in Python from_model=)."
        )
    if from_model is not None and init_from is not None:
        raise ConfigError(
            "init_from takes all weights of the same network; from_model takes the network itself, for other classes too."
            " Use one of them."
        )


def _network(
    dataset: Dataset, model: Any, from_model: Path | None, replace_head: str | None, options: dict[str, Any]
) -> tuple[Any, dict[str, Any], list[str]]:
    """What is trained: the network of a trained model for the classes of a dataset, what follows the frozen layers whose
    features it holds, or the model that was named; the options of the job that say so, and notes.
    """
    from firesteel.data.manifest import FEATURES

    if from_model is not None:
        return _beginning(dataset, from_model, model, replace_head, options)
    if model is None and dataset.manifest.source.get("format") == FEATURES:
        return _rest_of_model(dataset, options)
    return "cnn" if model is None else model, options, []


def _beginning(
    dataset: Dataset, from_model: Path, model: Any, replace_head: str | None, options: dict[str, Any]
) -> tuple[Any, dict[str, Any], list[str]]:
    from firesteel.models.transfer.pretrained import begin_with

    found = begin_with(
        Place.of(from_model), dataset.manifest.labels, dataset.feature, model=model, replace_head=replace_head
    )
    options = {"normalize": "model", **options, "pretrained": found.pretrained}
    return found.source.factory or found.source.spec, options, list(found.notes)


def _rest_of_model(dataset: Dataset, options: dict[str, Any]) -> tuple[Any, dict[str, Any], list[str]]:
    if options.get("normalize", "none") != "none":
        raise ConfigError(
            f"normalize={options['normalize']} would change what the frozen layers give, and the whole network that is saved"
            " does not.\nLeave it out: features are taken as they are."
        )
    from firesteel.models.transfer.features import rest_of_model
    from firesteel.models.transfer.pretrained import Completion

    rest = rest_of_model(dataset)
    completes = Completion(model=rest.whole, feature=rest.feature)
    options = {"normalize": "none", **options, "pretrained": rest.pretrained, "completes": completes}
    return rest.head, options, list(rest.notes)


def _resumed(
    dataset: Any,
    run: Path,
    runtime: Runtime,
    stack: contextlib.ExitStack,
    given: dict[str, Any],
    direct: bool,
    model: Any,
    workers: int | str | None,
    sync: str | None,
    options: dict[str, Any],
) -> tuple[Training, RunDirectory, Runtime]:
    directory = RunDirectory.open(Place.of(run))
    if runtime.engine is None and runtime.master is None and runtime.spark is None:
        engine, master = directory.last_engine()
        runtime = replace(runtime, engine=engine, master=master)
    before, data = directory.job(), None
    if before.prepare is not None:
        if given and given != before.prepare:
            raise ConfigError("a run that goes on prepares its source as before. Leave the options of prepare out.")
        lanes = before.lanes or before.workers
        rows = stack.enter_context(opened_directly(dataset, Place.of(run), runtime, before.prepare, lanes))
        opened, data, runtime = rows.dataset, rows.data, rows.runtime
    elif direct or _is_frame(dataset):
        raise ConfigError(f"{run} was trained on the prepared dataset {before.dataset}. Give that one, without direct.")
    else:
        _refuse_preparation(given)
        opened = _opened(dataset)
    training = resume_training(directory, opened, model, workers, sync, options)
    training = replace(as_many_as_there_are(training, runtime.slots()), direct=data)
    runtime.check(training.workers)
    directory.change_job(training.job)
    return training, directory, runtime


def _opened(dataset: Path | Dataset) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else Dataset.open(Place.of(dataset))


def _is_frame(dataset: Any) -> bool:
    return hasattr(dataset, "mapInArrow")


def _refuse_preparation(given: dict[str, Any]) -> None:
    if given:
        raise ConfigError(
            f"{next(iter(given))} is for a source that the workers read themselves: add direct (--direct).\n"
            "A prepared dataset has been prepared already."
        )
