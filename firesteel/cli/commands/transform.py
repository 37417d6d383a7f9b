"""``firesteel transform``: a process of steps on a table."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Charset,
    Debug,
    Delimiter,
    Escape,
    Header,
    Json,
    Master,
    Multiline,
    NullValue,
    Quote,
    reading_options,
)
from firesteel.cli.output import answering, print_json
from firesteel.errors import ConfigError


def transform(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="CSV, TSV, JSON lines or Parquet (a file or folder), 'spark-sql:SELECT ...', table:NAME."),
    ],
    out: Annotated[str | None, typer.Argument(help="Folder for the result. Not needed with --show.")] = None,
    process: Annotated[str, typer.Option(metavar="FILE", help="The steps: .yaml or .json.")] = ...,  # type: ignore[assignment]
    schema: Annotated[
        str | None, typer.Option(help="Of the source, if FILE has none: 'lat double, type string', or a file.")
    ] = None,
    source_format: Annotated[
        str, typer.Option(help="Of the source: auto (by its name), csv, tsv, json or parquet.")
    ] = "auto",
    header: Header = None,
    delimiter: Delimiter = None,
    quote: Quote = None,
    escape: Escape = None,
    multiline: Multiline = None,
    charset: Charset = None,
    null_value: NullValue = None,
    format: Annotated[str, typer.Option(help="Of the result: csv, parquet or json (one object a line).")] = "csv",
    write_header: Annotated[bool, typer.Option(help="Whether CSV files of the result begin with names.")] = True,
    files: Annotated[int | None, typer.Option(metavar="N", help="At most N files. Default: Spark decides.")] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the steps with the schema after each; run nothing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in that folder.")] = False,
    master: Master = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Apply a transform process to a table: steps that are checked against its schema before anything runs."""
    with answering(debug, stopped=lambda: "Stopped. What was written of the result has been removed."):
        from firesteel.cli.report import show_process, show_transformed

        if show:
            show_process(process, schema, as_json=as_json)
            return
        if out is None:
            raise ConfigError("OUT is missing: firesteel transform SOURCE OUT --process FILE. Or add --show.")
        from firesteel import api

        result = api.transform(
            source,
            out,
            process,
            schema=schema,
            source_format=source_format,
            format=format,  # type: ignore[arg-type]
            write_header=write_header,
            files=files,
            overwrite=overwrite,
            master=master,
            debug=debug,
            **reading_options(ctx),
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_transformed(result)
