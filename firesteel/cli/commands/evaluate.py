"""``firesteel evaluate``: how good a model is."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import Debug, Device, Engine, Json, Master, ModelOption
from firesteel.cli.output import answering, console, print_json


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
