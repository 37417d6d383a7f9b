"""``firesteel prepare``: from a source to a prepared dataset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from firesteel.cli.options import (
    Charset,
    Debug,
    Delimiter,
    Engine,
    Escape,
    FileColumn,
    Format,
    Header,
    IdField,
    Json,
    LabelColumn,
    LabelField,
    LabelLevel,
    LabelPattern,
    LabelTableOption,
    Master,
    Multiline,
    NullValue,
    OverwriteDataset,
    PictureField,
    Quote,
    SplitColumn,
    Workers,
    format_options,
    reading_options,
)
from firesteel.cli.output import answering, console


def prepare(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="Folders or archives of images, a BSON dump, idx or CIFAR files; or a table: CSV, TSV, JSON lines, Parquet,"
            " 'spark-sql:SELECT ...', table:NAME."
        ),
    ],
    dataset: Annotated[str, typer.Argument(help="Folder for the prepared dataset.")],
    format: Format = "auto",
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH. Default: that of the pictures, if they agree.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 (grey) or 3 (RGB). Default: 1 if all are grey, else 3.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Fractions. Default: the source's own split, else train=0.8,test=0.2.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="raw (fastest) or jpeg (smallest).")] = "raw",
    min_per_class: Annotated[int, typer.Option(metavar="N", help="Drop classes with fewer rows.")] = 1,
    max_per_class: Annotated[
        int | None, typer.Option(metavar="N", help="Training rows of a class that stay; the others are dropped.")
    ] = None,
    balance: Annotated[
        int | None, typer.Option(metavar="N", help="Generate pictures until each class has N training rows.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="How: default, light, upright, or a .yaml or .json file. Default: default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and of the mixing.")] = 12345,
    shard_mb: Annotated[int, typer.Option(metavar="MB", help="Size of a shard.")] = 32,
    id_field: IdField = None,
    label_field: LabelField = None,
    picture_field: PictureField = None,
    labels: LabelTableOption = None,
    file_column: FileColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    label_pattern: LabelPattern = None,
    label_level: LabelLevel = None,
    schema: Annotated[
        str | None,
        typer.Option(help="Table: 'lat double, type categorical(TOR|HAIL)' or a YAML file. Default: inferred."),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Table: a transform process (.yaml, .json); later options name its result."),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Table: holds the class.")] = None,
    features: Annotated[
        str | None, typer.Option(metavar="COLUMN,...", help="Table: what the network sees. Default: all others.")
    ] = None,
    id: Annotated[str | None, typer.Option(metavar="COLUMN", help="Table: names a row. Default: a hash.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Table: rows of one group never lie in two splits.")
    ] = None,
    header: Header = None,
    delimiter: Delimiter = None,
    quote: Quote = None,
    escape: Escape = None,
    multiline: Multiline = None,
    charset: Charset = None,
    null_value: NullValue = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLUMN=]HOW",
            help="Table: of a missing feature: quarantine (the row), mean, a number, category. May be repeated.",
        ),
    ] = None,
    encode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=HOW",
            help="Table: categories: onehot, index; times: seconds, parts, cyclic. May be repeated.",
        ),
    ] = None,
    learn_categories: Annotated[
        int | None, typer.Option(metavar="N", help="Table: the N most frequent strings of a column are categories.")
    ] = None,
    overwrite: OverwriteDataset = False,
    engine: Engine = None,
    master: Master = None,
    workers: Workers = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Decode or encode a source once, into a split and sharded dataset that training reads at full speed."""
    with answering(debug, stopped=lambda: "Stopped. Nothing was written; what was there before is there still."):
        from firesteel import api
        from firesteel.cli.report import report_prepared
        from firesteel.monitoring.progress import watching_preparation

        table: dict[str, Any] = {
            "schema": schema,
            "transform": transform, "label": label, "features": features and tuple(name.strip() for name in features.split(",")),
            "id": id, "group": group, "missing": missing, "encode": encode, "learn_categories": learn_categories,
            **reading_options(ctx),
        }  # fmt: skip
        fields = format_options(ctx)
        if "labels" not in fields:
            table["split_column"] = fields.pop("split_column", None)
        result = api.prepare(
            source,
            dataset,
            format=format,
            format_options=fields,
            size=size,
            channels=channels,
            split=split,
            encoding=encoding,
            min_per_class=min_per_class,
            max_per_class=max_per_class,
            balance=balance,
            policy=policy,
            seed=seed,
            shard_bytes=shard_mb << 20,
            overwrite=overwrite,
            engine=engine,  # type: ignore[arg-type]
            master=master,
            workers=workers,
            watch=watching_preparation(console),
            debug=debug,
            **{name: value for name, value in table.items() if value is not None},
        )
        report_prepared(result, as_json=as_json)
