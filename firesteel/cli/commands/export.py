"""``firesteel export``: a network as a file for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import Debug, Json, ModelOption
from firesteel.cli.output import answering, print_json


def export(
    run: Annotated[str, typer.Argument(help="A run, or a model folder.")],
    path: Annotated[str, typer.Argument(metavar="FILE", help="To write: NAME.onnx, .pt, .pt2 or .safetensors.")],
    to: Annotated[str, typer.Option(help="onnx, torchscript, torch-export or safetensors.")],
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Compare on these rows before the file is there: a prepared dataset (its test split), or pictures. May be"
            " repeated. Default: random rows.",
        ),
    ] = None,
    check_rows: Annotated[int, typer.Option(help="At most so many.")] = 256,
    output: Annotated[str, typer.Option(help="What comes out: probabilities or logits.")] = "probabilities",
    preprocessing: Annotated[
        bool, typer.Option(help="Raw pixels go in, 0 to 255, RGB; or what the network itself takes, normalised.")
    ] = True,
    input_dtype: Annotated[str | None, typer.Option(help="float32 or uint8. Default: float32")] = None,
    opset: Annotated[int | None, typer.Option(help="onnx: version of the operators. Default: 20")] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8", help="onnx: 8-bit numbers for CPUs; says what is lost.")
    ] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="int8: rows that find the ranges. Default: the training split of --check."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    model: ModelOption = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network as ONNX, TorchScript, torch.export or safetensors, with its preprocessing inside, and check it."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.export_report import show_export

        result = api.export_model(
            run,
            path,
            to=to,
            output=output,  # type: ignore[arg-type]
            preprocessing=preprocessing,
            input_dtype=input_dtype,  # type: ignore[arg-type]
            opset=opset,
            quantize=quantize,  # type: ignore[arg-type]
            check=check or [],
            calibrate=calibrate or [],
            check_rows=check_rows,
            model=model,
            overwrite=overwrite,
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_export(result)
