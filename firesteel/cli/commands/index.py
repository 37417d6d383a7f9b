"""``firesteel index``: feature vectors of a dataset, to find similar pictures by."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Debug,
    Device,
    Engine,
    Json,
    Master,
    ModelOption,
    OverwriteDataset,
    Workers,
)
from firesteel.cli.output import answering, console, print_json


def index(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="A run, or a model folder.")],
    dataset: Annotated[str, typer.Argument(help="Prepared; its classes may be others than the model's.")],
    index: Annotated[str, typer.Argument(help="Folder for the vectors.")],
    layer: Annotated[
        str | None, typer.Option(metavar="LAYER", help="That gives them. Default: what goes into the last layer.")
    ] = None,
    pool: Annotated[str, typer.Option(help="auto, average or flatten: what becomes of feature maps.")] = "auto",
    device: Device = "auto",
    model: ModelOption = None,
    overwrite: OverwriteDataset = False,
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute the feature vector of every row of a dataset; `similar INDEX PICTURE` finds those that are like a picture."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.report import prepared_as_json
        from firesteel.cli.similar_report import show_index
        from firesteel.monitoring.progress import watching_preparation

        result = api.build_index(
            run,
            dataset,
            index,
            layer=layer,
            pool=pool,  # type: ignore[arg-type]
            factory=model,
            device=device,  # type: ignore[arg-type]
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
            show_index(result)
