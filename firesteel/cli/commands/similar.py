"""``firesteel similar``: rows of an index that are like pictures."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug, Device, Engine, Json, Master, ModelOption
from firesteel.cli.output import answering


def similar(
    index: Annotated[str, typer.Argument(help="Made by `firesteel index`.")],
    files: Annotated[
        list[str], typer.Argument(help="Pictures, folders and archives of pictures, - for standard input.")
    ],
    top: Annotated[int, typer.Option(help="Most similar rows to show.")] = 10,
    split: Annotated[list[str] | None, typer.Option(help="Search in this split only. May be repeated.")] = None,
    sheet: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Also draw the pictures and what is similar to them.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the model of the index lies now. Default: where it was.")
    ] = None,
    device: Device = "auto",
    model: ModelOption = None,
    engine: Engine = None,
    master: Master = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The most similar pictures of an indexed dataset, and the class of each picture. The search is exact."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.similar_report import show_similar

        found = api.similar(
            index,
            files,
            top=top,
            splits=split or [],
            model=run,
            factory=model,
            device=device,
            sheet=sheet,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            debug=debug,
        )
        if show_similar(index, found, sheet, as_json=as_json):
            sys.exit(1)
