"""``firesteel``: the commands and their options."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Any

import typer

from firesteel._version import __version__
from firesteel.cli.output import answering, console, note, print_json, say
from firesteel.cli.settings import SettingsCommand, SettingsFile

app = typer.Typer(
    name="firesteel",
    help="PyTorch training on Apache Spark: from raw images and tables to an evaluated network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Spark's own log.")]
Engine = Annotated[
    str | None, typer.Option(help="spark or local. Default: spark if a master is given or configured, else local.")
]
Master = Annotated[str | None, typer.Option(help="Spark master, for example local[2], spark://host:7077, yarn.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="MODULE:FACTORY, where the model's own description may not be followed.")
]
Format = Annotated[str, typer.Option(help="auto, images, bson, idx, cifar or dataset (a prepared one).")]
IdField = Annotated[str | None, typer.Option(help="bson: names a record. Default: _id")]
LabelField = Annotated[str | None, typer.Option(help="bson: its class. Default: category_id")]
PictureField = Annotated[str | None, typer.Option(help="bson: its pictures. Default: imgs.picture")]
LabelTableOption = Annotated[
    str | None, typer.Option("--labels", metavar="FILE.csv", help="images: labels by file name. Default: the folders.")
]
FileColumn = Annotated[
    str | None, typer.Option(help="Of --labels: a name, or a number from 1. Default: is looked for.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Of --labels. Default: called label, class, ..., or the only other.")
]
SplitColumn = Annotated[str | None, typer.Option(help="Of --labels: names the split. Default: none.")]
LabelPattern = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help=r"images: a group finds the label in the path: '([a-z]+)\.\d+\.jpg$'"),
]
LabelLevel = Annotated[str | None, typer.Option(help="cifar: fine or coarse labels of CIFAR-100. Default: fine")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"firesteel {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def prepare(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Folders or archives of images, a BSON dump, idx or CIFAR files.")],
    dataset: Annotated[str, typer.Argument(help="Folder for the prepared dataset.")],
    format: Format = "auto",
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH. Default: that of the pictures, if they agree.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 (grey) or 3 (RGB). Default: 1 if all are grey, else 3.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Fractions. Default: the source's own split, else train=0.8,test=0.2.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="raw (fastest) or jpeg (smallest).")] = "raw",
    min_per_class: Annotated[int, typer.Option(metavar="N", help="Drop classes with fewer rows.")] = 1,
    max_per_class: Annotated[
        int | None, typer.Option(metavar="N", help="Training rows of a class that stay; the others are dropped.")
    ] = None,
    balance: Annotated[
        int | None, typer.Option(metavar="N", help="Generate pictures until each class has N training rows.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="How: default, light, upright, or a .yaml or .json file. Default: default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and of the mixing.")] = 12345,
    shard_mb: Annotated[int, typer.Option(metavar="MB", help="Size of a shard.")] = 32,
    id_field: IdField = None,
    label_field: LabelField = None,
    picture_field: PictureField = None,
    labels: LabelTableOption = None,
    file_column: FileColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    label_pattern: LabelPattern = None,
    label_level: LabelLevel = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another dataset in that folder.")] = False,
    engine: Engine = None,
    master: Master = None,
    workers: Annotated[int | None, typer.Option(help="Processes of the local engine. Default: one a core.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Decode, resize and split a source once, into a sharded dataset that training reads at full speed."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.report import prepared_as_json, show_prepared
        from firesteel.monitoring.progress import watching_preparation

        result = api.prepare(
            source,
            dataset,
            format=format,
            format_options=_format_options(ctx),
            size=size,
            channels=channels,
            split=split,
            encoding=encoding,
            min_per_class=min_per_class,
            max_per_class=max_per_class,
            balance=balance,
            policy=policy,
            seed=seed,
            shard_bytes=shard_mb << 20,
            overwrite=overwrite,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console),
            debug=debug,
        )
        if as_json:
            print_json(prepared_as_json(result))
        else:
            show_prepared(result)


@app.command()
def augment(
    source: Annotated[str, typer.Argument(help="A prepared dataset, or a source of pictures.")],
    sheet: Annotated[str, typer.Argument(help="PNG file to write.")],
    policy: Annotated[str, typer.Option(help="default, light, upright, or a .yaml or .json file.")] = "default",
    pictures: Annotated[int, typer.Option(metavar="N", help="How many pictures.")] = 6,
    copies: Annotated[int, typer.Option(metavar="N", help="Generated pictures of each.")] = 10,
    each: Annotated[bool, typer.Option("--each", help="Show each operation of the policy alone.")] = False,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH. Default: that of the dataset, or of the first picture.")
    ] = None,
    seed: Annotated[int, typer.Option(help="With that of prepare: the pictures that it generates.")] = 12345,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a picture that shows what an augmentation policy does: a row a picture, the original first."""
    with answering(debug):
        from firesteel.data.augmentation.preview import write_sheet

        shown = write_sheet(
            source, sheet, policy=policy, pictures=pictures, copies=copies, each=each, size=size, seed=seed,
            overwrite=overwrite,
        )  # fmt: skip
        if as_json:
            print_json(shown)
        else:
            say(f"Wrote {shown['sheet']}: {shown['pictures']} pictures, {shown['copies']} copies each.")


