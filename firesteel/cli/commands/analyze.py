"""``firesteel analyze``: what a source, a dataset or a table holds."""

from __future__ import annotations

from typing import Annotated

import typer

from firesteel.cli.options import (
    Charset,
    Debug,
    Delimiter,
    Engine,
    Escape,
    Header,
    Json,
    Master,
    Multiline,
    NullValue,
    Quote,
    Workers,
    reading_options,
)
from firesteel.cli.output import answering, console, print_json


def analyze(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="What prepare reads, a prepared dataset, or a table: CSV, TSV, JSON lines, Parquet, 'spark-sql:SELECT ...',"
            " table:NAME."
        ),
    ],
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page with charts and pictures.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="auto, images, bson, idx, csv, tsv, parquet or json (one object a line).")
    ] = "auto",
    schema: Annotated[
        str | None,
        typer.Option(
            help="Of a table: 'lat double, type categorical(TOR|HAIL)', or a file. Default: types are inferred."
        ),
    ] = None,
    header: Header = None,
    delimiter: Delimiter = None,
    quote: Quote = None,
    escape: Escape = None,
    multiline: Multiline = None,
    charset: Charset = None,
    null_value: NullValue = None,
    compare: Annotated[
        int | None, typer.Option(metavar="N", help="Look for duplicates among about N pictures. Default: 2000000")
    ] = None,
    id_field: Annotated[str | None, typer.Option(help="bson: names a record. Default: _id")] = None,
    label_field: Annotated[str | None, typer.Option(help="bson: its class. Default: category_id")] = None,
    picture_field: Annotated[str | None, typer.Option(help="bson: its pictures. Default: imgs.picture")] = None,
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What a source, a dataset or a table holds: figures, charts, what is broken, what is there twice."""
    with answering(debug):
        from firesteel import api
        from firesteel.cli.analysis import check_page, save_page, show_analysis
        from firesteel.monitoring.progress import watching_analysis

        check_page(html)
        fields = {"id_field": id_field, "label_field": label_field, "picture_field": picture_field}
        result = api.analyze(
            source,
            format=format,
            schema=schema,
            compare=compare,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_analysis(console),
            debug=debug,
            format_options={name: value for name, value in fields.items() if value is not None},
            **reading_options(ctx),
        )
        if as_json:
            print_json(result.to_json())
        else:
            show_analysis(result)
        if html is not None:
            save_page(result, html)
