"""``firesteel augment``: what an augmentation policy does, as a picture."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import Debug, Json
from firesteel.cli.output import answering, print_json, say


def augment(
    source: Annotated[str, typer.Argument(help="A prepared dataset, or a source of pictures.")],
    sheet: Annotated[str, typer.Argument(help="PNG file to write.")],
    policy: Annotated[str, typer.Option(help="default, light, upright, or a .yaml or .json file.")] = "default",
    pictures: Annotated[int, typer.Option(metavar="N", help="How many pictures.")] = 6,
    copies: Annotated[int, typer.Option(metavar="N", help="Generated pictures of each.")] = 10,
    each: Annotated[bool, typer.Option("--each", help="Show each operation of the policy alone.")] = False,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH. Default: that of the dataset, or of the first picture, at most 256."),
    ] = None,
    seed: Annotated[int, typer.Option(help="With that of prepare: the pictures that it generates.")] = 12345,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a picture that shows what an augmentation policy does: a row a picture, the original first."""
    with answering(debug):
        from firesteel.data.augmentation.preview import write_sheet

        shown = write_sheet(
            source, sheet, policy=policy, pictures=pictures, copies=copies, each=each, size=size, seed=seed,
            overwrite=overwrite,
        )  # fmt: skip
        if as_json:
            print_json(shown)
        else:
            say(f"Wrote {shown['sheet']}: {shown['pictures']} pictures, {shown['copies']} copies each.")
