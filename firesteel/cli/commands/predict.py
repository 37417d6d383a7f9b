"""``firesteel predict``: what a model says of new inputs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug, Device, Json, ModelOption
from firesteel.cli.output import answering


def predict(
    run: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders and archives of pictures, - for one from standard input; or tables, if the model takes"
            " rows of one."
        ),
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(metavar="LIST", help="A text with one name a line; - is standard input.")
    ] = None,
    top: Annotated[int, typer.Option(help="Most probable classes to show.")] = 5,
    embed: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER", help="Print what this layer gives instead; default: what goes into the last one."
        ),
    ] = None,
    pool: Annotated[
        str, typer.Option(help="Of --embed: average or flatten feature maps. auto averages maps with height and width.")
    ] = "auto",
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of --embed: write the vectors to FILE.npy or FILE.parquet.")
    ] = None,
    format: Annotated[str, typer.Option(help="Of tables: auto, csv, tsv, json or parquet.")] = "auto",
    header: Annotated[
        bool | None,
        typer.Option(help="CSV: whether the first line names the columns. Default: as the dataset's source."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="CSV: one character, or tab. Default: as the source's.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Rows a forward pass. Default: by their size; 1 answers each before the next is read."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Threads for pictures. Default: one a core, 16 at most.")] = None,
    device: Device = "auto",
    model: ModelOption = None,
    as_json: Json = False,
    json_lines: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object a picture or row, a line each.")
    ] = False,
    debug: Debug = False,
) -> None:
    """The most probable classes of pictures or rows. What cannot be used is reported; the others are still predicted."""
    with answering(debug):
        from firesteel.cli.predictions import PredictOptions, run_predict

        options = PredictOptions(
            files or [], files_from, top, embed, pool, out, workers, as_json, json_lines,
            {"format": format, "header": header, "delimiter": delimiter},
        )  # fmt: skip
        if run_predict(run, options, device=device, batch_size=batch_size, model=model):
            sys.exit(1)
