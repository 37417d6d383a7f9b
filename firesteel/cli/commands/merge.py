"""``firesteel merge``: several prepared datasets as one."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Debug,
    Engine,
    Json,
    Master,
    OverwriteDataset,
    Workers,
)
from firesteel.cli.output import answering, console


def merge(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Two or more, with rows of one kind.")],
    merged: Annotated[str, typer.Argument(metavar="MERGED", help="Folder for the result.")],
    overwrite: OverwriteDataset = False,
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make one dataset of several: rows keep their split, classes of one name are one class."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.report import report_prepared
        from firesteel.monitoring.progress import watching_preparation

        result = api.merge(
            datasets,
            merged,
            overwrite=overwrite,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console),
            debug=debug,
        )
        report_prepared(result, as_json=as_json)