_FORMAT_OPTIONS = (
    "id_field", "label_field", "picture_field", "labels", "file_column", "label_column", "split_column", "label_pattern",
    "label_level",
)  # fmt: skip


def _format_options(ctx: typer.Context) -> dict[str, str]:
    """Options of the source's format that the user gave."""
    return {name: ctx.params[name] for name in _FORMAT_OPTIONS if ctx.params[name] is not None}


@app.command()
def export_images(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="What prepare reads, or a prepared dataset.")],
    folder: Annotated[str, typer.Argument(help="For the pictures.")],
    format: Format = "auto",
    id_field: IdField = None,
    label_field: LabelField = None,
    picture_field: PictureField = None,
    labels: LabelTableOption = None,
    file_column: FileColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    label_pattern: LabelPattern = None,
    label_level: LabelLevel = None,
    splits: Annotated[bool, typer.Option(help="Folders of the source's own splits above those of the classes.")] = True,
    check: Annotated[str, typer.Option(help="full: decode every picture; header: look at its head.")] = "full",
    engine: Engine = None,
    master: Master = None,
    workers: Annotated[int | None, typer.Option(help="Processes of the local engine. Default: one a core.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the pictures of a source as files: FOLDER/CLASS/ID.jpg, further ones of a record ID_1.jpg, ..."""
    with answering(debug, stopped=lambda: "Stopped. What was written stays; the same command goes on."):
        from firesteel import api
        from firesteel.cli.report import show_exported
        from firesteel.monitoring.progress import watching_preparation

        result = api.export_images(
            source,
            folder,
            format=format,
            format_options=_format_options(ctx),
            splits=splits,
            check=check,  # type: ignore[arg-type]
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console, "exported"),
            debug=debug,
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_exported(result)


@app.command()
def analyze(
    source: Annotated[
        str, typer.Argument(help="What prepare reads, a prepared dataset, or a table (csv, tsv, parquet, json lines).")
    ],
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page with charts and pictures.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="auto, images, bson, idx, csv, tsv, parquet or json (one object a line).")
    ] = "auto",
    schema: Annotated[
        str | None,
        typer.Option(
            help="Of a table: 'lat double, type categorical(TOR|HAIL)', or a file. Default: types are inferred."
        ),
    ] = None,
    header: Annotated[bool, typer.Option(help="csv, tsv: the first line names the columns.")] = True,
    delimiter: Annotated[str | None, typer.Option(help="csv: between two fields. Default: a comma.")] = None,
    compare: Annotated[
        int | None, typer.Option(metavar="N", help="Look for duplicates among about N pictures. Default: 2000000")
    ] = None,
    id_field: Annotated[str | None, typer.Option(help="bson: names a record. Default: _id")] = None,
    label_field: Annotated[str | None, typer.Option(help="bson: its class. Default: category_id")] = None,
    picture_field: Annotated[str | None, typer.Option(help="bson: its pictures. Default: imgs.picture")] = None,
    engine: Engine = None,
    master: Master = None,
    workers: Annotated[int | None, typer.Option(help="Processes of the local engine. Default: one a core.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What a source, a dataset or a table holds: figures, charts, what is broken, what is there twice."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.analysis import save_page, show_analysis
        from firesteel.monitoring.progress import watching_analysis

        fields = {"id_field": id_field, "label_field": label_field, "picture_field": picture_field}
        result = api.analyze(
            source,
            format=format,
            schema=schema,
            header=header,
            delimiter=delimiter,
            compare=compare,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_analysis(console),
            debug=debug,
            format_options={name: value for name, value in fields.items() if value is not None},
        )
        if html is not None:
            save_page(result, html)
        if as_json:
            print_json(result.to_json())
        else:
            show_analysis(result)
        if html is not None:
            note(f"The page is {html}")


@app.command(cls=SettingsCommand)
def train(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    run: Annotated[str, typer.Argument(help="Folder for the run.")],
    model: Annotated[
        str, typer.Option(help="cnn, mlp, lstm or MODULE:FACTORY; options behind: mlp:hidden=[64,32]")
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
    normalize: Annotated[str, typer.Option(help="standardize, scale or none.")] = "standardize",
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in that folder.")] = False,
    engine: Engine = None,
    master: Master = None,
    settings: SettingsFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network on a prepared dataset, in this process, in local processes or on Spark."""
    with answering(debug, stopped=partial(_stopped_training, run)):
        from firesteel import api
        from firesteel.cli.report import announcing_training, show_trained
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
    return given


def _stopped_training(run: str) -> str:
    from firesteel.cli.report import stopped_training

    return stopped_training(run)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    dataset: Annotated[str, typer.Argument(help="A prepared dataset.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Rows a forward pass.")] = 256,
    workers: Annotated[int | None, typer.Option(help="Shares of the rows. Default: slots of local[N], else 1.")] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(help="Of torch in each worker.")] = None,
    model: ModelOption = None,
    engine: Engine = None,
    master: Master = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Accuracy, top-5, precision, recall, F1, a table of the classes and the confusion matrix."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.report import show_evaluation
        from firesteel.monitoring.progress import watching_evaluation

        result = api.evaluate(
            run,
            dataset,
            split=split,
            batch_size=batch_size,
            workers=workers,
            device=device,
            threads=threads,
            model=model,
            watch=watching_evaluation(console),
            engine=engine,  # type: ignore[arg-type]
            master=master,
            debug=debug,
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_evaluation(result, split)


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    files: Annotated[list[str], typer.Argument(help="Pictures.")],
    top: Annotated[int, typer.Option(help="Most probable classes to show.")] = 5,
    device: Device = "auto",
    model: ModelOption = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The most probable classes of pictures. A file that is no picture is reported; the others are still predicted."""
    with answering(debug):
        from firesteel.cli.report import predict_each
        from firesteel.inference.predictor import Predictor

        outcomes = predict_each(Predictor(run, device=device, model=model), files, top)
        failed = [outcome for outcome in outcomes if "error" in outcome]
        if as_json:
            print_json({"run": run, "predictions": outcomes, "failed": len(failed)})
        else:
            for outcome in outcomes:
                if "error" in outcome:
                    note(f"{outcome['file']}: {outcome['error']}")
                    continue
                shown = "  ".join(f"{each['label']} {each['probability']:.3f}" for each in outcome["top"])
                say(f"{outcome['file']}  {shown}")
        if failed:
            sys.exit(1)


@app.command()
def watch(
    run: Annotated[str, typer.Argument(help="A run.")],
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the present state as one JSON object and end.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show a run live, also one that another terminal or another machine drives."""
    with answering(debug, stopped=lambda: "Stopped watching; that does not stop a run."):
        from firesteel.cli.report import run_state_as_json
        from firesteel.monitoring.events import EventReader
        from firesteel.monitoring.progress import present_state, watch_run
        from firesteel.monitoring.state import RunState
        from firesteel.storage import Place
        from firesteel.training.run import RunDirectory

        directory = RunDirectory.open(Place.of(run))
        if as_json:
            print_json(run_state_as_json(present_state(EventReader(directory.place), RunState())))
            return
        from rich.console import Console

        if watch_run(directory.place, Console(highlight=False), once=once).status in ("failed", "lost"):
            sys.exit(1)


@app.command()
def doctor(
    master: Master = None,
    place: Annotated[
        str | None,
        typer.Option(help="A folder that is there, on the storage that all machines share, to try from each worker."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check this machine and, with --master, the cluster; say what to change."""
    with answering(debug):
        from firesteel.doctor import checkup

        checks = []
        for check in checkup(master, place, debug=debug):
            checks.append(check)
            if not as_json:
                mark = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}[check.status]
                say(f"{mark}  {check.name}: {check.found}")
                if check.advice:
                    say(f"      {check.advice}")
        failed = sum(check.status == "failed" for check in checks)
        if as_json:
            print_json({"ok": failed == 0, "checks": [vars(check) for check in checks]})
        elif failed:
            say(f"\n{failed} of {len(checks)} checks failed.")
        else:
            say(f"\nAll {len(checks)} checks passed.")
        if failed:
            sys.exit(1)


def run() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    run()
