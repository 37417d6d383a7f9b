"""What ``firesteel analyze`` shows on a terminal."""

from __future__ import annotations

import os

from firesteel.analysis.images import ImageAnalysis
from firesteel.analysis.report.wording import counted, number, share, size
from firesteel.analysis.results import Analysis, ColumnAnalysis, TableAnalysis
from firesteel.cli.output import note, say
from firesteel.cli.tables import print_table
from firesteel.errors import ConfigError
from firesteel.storage import Place

_CLASSES = 20
_GROUPS = 10
_BROKEN = 10


def check_page(file: str | None) -> None:
    """Refuse a place for the page before the work begins.

    Raises:
        ConfigError: if it is a folder, or nothing can be written there.
    """
    place = None if file is None else Place.of(file)
    if place is None or not place.is_local:
        return
    if place.is_dir():
        raise ConfigError(
            f"--html needs the name of a file, got the folder {file}. For example {place / 'analysis.html'}"
        )
    folder = os.path.dirname(place.uri)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ConfigError(f"--html {file}: nothing can be written to {folder}. Choose another place.")


def save_page(analysis: Analysis, file: str) -> None:
    """Write the page, whole or not at all, and say where it is."""
    Place.of(file).write_text(analysis.to_html())
    note(f"The page is {file}")


def show_analysis(analysis: Analysis) -> None:
    """The figures as tables."""
    if isinstance(analysis, TableAnalysis):
        _show_table(analysis)
    elif isinstance(analysis, ImageAnalysis):
        _show_images(analysis)
    for text in analysis.notes:
        note(f"  note: {text}")


# -- tables -----------------------------------------------------------------------------------------------------------


def _show_table(analysis: TableAnalysis) -> None:
    say(
        f"Analysed {analysis.source} in {analysis.seconds:.1f} s: {counted(analysis.rows, 'row')},"
        f" {counted(len(analysis.columns), 'column')}."
    )
    say()
    header = ["column", "type", "valid", "missing", "invalid", "unique", "min", "mean", "max", "stdev"]
    print_table(header, [_table_row(column) for column in analysis], numbers=8)
    texts = [column for column in analysis if _frequent(column)]
    if texts:
        say()
        print_table(["column", "most frequent"], [[column.name, _frequent(column)] for column in texts], numbers=0)
    for column in analysis:
        if column.examples:
            say(
                f"\n{column.name}: {counted(column.invalid, 'invalid value')}, for example {', '.join(map(repr, column.examples))}"
            )
    if any(column.figures.get("approximate") for column in analysis):
        say("\n~ approximate; --json says by how much at most.")


def _table_row(column: ColumnAnalysis) -> list[str]:
    of = column.figures
    counts = [f"{count:,}" for count in (column.count, column.missing, column.invalid)]
    mark = "~" if "unique" in of.get("approximate", {}) else ""
    unique = mark + number(of["unique"]) if "unique" in of else "–"
    figures = [number(of.get(name)) for name in ("min", "mean", "max", "stdev")]
    if column.type == "time":
        figures[:3] = [str(of[name] or "–").partition(".")[0] for name in ("min", "mean", "max")]
    return [column.name, column.type, *counts, unique, *figures]


def _frequent(column: ColumnAnalysis) -> str:
    of = column.figures
    if "counts" in of:
        found = sorted(of["counts"].items(), key=lambda item: -item[1])
    elif "true" in of:
        found = [("true", of["true"]), ("false", of["false"])]
    else:
        found = [(each["value"], each["count"]) for each in of.get("most_frequent", []) if each["count"] > 1]
    return ", ".join(f"{value} {share(count, column.count)}" for value, count in found[:5])


# -- pictures ---------------------------------------------------------------------------------------------------------


