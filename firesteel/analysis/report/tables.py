"""The page of a table."""

from __future__ import annotations

from typing import Any

from firesteel.analysis.report.charts import bars, histogram
from firesteel.analysis.report.elements import Child, Element, element
from firesteel.analysis.report.page import card, figures, page, section, table
from firesteel.analysis.report.wording import number, share
from firesteel.analysis.results import ColumnAnalysis, TableAnalysis

_BARS = 10
_TO_THE_MINUTE = 16


def table_page(analysis: TableAnalysis) -> str:
    """The page as text."""
    missing = sum(column.missing for column in analysis)
    invalid = sum(column.invalid for column in analysis)
    cells = analysis.rows * len(analysis.columns)
    name = analysis.source.rstrip("/").rpartition("/")[2] or analysis.source
    tiles = [
        (f"{analysis.rows:,}", "rows", False),
        (f"{len(analysis.columns):,}", "columns", False),
        (share(missing, cells), f"of the values are missing ({missing:,})", False),
        (f"{invalid:,}", "invalid values", invalid > 0),
    ]
    sections = [
        section("Columns", element("div", _overview(analysis), class_="card")),
        section("Each column", element("div", [_column(column, analysis.rows) for column in analysis], class_="cards")),
    ]
    return page(f"Analysis of {name}", analysis.source, tiles, sections, notes=analysis.notes, seconds=analysis.seconds)


def _overview(analysis: TableAnalysis) -> Element:
    rows: list[list[Child]] = [
        [column.name, column.type, _fill(column, analysis.rows), *_counts(column), *_main_figures(column)]
        for column in analysis
    ]
    header = ["column", "type", "", "valid", "missing", "invalid", "unique", "min", "mean", "max"]
    return table(header, rows, numbers=7)


def _counts(column: ColumnAnalysis) -> list[str]:
    return [f"{column.count:,}", f"{column.missing:,}", f"{column.invalid:,}"]


def _main_figures(column: ColumnAnalysis) -> list[str]:
    of = column.figures
    if column.type == "time":
        return [number(of["unique"]), *(time_words(of[name])[:_TO_THE_MINUTE] for name in ("min", "mean", "max"))]
    values = [number(of.get(name)) for name in ("unique", "min", "mean", "max")]
    return [f"≈ {values[0]}", *values[1:]] if "unique" in of.get("approximate", {}) else values


def time_words(text: str | None) -> str:
    """A time of an analysis, to the second."""
    return "–" if text is None else text.replace("T", " ").removesuffix("Z").partition(".")[0]


def _fill(column: ColumnAnalysis, rows: int) -> Element:
    """How much of a column is valid, as a bar: what is invalid is marked, what is missing is empty."""
    whole = max(1, rows)
    return element(
        "div",
        element("i", style=f"width:{100 * column.count / whole:.2f}%"),
        element("i", class_="bad", style=f"width:{100 * column.invalid / whole:.2f}%") if column.invalid else None,
        class_="fill",
        title=f"{column.count:,} valid, {column.missing:,} missing, {column.invalid:,} invalid",
    )


def _column(column: ColumnAnalysis, rows: int) -> Element:
    title = element("span", column.name, element("span", column.type, class_="badge"))
    counts = [("valid", f"{column.count:,} ({share(column.count, rows)})"), ("missing", f"{column.missing:,}")]
    if column.invalid:
        counts.append(("invalid", f"{column.invalid:,}: {', '.join(repr(each) for each in column.examples)}"))
    return card(title, *_chart(column), figures([*counts, *_rows(column)]), *_details(column))


def _chart(column: ColumnAnalysis) -> list[Child]:
    of = column.figures
    if "counts" in of:
        return [_frequent([{"value": value, "count": count} for value, count in of["counts"].items()], column.count)]
    if "true" in of:
        return [_frequent([{"value": name, "count": of[name]} for name in ("true", "false")], column.count)]
    if of.get("most_frequent") and of["most_frequent"][0]["count"] > 1:
        return [_frequent(of["most_frequent"], column.count)]
    if column.type == "time":
        ends = time_words(of["min"])[:_TO_THE_MINUTE], time_words(of["max"])[:_TO_THE_MINUTE]
        return [histogram(of["histogram"]["edges"], of["histogram"]["counts"], ends, time_words)]
    lengths = of.get("length", {})
    shown = of if "histogram" in of else lengths
    if not shown or not shown["histogram"]["counts"]:
        return []
    words = element("p", "lengths", class_="soft small") if shown is lengths else None
    chart = shown["histogram"]
    return [words, histogram(chart["edges"], chart["counts"], (number(shown["min"]), number(shown["max"])))]


def _frequent(rows: list[dict[str, Any]], whole: int) -> Element:
    rows = sorted(rows, key=lambda row: -row["count"])
    shown = bars([(row["value"], row["count"], share(row["count"], whole)) for row in rows[:_BARS]])
    return element("figure", shown)


def _rows(column: ColumnAnalysis) -> list[tuple[str, str]]:
    """The figures as (name, words)."""
    of, rows = column.figures, []
    approximate = of.get("approximate", {})
    for name in ("unique", "min", "max", "mean", "stdev", "stdev_s", "variance", "total", "zeros", "negatives", "positives",
                 "count_min", "count_max", "nan", "infinite", "empty", "blank", "numeric", "alphabetic", "word", "zero_length",
                 "one_length", "null_elements"):  # fmt: skip
        if name in of:
            mark = "≈ " if name in approximate else ""
            value = (
                time_words(of[name]) if name in ("min", "max", "mean") and column.type == "time" else number(of[name])
            )
            rows.append((_NAMES.get(name, name), mark + value))
    for part, words in (("length", "length"), ("elements", "elements")):
        if part in of:
            rows += [(f"{words}: {name}", number(of[part].get(name))) for name in ("min", "max", "mean", "stdev")]
    return rows


_NAMES = {
    "stdev": "standard deviation", "stdev_s": "standard deviation, s", "count_min": "times min", "count_max": "times max",
    "nan": "NaN", "blank": "only whitespace", "numeric": "read as numbers", "alphabetic": "only letters",
    "word": "only a-z, 0-9, _", "zero_length": "of length 0", "one_length": "of length 1", "null_elements": "null elements",
}  # fmt: skip


def _details(column: ColumnAnalysis) -> list[Child]:
    of = column.figures
    found: list[Child] = []
    if of.get("quantiles"):
        mark = "≈ " if "quantiles" in of.get("approximate", {}) else ""
        show = time_words if column.type == "time" else number
        rows = figures((name, mark + show(value)) for name, value in of["quantiles"].items())
        found.append(element("details", element("summary", "quantiles"), rows))
    if of.get("approximate"):
        words = [
            element("p", f"≈ {name.replace('_', ' ')}: {error}", class_="soft small")
            for name, error in of["approximate"].items()
        ]
        found.append(element("details", element("summary", "≈ approximate figures"), words))
    return found
