"""``firesteel import``: networks and weights of other frameworks as model folders."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import Debug, Json, number_list, shape_list
from firesteel.cli.output import answering, print_json


def import_(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A network or weights; for TensorFlow also a folder.")],
    folder: Annotated[str, typer.Argument(metavar="MODEL-FOLDER", help="For the model; new or empty.")],
    format: Annotated[
        str, typer.Option(help="auto, caffe, keras, onnx, tensorflow, torch or safetensors. auto goes by the name.")
    ] = "auto",
    into: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Weights by name into this model, as train --model takes it."),
    ] = None,
    match_all: Annotated[
        bool,
        typer.Option(
            help="With --into or --prototxt: every tensor must match. If not, layers of other names keep their initial weights."
        ),
    ] = True,
    classes: Annotated[
        int | None, typer.Option(metavar="K", help="With --into. Default: what labels or file say.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Names of the classes: one a line, JSON, or a prepared dataset. Default: 0, 1, ..."
        ),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="CxHxW", help="Of a row, where the file leaves it open or has it flat.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="The same, for pictures of 3 channels.")] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="The network sees (pixel - mean) * scale / std. Default: 1; 0.0039215686 for 0 to 1."),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="M,...", help="In pixels, 0 to 255; in the order of --channel-order. Default: 0"),
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S,...", help="Default: 1")] = None,
    channel_order: Annotated[str, typer.Option(help="In which the network takes them: rgb, or bgr (Caffe).")] = "rgb",
    prototxt: Annotated[str | None, typer.Option(metavar="FILE", help="caffe: the network of the weights.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="keras: the weights of a network in JSON.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="caffe, onnx, tensorflow: of several results the one to take.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model in that folder.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a model folder of a network of Caffe, Keras, ONNX, TensorFlow or torch; evaluate and predict take it at once."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.import_report import show_imported

        result = api.import_model(
            source,
            folder,
            format=format,
            into=into,
            match_all=match_all,
            classes=classes,
            labels=labels,
            input_shape=shape_list("--input-shape", input_shape),
            size=shape_list("--size", size, 2),  # type: ignore[arg-type]
            scale=scale,
            mean=number_list("--mean", mean),
            std=number_list("--std", std),
            channel_order=channel_order,
            prototxt=prototxt,
            weights=weights,
            output=output,
            overwrite=overwrite,
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_imported(result)
