"""``firesteel predict``: what a model says of new inputs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug, Device, Json, ModelOption
from firesteel.cli.output import answering, note, print_json, say


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