def _show_images(analysis: ImageAnalysis) -> None:
    splits = ", ".join(f"{name} {count:,}" for name, count in analysis.splits.items())
    say(f"Analysed {analysis.source} in {analysis.seconds:.1f} s.")
    say(
        f"  pictures    {analysis.images:,}{f' ({splits})' if splits else ''}, {counted(len(analysis.classes), 'class', 'classes')}"
    )
    kinds = ", ".join(f"{name} {count:,}" for name, count in [*analysis.formats.items(), *analysis.modes.items()])
    say(f"  kinds       {kinds}")
    say(
        f"  sizes       {analysis.number_of_sizes:,} different, height x width: "
        + ", ".join(f"{each['value']} {each['count']:,}" for each in analysis.sizes[:4])
    )
    if analysis.channels is not None:
        mean, std = (" ".join(f"{value:.4f}" for value in analysis.channels[name]) for name in ("mean", "std"))
        say(f"  channels    mean {mean}, standard deviation {std}")
    found = analysis.duplicates
    for words, of in (("duplicates ", found.exact), ("near ones  ", found.near)):
        across = (
            f": {of['across_classes']:,} across classes, {of['across_splits']:,} across splits" if of["groups"] else ""
        )
        say(f"  {words} {counted(of['groups'], 'group')} of {of['images']:,} pictures{across}")
    say(
        f"  unreadable  {analysis.unreadable:,}"
        + "".join(f"; {count:,} x {reason}" for reason, count in analysis.reasons.items())
    )
    say()
    describe = analysis.per_class
    print_table(
        ["pictures a class", *list(describe)[1:]],
        [
            [
                counted(len(analysis.classes), "class", "classes"),
                *(number(describe[name]) for name in list(describe)[1:]),
            ]
        ],
        numbers=7,
    )
    say()
    names = ("height", "width", "aspect", "bytes", "brightness", "contrast")
    print_table(
        ["each picture", "min", "median", "mean", "max", "stdev"],
        [_figure_row(name, analysis) for name in names],
        numbers=5,
    )
    _show_classes(analysis)
    _show_groups(analysis)
    for where, reason in analysis.broken[:_BROKEN]:
        say(f"unreadable: {where}: {reason}")
    if analysis.unreadable > _BROKEN:
        say(f"... and {analysis.unreadable - _BROKEN:,} more")


def _figure_row(name: str, analysis: ImageAnalysis) -> list[str]:
    of = analysis.figures[name]
    show = size if name == "bytes" else number
    return [
        name,
        *(show(value) for value in (of["min"], of["quantiles"].get("0.5"), of["mean"], of["max"], of["stdev"])),
    ]


def _show_classes(analysis: ImageAnalysis) -> None:
    classes = analysis.classes
    say()
    shown = classes if len(classes) <= _CLASSES else [*classes[: _CLASSES // 2], *classes[-_CLASSES // 2 :]]
    top = max((each.images for each in classes), default=0) or 1
    rows = [["█" * round(30 * each.images / top), each.name or "(no class)", f"{each.images:,}"] for each in shown]
    print_table(["class", "", "pictures"], [[name, bar, count] for bar, name, count in rows], numbers=1)
    if len(classes) > len(shown):
        say(f"... the {_CLASSES // 2} largest and the {_CLASSES // 2} smallest of {len(classes):,}")
    bands = analysis.bands
    if len(bands) > 1:
        say()
        rows = [
            [
                str(band),
                f"{band.classes:,}",
                share(band.classes, len(classes)),
                f"{band.images:,}",
            ]
            for band in bands
        ]
        print_table(["classes of so many pictures", "classes", "share", "pictures"], rows, numbers=3)
    say()


def _show_groups(analysis: ImageAnalysis) -> None:
    groups = analysis.duplicates.groups
    for group in groups[:_GROUPS]:
        kind = "same bytes" if group.distance is None else f"near ({counted(group.distance, 'bit')})"
        marks = [
            words
            for words, on in (("different classes", group.across_classes), ("different splits", group.across_splits))
            if on
        ]
        ids = ", ".join(each.id for each in group.pictures[:4]) + (
            f" and {group.size - 4:,} more" if group.size > 4 else ""
        )
        say(f"{kind}: {ids}{' -- ' if marks else ''}{', '.join(marks)}")
    more = analysis.duplicates.exact["groups"] + analysis.duplicates.near["groups"] - len(groups[:_GROUPS])
    if more > 0:
        say(f"... and about {more:,} more groups; --json lists {len(groups)}")
