"""Options that several commands have, with their help."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from firesteel.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Spark's own log.")]
Engine = Annotated[
    str | None, typer.Option(help="spark or local. Default: spark if a master is given or configured, else local.")
]
Workers = Annotated[int | None, typer.Option(help="Processes of the local engine. Default: one a core.")]
OverwriteDataset = Annotated[bool, typer.Option("--overwrite", help="Replace another dataset in that folder.")]
Master = Annotated[str | None, typer.Option(help="Spark master, for example local[2], spark://host:7077, yarn.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="MODULE:FACTORY, where the model's own description may not be followed.")
]
Format = Annotated[
    str, typer.Option(help="auto, images, bson, idx, cifar, dataset (a prepared one), csv, tsv, json, parquet.")
]
IdField = Annotated[str | None, typer.Option(help="bson: names a record. Default: _id")]
LabelField = Annotated[str | None, typer.Option(help="bson: its class. Default: category_id")]
PictureField = Annotated[str | None, typer.Option(help="bson: its pictures. Default: imgs.picture")]
LabelTableOption = Annotated[
    str | None, typer.Option("--labels", metavar="FILE.csv", help="images: labels by file name. Default: the folders.")
]
FileColumn = Annotated[
    str | None, typer.Option(help="Of --labels: a name, or a number from 1. Default: is looked for.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Of --labels. Default: called label, class, ..., or the only other.")
]
SplitColumn = Annotated[str | None, typer.Option(help="Of --labels, or of a table: names the split. Default: none.")]
LabelPattern = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help=r"images: a group finds the label in the path: '([a-z]+)\.\d+\.jpg$'"),
]
LabelLevel = Annotated[str | None, typer.Option(help="cifar: fine or coarse labels of CIFAR-100. Default: fine")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="CSV: the first line of each file names the columns. Default: yes."),
]
Delimiter = Annotated[str | None, typer.Option(help="CSV: one character, or tab. Default: a comma.")]
Quote = Annotated[str | None, typer.Option(help="CSV: around fields; '' for none. Default: \"")]
Escape = Annotated[str | None, typer.Option(help="CSV: before a quote in quotes. Default: the quote, doubled.")]
Multiline = Annotated[
    bool | None,
    typer.Option("--multiline", help="CSV: quoted fields may hold ends of lines. JSON: one list a file."),
]
Charset = Annotated[
    str | None, typer.Option(help="Of CSV and JSON: utf-8, latin-1, cp1252, utf-16, ... Default: utf-8")
]
NullValue = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="Table: means a missing value, as '' does. May be repeated."),
]

FORMAT_OPTIONS = (
    "id_field", "label_field", "picture_field", "labels", "file_column", "label_column", "split_column", "label_pattern",
    "label_level",
)  # fmt: skip


def format_options(ctx: typer.Context) -> dict[str, str]:
    """Options of the source's format that the user gave."""
    return {name: ctx.params[name] for name in FORMAT_OPTIONS if ctx.params[name] is not None}


def reading_options(ctx: typer.Context) -> dict[str, Any]:
    """How the text of a table is read: the options that the user gave, by their names in Python."""
    names = {name: name for name in ("header", "delimiter", "quote", "escape", "multiline", "charset")}
    names["null_value"] = "null_values"
    # An option that may be repeated is an empty list where it was not given.
    return {python: ctx.params[name] for name, python in names.items() if ctx.params[name] not in (None, [], ())}


def preparation_options(pairs: list[str]) -> dict[str, Any]:
    """``OPTION=VALUE`` of ``--prepare``, by their names in Python.

    Raises:
        ConfigError: if one is something else.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not name:
            raise ConfigError(f"expected --prepare OPTION=VALUE, as in --prepare size=32x32, got {pair!r}.")
        if name in FORMAT_OPTIONS:
            options.setdefault("format_options", {})[name] = value.strip()
        else:
            options[name] = value.strip()
    return options


def number_list(option: str, text: str | None) -> list[float] | None:
    """``104,117,123`` as numbers.

    Raises:
        ConfigError: if it is something else.
    """
    try:
        return None if text is None else [float(each) for each in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"{option} must be numbers with commas between them, got {text!r}. Example: 104,117,123"
        ) from error


def shape_list(option: str, text: str | None, count: int | None = None) -> list[int] | None:
    """``3x227x227`` as whole numbers, so many if ``count`` says it.

    Raises:
        ConfigError: if it is something else.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(each.strip().isdecimal() for each in parts) or (count is not None and len(parts) != count):
        example = "227x227" if count == 2 else "3x227x227"
        raise ConfigError(f"{option} must be whole numbers with x between them, got {text!r}. Example: {example}")
    return [int(each) for each in parts]
