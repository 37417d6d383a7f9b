"""The frame of every page: head, style, header with the main figures, sections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from firesteel._version import __version__
from firesteel.analysis.report.elements import Child, Element, element, html

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5c6878;--line:#dfe4ea;--paper:#f5f7f9;--card:#fff;--accent:#2a6fb5;
--warn:#a8530b;--warn-paper:#fff4e6;--track:#e9edf2}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#98a4b3;--line:#2d3642;--paper:#12171d;--card:#1a2129;
--accent:#6cabe8;--warn:#f0b26c;--warn-paper:#2e2417;--track:#28313c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:36px 0 12px}
h3{font-size:15px;margin:0 0 8px;overflow-wrap:anywhere}
p{margin:0 0 10px}
.soft{color:var(--soft)} .source{overflow-wrap:anywhere;margin-bottom:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;min-width:0}
.tile b{display:block;font-size:22px;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile span{color:var(--soft);font-size:13px}
.tile.warn{background:var(--warn-paper)} .tile.warn b{color:var(--warn)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:12px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:12px;align-items:start}
.notes{background:var(--warn-paper);border-radius:10px;padding:12px 16px 12px 34px;margin:14px 0 0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);font-size:13px;white-space:nowrap}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
td:last-child,th:last-child{padding-right:0}
.n{text-align:right;white-space:nowrap}
td.id{overflow-wrap:anywhere;min-width:180px}
td.name{overflow-wrap:anywhere;min-width:110px;max-width:280px}
.tall{max-height:420px;overflow:auto}
.figures{display:grid;grid-template-columns:auto 1fr;gap:1px 14px;font-size:14px;margin:0}
.figures dt{color:var(--soft);white-space:nowrap} .figures dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.badge{display:inline-block;font-size:12px;font-weight:500;color:var(--soft);border:1px solid var(--line);border-radius:20px;padding:0 8px;margin-left:8px;vertical-align:1px}
.badge.warn{color:var(--warn);border-color:currentColor}
figure{margin:0 0 10px} svg{display:block;width:100%;fill:var(--accent)}
.histogram svg{height:76px;border-bottom:1px solid var(--line)}
figcaption{display:flex;justify-content:space-between;gap:10px;color:var(--soft);font-size:12px;font-variant-numeric:tabular-nums;padding-top:3px}
.ranked svg{height:200px} .plot{position:relative;border-bottom:1px solid var(--line);margin-top:8px}
.mark{position:absolute;right:0;left:0;border-bottom:1px dashed var(--line);font-size:11px;line-height:14px;color:var(--soft);text-align:right;pointer-events:none}
.bars{display:grid;gap:4px}
.bar{display:grid;grid-template-columns:minmax(60px,min(40%,200px)) 1fr auto;gap:10px;align-items:center;font-size:14px}
.bar .label{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.track{background:var(--track);border-radius:3px;height:14px;display:block} .track i{display:block;height:14px;min-width:1px;background:var(--accent);border-radius:3px}
.bar .value{font-variant-numeric:tabular-nums;white-space:nowrap;text-align:right;min-width:44px}
.parts{display:flex;height:26px;gap:2px;border-radius:6px;overflow:hidden;margin-bottom:12px}
.parts i{min-width:4px;flex-basis:0} .parts i,.swatch{background:color-mix(in srgb,var(--accent) var(--shade),var(--track))}
.legend td:first-child{white-space:nowrap}
.swatch{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:8px;vertical-align:-1px}
.fill{display:flex;height:8px;border-radius:4px;overflow:hidden;background:var(--track);min-width:90px;margin-top:7px}
.fill i{display:block;background:var(--accent)} .fill i.bad{background:var(--warn)}
.sheet{display:flex;flex-wrap:wrap;gap:6px;align-items:flex-start}
.sheet figure{margin:0;width:112px} .sheet img,.pair img{display:block;max-width:112px;max-height:112px;border-radius:4px;background:var(--track)}
.pair figcaption{display:block;overflow-wrap:anywhere;font-size:12px}
.group{border-bottom:1px solid var(--line);padding:12px 0} .group:last-child{border-bottom:0;padding-bottom:0} .group:first-child{padding-top:0}
.pair{display:flex;flex-wrap:wrap;gap:14px;margin-top:8px} .pair figure{width:150px;margin:0}
.small{font-size:13px} footer{margin-top:36px;color:var(--soft);font-size:13px}
details{margin-top:8px} summary{cursor:pointer;color:var(--soft);font-size:13px}
"""


def page(
    title: str,
    source: str,
    tiles: Sequence[tuple[str, str, bool]],
    sections: Iterable[Child],
    *,
    notes: Sequence[str],
    seconds: float,
) -> str:
    """A whole page as text.

    Args:
        title: of it.
        source: what was analysed.
        tiles: (figure, words below it, whether it is a warning).
        sections: what follows.
        notes: what a person should know.
        seconds: that the analysis took.
    """
    return html(
        element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("title", title),
                element("style", STYLE),
            ),
            element(
                "body",
                element(
                    "main",
                    element("h1", title),
                    element("p", source, class_="soft source"),
                    element("div", [element("div", element("b", figure), element("span", words), class_="tile warn" if warn else "tile") for figure, words, warn in tiles], class_="tiles"),
                    element("ul", [element("li", note) for note in notes], class_="notes") if notes else None,
                    sections,
                    element("footer", f"Firesteel {__version__}, analysed in {seconds:.1f} s"),
                ),
            ),
            lang="en",
        )
    )  # fmt: skip


def section(title: str, *children: Child | Iterable[Child]) -> Element:
    """A part of a page."""
    return element("section", element("h2", title), *children)


def card(title: Child, *children: Child | Iterable[Child]) -> Element:
    """A box with a heading."""
    return element("div", element("h3", title), *children, class_="card")


def figures(rows: Iterable[tuple[str, str]]) -> Element:
    """Names and figures, one a line."""
    return element(
        "dl", [each for name, value in rows for each in (element("dt", name), element("dd", value))], class_="figures"
    )


def table(
    header: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: int = 0, names: int = 1, tall: bool = False
) -> Element:
    """A table that scrolls inside its box.

    Args:
        header: of the columns.
        rows: cells.
        numbers: so many columns at the end are numbers.
        names: so many columns at the beginning may be broken anywhere.
        tall: scroll also up and down.
    """
    first_number = len(header) - numbers

    def kind(i: int) -> str | None:
        return "n" if i >= first_number else "name" if i < names else None

    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [element("th", name, class_=kind(i)) for i, name in enumerate(header)])),
            element("tbody", [element("tr", [element("td", cell, class_=kind(i)) for i, cell in enumerate(row)]) for row in rows]),
        ),
        class_="scroll tall" if tall else "scroll",
    )  # fmt: skip
