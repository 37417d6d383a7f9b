"""Charts: shapes are SVG or CSS, words are HTML beside them, so that these stay readable at any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firesteel.analysis.report.elements import Element, element
from firesteel.analysis.report.wording import number, share

_CURVE_STEPS = 300


def bars(rows: Sequence[tuple[str, float, str]], *, labels: str = "label") -> Element:
    """Horizontal bars.

    Args:
        rows: (label, value >= 0, words behind the bar).
        labels: class of the labels' cells.
    """
    top = max((value for _, value, _ in rows), default=0) or 1
    return element(
        "div",
        [
            element(
                "div",
                element("span", name, class_=labels, title=name),
                element(
                    "span", element("i", style=f"width:{100 * value / top:.2f}%") if value else None, class_="track"
                ),
                element("span", words, class_="value"),
                class_="bar",
            )
            for name, value, words in rows
        ],
        class_="bars",
    )


def histogram(edges: Sequence[Any], counts: Sequence[int], ends: tuple[str, str], show: Any = number) -> Element | None:
    """Columns from the lowest edge to the highest; None without values.

    Args:
        edges: one more than counts; numbers or texts.
        counts: a column.
        ends: words below the first and the last column.
        show: turns an edge into words.
    """
    if not counts:
        return None
    top, width = max(counts) or 1, 100 / len(counts)
    columns = [
        element(
            "rect",
            element("title", f"{show(low)} to {show(high)}: {count:,}"),
            x=f"{i * width + 0.06 * width:.3f}", y=f"{40 - 38 * count / top - 0.6 * (count > 0):.3f}", width=f"{width * 0.88:.3f}",
            height=f"{38 * count / top + 0.6 * (count > 0):.3f}",
        )
        for i, (low, high, count) in enumerate(zip(edges, edges[1:], counts))
    ]  # fmt: skip
    return element(
        "figure",
        element("svg", columns, viewBox="0 0 100 40", preserveAspectRatio="none", role="img", aria_label="histogram"),
        element("figcaption", element("span", ends[0]), element("span", f"peak {max(counts):,}"), element("span", ends[1])),
        class_="histogram",
    )  # fmt: skip


def ranked(values: Sequence[int], what: str) -> Element:
    """Values from the largest to the smallest as one shape, for thousands of them; logarithmic where few are far larger.

    Args:
        values: at least one, in descending order.
        what: one of them is, in the plural: ``classes``.
    """
    heights = np.asarray(values, np.float64)
    top = max(1.0, float(heights[0]))
    logarithmic = top >= 30 * max(1.0, float(np.median(heights)))
    places = np.unique(np.linspace(0, len(heights) - 1, min(len(heights), _CURVE_STEPS)).round().astype(int))
    scaled = np.log10(heights + 1) / np.log10(top + 1) if logarithmic else heights / top
    points = ["0,40"]
    for place, after in zip(places, [*places[1:], len(heights)]):
        height = 40 - 39 * scaled[place]
        points += [f"{100 * x / len(heights):.3f},{height:.3f}" for x in (place, after)]
    marks = [10.0**power for power in range(int(np.log10(top)) + 1)] if logarithmic else [top / 2, top]
    lines = [
        element(
            "span", number(round(mark)), class_="mark", style=f"bottom:{97.5 * _share(mark, top, logarithmic):.2f}%"
        )
        for mark in marks
    ]
    return element(
        "figure",
        element(
            "div",
            element("svg", element("polygon", points=" ".join([*points, "100,40"])), viewBox="0 0 100 40",
                    preserveAspectRatio="none", role="img", aria_label=f"sizes of {len(values)} {what}"),
            lines,
            class_="plot",
        ),
        element("figcaption", element("span", "largest"),
                element("span", f"{len(values):,} {what} by size" + (", logarithmic" if logarithmic else "")),
                element("span", "smallest")),
        class_="ranked",
    )  # fmt: skip


def _share(mark: float, top: float, logarithmic: bool) -> float:
    return float(np.log10(mark + 1) / np.log10(top + 1)) if logarithmic else mark / top


def parts(rows: Sequence[tuple[str, int, str]]) -> Element:
    """How a whole is divided: one bar of all parts, and a legend with the share of each.

    Args:
        rows: (label, size, more words), in their natural order.
    """
    whole = sum(value for _, value, _ in rows)
    shades = [f"--shade:{round(100 * (1 - 0.82 * i / max(1, len(rows) - 1)))}%" for i in range(len(rows))]
    pieces = [
        element("i", style=f"flex-grow:{value};{shade}", title=f"{name}: {value:,}")
        for (name, value, _), shade in zip(rows, shades)
        if value
    ]
    legend = [
        element("tr", element("td", element("b", class_="swatch", style=shade), name), element("td", f"{value:,}", class_="n"),
                element("td", share(value, whole), class_="n"), element("td", words, class_="n"))
        for (name, value, words), shade in zip(rows, shades)
    ]  # fmt: skip
    return element("div", element("div", pieces, class_="parts"), element("table", legend, class_="legend"))
