"""``firesteel predict``: what a model says of new inputs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug, Device, Json, ModelOption
from firesteel.cli.output import answering, print_json


def predict(
    run: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    files: Annotated[list[str], typer.Argument(help="Pictures; or tables, if the model takes rows of one.")],
    top: Annotated[int, typer.Option(help="Most probable classes to show.")] = 5,
    format: Annotated[str, typer.Option(help="Of tables: auto, csv, tsv, json or parquet.")] = "auto",
    header: Annotated[
        bool | None,
        typer.Option(help="CSV: whether the first line names the columns. Default: as the dataset's source."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="CSV: one character, or tab. Default: as the source's.")] = None,
    device: Device = "auto",
    model: ModelOption = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The most probable classes of pictures or rows. What cannot be used is reported; the others are still predicted."""
    with answering(debug):
        from firesteel.cli.report import predict_each, predict_tables, show_outcome
        from firesteel.inference.predictor import Predictor

        predictor = Predictor(run, device=device, model=model)
        if predictor.takes_rows:
            found = predict_tables(predictor, files, top, format=format, header=header, delimiter=delimiter)
        else:
            found = iter(predict_each(predictor, files, top))
        outcomes, failed = [], 0
        for outcome in found:
            failed += "error" in outcome
            outcomes.append(outcome) if as_json else show_outcome(outcome)
        if as_json:
            print_json({"run": run, "predictions": outcomes, "failed": failed})
        if failed:
            sys.exit(1)
