"""``firesteel export-images``: the pictures of a source as files."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Debug,
    Engine,
    FileColumn,
    Format,
    IdField,
    Json,
    LabelColumn,
    LabelField,
    LabelLevel,
    LabelPattern,
    LabelTableOption,
    Master,
    PictureField,
    SplitColumn,
    Workers,
    format_options,
)
from firesteel.cli.output import answering, console, print_json


def export_images(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="What prepare reads, or a prepared dataset.")],
    folder: Annotated[str, typer.Argument(help="For the pictures.")],
    format: Format = "auto",
    id_field: IdField = None,
    label_field: LabelField = None,
    picture_field: PictureField = None,
    labels: LabelTableOption = None,
    file_column: FileColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    label_pattern: LabelPattern = None,
    label_level: LabelLevel = None,
    splits: Annotated[bool, typer.Option(help="Folders of the source's own splits above those of the classes.")] = True,
    check: Annotated[str, typer.Option(help="full: decode every picture; header: look at its head.")] = "full",
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the pictures of a source as files: FOLDER/CLASS/ID.jpg, further ones of a record ID_1.jpg, ..."""
    with answering(debug, stopped=lambda: "Stopped. What was written stays; the same command goes on."):
        from firesteel import api
        from firesteel.cli.report import show_exported
        from firesteel.monitoring.progress import watching_preparation

        result = api.export_images(
            source,
            folder,
            format=format,
            format_options=format_options(ctx),
            splits=splits,
            check=check,  # type: ignore[arg-type]
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console, "exported"),
            debug=debug,
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_exported(result)
