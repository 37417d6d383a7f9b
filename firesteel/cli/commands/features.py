"""``firesteel features``: what the frozen layers of a network make of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Debug,
    Device,
    Engine,
    Json,
    Master,
    OverwriteDataset,
    Workers,
)
from firesteel.cli.output import answering, console


def features(
    model: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    dataset: Annotated[str, typer.Argument(help="Prepared; its classes may be others than the model's.")],
    out: Annotated[str, typer.Argument(metavar="FEATURES", help="Folder for the dataset of features.")],
    freeze_until: Annotated[
        str | None, typer.Option(metavar="LAYER", help="The last frozen layer. Default: all but a new head.")
    ] = None,
    train_only: Annotated[
        str | None, typer.Option(metavar="PATTERN,...", help="The layers that are not frozen, instead.")
    ] = None,
    replace_head: Annotated[
        str | None, typer.Option(metavar="LAYER,...", help="Begins anew. Default: the last, if the classes differ.")
    ] = None,
    device: Device = "auto",
    overwrite: OverwriteDataset = False,
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute once what the frozen layers of a network give for every row; `train FEATURES RUN` trains the others."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.report import report_prepared
        from firesteel.monitoring.progress import watching_preparation

        result = api.compute_features(
            model,
            dataset,
            out,
            freeze_until=freeze_until,
            train_only=train_only or (),
            replace_head=replace_head,
            device=device,  # type: ignore[arg-type]
            overwrite=overwrite,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console),
            debug=debug,
        )
        report_prepared(result, as_json=as_json)
