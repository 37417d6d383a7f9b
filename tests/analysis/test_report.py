"""Pages: well-formed, need nothing else, and show no name as markup."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path

import pyarrow as pa
import pytest

import firesteel
from firesteel.analysis.report.charts import histogram, parts, ranked
from firesteel.analysis.report.elements import element
from firesteel.analysis.report.elements import html as as_html
from firesteel.analysis.report.wording import number, share, size
from firesteel.analysis.results import TableAnalysis
from firesteel.analysis.tables import TableColumn, summarise
from tests.conftest import picture

EVIL = "<script>alert('x')</script>&\x00\ud800"


class Nesting(html.parser.HTMLParser):
    """Fails if an element is closed that is not open, and collects what refers to something else."""

    VOID = frozenset(("meta", "img", "br", "link", "hr", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "data", "xlink:href")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(page: str) -> Nesting:
    """The page, after checking its form."""
    nesting = Nesting()
    nesting.feed(page)
    nesting.close()
    assert nesting.open == []
    assert "script" not in nesting.tags
    assert all(each.startswith("data:image/jpeg;base64,") for each in nesting.references)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.encode("utf-8")
    return nesting


def test_the_page_of_pictures_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    for name in ("<script>alert(1)<", "b & c", 'quote"'):
        (tmp_path / name).mkdir()
        for seed in range(3):
            (tmp_path / name / f"{seed}<b>.png").write_bytes(picture(100, (10, 12), format="PNG", seed=seed))
    (tmp_path / "b & c" / "<img src=x>.jpg").write_bytes(b"no")
    page = firesteel.analyze(tmp_path, engine="local").to_html()
    nesting = checked(page)
    assert {"svg", "img", "table", "figure"} <= nesting.tags
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "<script>" not in page


def test_the_page_of_a_table_shows_every_type_and_escapes_names_and_values() -> None:
    columns = [
        TableColumn(EVIL, "string", field="name"),
        *(TableColumn(kind, kind) for kind in ("double", "boolean", "bytes", "date", "array", "struct", "other")),
    ]
    arrays = [
        pa.array(["<b>", "<b>"]), pa.array([1.5, None]), pa.array([True, None]), pa.array([b"x", None]),
        pa.array([0, None], pa.date32()), pa.array([[1], None]), pa.array([{"a": 1}, None]), pa.array([None, None]),
    ]  # fmt: skip
    summary = summarise(
        columns, [pa.RecordBatch.from_arrays(arrays, names=[column.field or column.name for column in columns])]
    )
    page = TableAnalysis.of(summary, EVIL, ["a note <i>"], 1.0).to_html()
    checked(page)
    assert "&lt;script&gt;" in page
    assert "\\x00" in page
    for kind in ("double", "boolean", "bytes", "array", "struct", "other"):
        assert kind in page


def test_an_empty_table_has_a_page() -> None:
    checked(
        TableAnalysis.of(
            summarise([TableColumn("x", "double"), TableColumn("y", "string")], []), "empty", [], 0.0
        ).to_html()
    )


def test_elements_are_escaped_by_construction() -> None:
    assert as_html(element("p", "a<b", element("i", "&"), "c", title='"', class_="x")) == (
        '<!doctype html>\n<p title="&quot;" class="x">a&lt;b<i>&amp;</i>c</p>\n'
    )


def test_charts_of_thousands_of_classes_are_small() -> None:
    page = as_html(ranked([100_000 // (i + 1) for i in range(5000)], "classes"))
    assert "5,000 classes by size, logarithmic" in page
    assert len(page) < 30_000
    assert histogram([], [], ("", "")) is None
    assert "50 %" in as_html(parts([("1 to 9", 2, "x"), ("10 to 99", 2, "y")])).replace("50.0", "50")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (12345, "12,345"), (0.1, "0.1"), (-100.093, "-100.1"), (1e-9, "1e-09"), (3.0, "3"), (None, "–"), (2**70, "1.181e+21"), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_read_well(value: float | None, words: str) -> None:
    assert number(value) == words


def test_shares_and_sizes_read_well() -> None:
    assert [share(part, 1000) for part in (0, 0.5, 1, 999.9, 1000)] == ["0 %", "<0.1 %", "0.1 %", ">99.9 %", "100.0 %"]
    assert [size(value) for value in (None, 999, 1500, 2.5e9)] == ["–", "999 B", "1.5 kB", "2.5 GB"]
