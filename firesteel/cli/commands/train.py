"""``firesteel train``: from a prepared dataset to a run."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from firesteel.cli.options import Debug, Device, Engine, Json, Master, preparation_options
from firesteel.cli.output import answering, console, print_json
from firesteel.cli.settings import SettingsFile


def train(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    run: Annotated[str, typer.Argument(help="Folder for the run.")],
    model: Annotated[
        str, typer.Option(help="A network (firesteel models) or MODULE:FACTORY; options behind: mlp:hidden=[64,32]")
    ] = "cnn",
    epochs: Annotated[int, typer.Option(help="Passes over the training split.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Rows a worker and step.")] = 32,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Copies of the model, or 2..8: as many as there are. Default: slots of a local[N] master, else 1.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the optimizer. Default: 0.001, or what a map schedule begins with.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="sgd, adam, adamw, adagrad, rmsprop, adadelta; sgd:momentum=0.9")
    ] = "adam",
    schedule: Annotated[
        str,
        typer.Option(
            help="step:every=20, multistep, map:0=0.03,1000=0.005, exponential, cosine, one_cycle, plateau, ..."
        ),
    ] = "constant",
    warmup: Annotated[str, typer.Option(metavar="STEPS", help="In which the rate rises: 500, or 2epochs.")] = "0",
    lr_scaling: Annotated[str, typer.Option(help="Of the rate with the workers: none, linear or sqrt.")] = "none",
    bias_learning_rate: Annotated[float | None, typer.Option(help="Of all biases. Default: as weights.")] = None,
    layer_learning_rate: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN=FACTOR", help="'features.*=0.1'; 0 freezes. May be repeated.")
    ] = None,
    l1: Annotated[float, typer.Option(help="Penalty on the magnitude of weights.")] = 0.0,
    l2: Annotated[float, typer.Option(help="Penalty on half the square of weights.")] = 0.0,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of weights, decoupled from the gradient; any optimizer.")
    ] = None,
    regularize: Annotated[str, typer.Option(help="weights, or all: also biases and normalisation.")] = "weights",
    clip: Annotated[
        str, typer.Option(help="Of gradients: none, value:max=1, norm:max=1,per=layer, renormalize:per=layer.")
    ] = "none",
    init: Annotated[
        str,
        typer.Option(help="Of weights: default, he, xavier, lecun, normal:std=0.01, uniform, orthogonal, zero, ..."),
    ] = "default",
    precision: Annotated[str, typer.Option(help="Of the forward pass: fp32, bf16 or fp16 (GPU).")] = "fp32",
    sync: Annotated[
        str | None,
        typer.Option(
            help="allreduce, average:every=5, threshold, diloco, async or none, with options. Default: allreduce."
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Of each batch: default, light, upright, or a file. Default: none."),
    ] = None,
    class_weights: Annotated[
        str, typer.Option(help="Of the loss: none, balanced, balanced:power=0.5, effective:beta=0.999.")
    ] = "none",
    sampling: Annotated[
        str,
        typer.Option(help="uniform: each row once an epoch; balanced, balanced:power=0.5: rare classes more often."),
    ] = "uniform",
    evaluate_every: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="'1 epoch', '500 steps', '10 minutes', 'never'. Default: 1 epoch, if there is a split named validation.",
        ),
    ] = None,
    validation_split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="That is evaluated then. Default: validation, else test.")
    ] = None,
    score: Annotated[
        str, typer.Option(help="Says which model is the best: accuracy, loss, top5, precision, recall, f1.")
    ] = "accuracy",
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="patience:evaluations=5, score:reach=0.99, time:minutes=30, bounds:above=10. May be repeated.",
        ),
    ] = None,
    final_model: Annotated[
        str | None, typer.Option(metavar="WHICH", help="best or last. Default: best, if something is evaluated.")
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(metavar="WHEN", help="'1 epoch', '500 steps', '10 minutes'; 'never' keeps none at all.")
    ] = "10 minutes",
    keep_checkpoints: Annotated[int, typer.Option(metavar="N", help="The newest N stay.")] = 2,
    keep_checkpoint_every: Annotated[
        int | None, typer.Option(metavar="N", help="Of all others each N-th stays. Default: none.")
    ] = None,
    max_restarts: Annotated[
        int, typer.Option(metavar="N", help="How often the run goes on after losing a worker.")
    ] = 3,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with RUN from its newest checkpoint; its options hold.")
    ] = False,
    init_from: Annotated[
        str | None, typer.Option(metavar="RUN[@STEP]", help="Begin with the weights of another run.")
    ] = None,
    from_model: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin with the network of a run or model folder, for the dataset's classes.",
        ),
    ] = None,
    replace_head: Annotated[
        str | None,
        typer.Option(metavar="LAYER,...", help="With --from: begins anew. Default: the last, if classes differ."),
    ] = None,
    freeze_until: Annotated[
        str | None, typer.Option(metavar="LAYER", help="It and all layers before it do not learn: 'features*', layer3.")
    ] = None,
    train_only: Annotated[
        str | None, typer.Option(metavar="PATTERN,...", help="Only these layers learn, and a new head.")
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="standardize, scale, none; with --from: model (its default), as it was trained.")
    ] = "standardize",
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Of torch in each worker. Default: the host's cores, shared.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights, the order and dropout.")] = 0,
    lanes: Annotated[
        int | None, typer.Option(help="Independently shuffled parts of the data. Default: the number of workers.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(help="Batches fetched ahead; 0 for none. Default: 2 where it pays.")
    ] = None,
    memory_mb: Annotated[
        int | None, typer.Option(metavar="MB", help="For each worker's rows; more go to disk.")
    ] = None,
    scratch: Annotated[str | None, typer.Option(help="Folder for rows that do not fit into memory.")] = None,
    log_every: Annotated[int, typer.Option(metavar="STEPS", help="Steps between two entries of the event log.")] = 10,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long workers wait for each other.")] = 300.0,
    direct: Annotated[
        bool,
        typer.Option("--direct", help="DATASET is a source: each worker reads its part itself, no dataset is written."),
    ] = False,
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION=VALUE",
            help="With --direct: an option of firesteel prepare, as size=32x32. May be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in that folder.")] = False,
    engine: Engine = None,
    master: Master = None,
    settings: SettingsFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network on a prepared dataset (or a source, --direct), in this process, in local processes or on Spark."""
    with answering(debug, stopped=partial(_stopped_training, run)):
        from firesteel import api
        from firesteel.cli.run_report import announcing_training, show_trained
        from firesteel.monitoring.progress import watching_run

        watching = watching_run(console)
        watch = watching if as_json else announcing_training(watching)
        result = api.train(dataset, run, watch=watch, debug=debug, **_given_options(ctx))
        if as_json:
            print_json(result.to_json())
        else:
            show_trained(result, dataset)


def _given_options(ctx: typer.Context) -> dict[str, Any]:
    """Options that the user gave, by their names in Python: what is not given the job decides, or the resumed run has."""
    renamed = {"timeout": "timeout_s", "layer_learning_rate": "layer_learning_rates", "memory_mb": "memory_bytes"}
    ours = ("dataset", "run", "settings", "as_json", "debug")
    given = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name not in ours and value is not None and source is not None and source.name != "DEFAULT":
            given[renamed.get(name, name)] = value << 20 if name == "memory_mb" else value
    if "prepare" in given:
        given["prepare"] = preparation_options(given["prepare"])
    return given


def _stopped_training(run: str) -> str:
    from firesteel.cli.run_report import stopped_training

    return stopped_training(run)
