"""The commands as functions. The command line only parses and prints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError
from firesteel.runtime import Runtime, Watch, local_launcher
from firesteel.storage import Place

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from firesteel.analysis.results import Analysis
    from firesteel.data.commit import Prepared, SourceFacts
    from firesteel.data.preparation import PrepareOptions
    from firesteel.data.sources import Source
    from firesteel.evaluation.counts import Evaluation
    from firesteel.export.driver import ExportResult
    from firesteel.spark.transform_files import Transformed
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema
    from firesteel.training.driver import TrainResult

Path = str | os.PathLike[str] | Place


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
        source: folders or archives (zip, tar) of pictures, a BSON dump, idx or CIFAR files, another prepared dataset, or
            a DataFrame.
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
            max_per_class, balance, policy, encoding, seed, shard_bytes, format_options.

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
            facts, make_engine = _source_engine(source, place, chosen, runtime, workers, stack)
        return prepare_dataset(facts, make_engine, place, chosen, overwrite=overwrite, watching=watch)


def _source_engine(
    where: Path,
    place: Place,
    options: PrepareOptions,
    runtime: Runtime,
    workers: int | None,
    stack: contextlib.ExitStack,
) -> tuple[SourceFacts, Callable[[], Any]]:
    from firesteel.data.commit import SourceFacts
    from firesteel.data.engines import SourceEngine
    from firesteel.data.sources import open_source

    source = open_source(Place.of(where), options.format, **options.format_options)
    _refuse_inside(place, source, "dataset")
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
        return SourceEngine(source, local_launcher(count), count)

    return facts, make


def _refuse_inside(place: Place, source: Source, what: str) -> None:
    from firesteel.data.sources import ImageFolderSource

    if isinstance(source, ImageFolderSource) and place.is_inside(source.place):
        raise ConfigError(
            f"the {what} {place} would lie inside its source {source.place}: the next time its files would be taken"
            " for pictures.\nChoose a folder beside the source."
        )


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


# -- export ---------------------------------------------------------------------------------------------------------


def export_images(
    source: Path,
    folder: Path,
    *,
    format: str = "auto",
    format_options: dict[str, str] | None = None,
    splits: bool = True,
    check: Literal["full", "header"] = "full",
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
) -> ExportResult:
    """Write the pictures of a source as files in class folders: ``FOLDER/CLASS/ID.jpg``.

    Encoded pictures keep their bytes and get the extension that goes with their content; arrays become PNG. Further
    pictures of a record are ``ID_1.jpg``, ``ID_2.jpg``. ``FOLDER/.export`` holds an index of all files and the list of the
    records that were set aside. An export that was interrupted goes on when it is called again.

    Args:
        source: whatever ``prepare`` reads, but for DataFrames; a prepared dataset as well.
        folder: for the pictures; new, empty, or of the same export.
        format, format_options: see :func:`firesteel.data.sources.open_source`.
        splits: put ``train/`` and ``test/`` above the class folders, where the source brings a split.
        check: ``full`` decodes every picture to find broken ones; ``header`` looks at its head only.
        engine, master, spark, debug: see :class:`Runtime`.
        workers: processes of the local engine; None is one a core.
        watch: shows the progress.

    Raises:
        ConfigError: for a wrong option, or a source of arrays that are no pictures.
        DataError: if the source holds nothing usable.
        DatasetError: if something else lies in the folder.
    """
    from functools import partial

    from firesteel.data.engines import map_local
    from firesteel.data.sources import open_source
    from firesteel.export.driver import export

    if check not in ("full", "header"):
        raise ConfigError(f"check must be full or header, got {check!r}.")
    place = Place.of(folder)
    opened = open_source(Place.of(source), format, **(format_options or {}))
    _refuse_inside(place, opened, "export")
    runtime = Runtime(engine, master, spark, debug=debug)
    runtime.check(1)
    with contextlib.ExitStack() as stack:

        def make_tasks() -> Any:
            if runtime.uses_spark:
                from firesteel.spark.barrier import map_tasks

                return partial(map_tasks, stack.enter_context(runtime.session()))
            count = workers or len(os.sched_getaffinity(0))
            return partial(map_local, local_launcher(count), count)

        return export(opened, place, make_tasks, with_splits=splits, check=check, watching=watch)


# -- analyze --------------------------------------------------------------------------------------------------------


def analyze(
    source: Path | DataFrame | Dataset,
    *,
    format: str = "auto",
    schema: Any = None,
    header: bool = True,
    delimiter: str | None = None,
    compare: int | None = None,
    engine: Literal["spark", "local"] | None = None,
    master: str | None = None,
    spark: SparkSession | None = None,
    workers: int | None = None,
    watch: Watch | None = None,
    debug: bool = False,
    format_options: Mapping[str, str] | None = None,
) -> Analysis:
    """What a source, a prepared dataset or a table holds: figures, what is broken, what is there twice.

    Args:
        source: anything that ``prepare`` reads, a prepared dataset, a table (csv, tsv, parquet, json lines; a file or a
            folder), or a DataFrame of any types.
        format: auto, images, bson, idx, csv, tsv, parquet or json.
        schema: of a table: a :class:`firesteel.tables.schema.Schema`, its text, or its file. Values that it forbids are
            counted as invalid, with examples. Without one types are those of the DataFrame, or inferred.
        header: of csv and tsv: the first line names the columns. Without it the schema does.
        delimiter: of csv; None is a comma.
        compare: at most about so many pictures are compared with each other for duplicates, of more a sample; None is
            2,000,000.
        engine, master, spark, debug: see :class:`Runtime`. Tables are read by Spark, also if nothing is said.
        workers: processes of the local engine; None is one a core.
        watch: shows the progress.
        format_options: of the format; for bson the names of the fields.

    Returns:
        an :class:`firesteel.analysis.images.ImageAnalysis` or a :class:`firesteel.analysis.results.TableAnalysis`.

    Raises:
        ConfigError: for a wrong option.
        DataError: if there is nothing readable.
    """
    from firesteel.analysis.opening import analyze_anything
    from firesteel.tables.schema import Schema

    runtime = Runtime(engine, master, spark, debug=debug)
    parsed = None if schema is None else Schema.parse(schema)
    return analyze_anything(
        source, runtime,
        format=format, schema=parsed, header=header, delimiter=delimiter, compare=compare, workers=workers, watch=watch,
        format_options=format_options or {},
    )  # fmt: skip


# -- train ----------------------------------------------------------------------------------------------------------


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


# -- transform ------------------------------------------------------------------------------------------------------


def transform(
    source: Path,
    out: Path,
    process: Path | TransformProcess,
    *,
    schema: str | Schema | None = None,
    header: bool = True,
    format: Literal["csv", "parquet", "json"] = "csv",
    write_header: bool = True,
    files: int | None = None,
    overwrite: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
    debug: bool = False,
) -> Transformed:
    """Read a table, apply a transform process with Spark, and write what comes out. DataFrames: see ``firesteel.spark.transformed``.

    Args:
        source: a file or folder of CSV, TSV, JSON lines or Parquet.
        out: folder for the result. Beside the table stand the process with its statistics and the schema.
        process: or its ``.yaml`` or ``.json`` file.
        schema: of the source, where the file has none; Parquet brings its own.
        header: whether text files begin with the names of the columns.
        format: of the result.
        write_header: whether CSV files begin with the names of the columns.
        files: how many files; None leaves it to Spark.
        overwrite: replace an earlier result in that folder.
        master, spark, debug: see :class:`Runtime`; without a master Spark runs on this machine.

    Returns:
        where it is, and how many rows were read and written.

    Raises:
        ConfigError: for a wrong option, or a step that does not fit the schema.
        DataError: if the source cannot be read, or something else lies in the folder.
    """
    from firesteel.tables.output import check_apart, check_output

    place, target = Place.of(source), Place.of(out)
    given, read = _process(process, schema)
    if files is not None and files < 1:
        raise ConfigError(f"files must be at least 1, got {files}.")
    check_apart(place, target)
    if given is not None:
        check_output(target, given.final_schema, format, overwrite=overwrite)
    runtime = Runtime("spark", master, spark, debug=debug)
    runtime.check(1)
    from firesteel.spark.transform_files import source_format, transform_files

    if source_format(place) != "parquet" and given is None:
        read(None)  # says that there is no schema
    with runtime.session() as session:
        return transform_files(
            session, place, target, read, schema=given.initial_schema if given else None, header=header, format=format,
            write_header=write_header, files=files, overwrite=overwrite,
        )  # fmt: skip


def _process(
    process: Path | TransformProcess, schema: str | Schema | None
) -> tuple[TransformProcess | None, Callable[[Schema | None], TransformProcess]]:
    """The process if its schema is known, and what gives it for the schema of the source."""
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema

    if isinstance(process, TransformProcess):
        found = process
        return found, lambda _: found
    place, stated = Place.of(process), Schema.parse(schema) if schema is not None else None

    def read(known: Schema | None) -> TransformProcess:
        return TransformProcess.read(place, schema=stated or known)

    return (read(None) if stated is not None or TransformProcess.has_schema(place) else None), read


__all__ = ["analyze", "evaluate", "export_images", "prepare", "train", "transform"]
