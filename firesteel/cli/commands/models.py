"""``firesteel models`` and ``firesteel summary``: what networks there are, and what one consists of."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import Debug, Json, ModelOption
from firesteel.cli.output import answering, print_json


def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the networks that come with Firesteel: what they were made for, and their parameters."""
    with answering(debug):
        from firesteel.cli.networks import show_zoo, zoo_as_json

        if as_json:
            print_json(zoo_as_json())
        else:
            show_zoo()


def summary(
    network: Annotated[
        str, typer.Argument(help="A network (firesteel models), MODULE:FACTORY, a run or a model folder.")
    ],
    input_shape: Annotated[
        str | None, typer.Option(metavar="CxHxW", help="Of one sample. Default: what the network was made for.")
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Default: what the network was made for.")] = None,
    model: ModelOption = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the layers of a network: output shapes, parameters, multiply-adds and memory for one sample."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.networks import show_summary

        found = api.summary(network, input_shape=input_shape, num_classes=classes, factory=model)
        if as_json:
            print_json(found.to_json())
        else:
            show_summary(found)
