from __future__ import annotations

import pytest

from firesteel.errors import ConfigError
from firesteel.tables.options import TableOptions, check_reading


@pytest.mark.parametrize(
    ("kind", "option", "said"),
    [
        ("parquet", "delimiter", "delimiter is for csv and tsv; this is parquet"),
        ("sql", "header", "header is for csv and tsv; this is a query"),
        ("table", "charset", "charset is for csv and tsv and json; this is a table of Spark's catalogue"),
        ("rows", "multiline", "multiline is for csv and tsv and json; this is a DataFrame"),
        ("json", "quote", "quote is for csv and tsv; this is json"),
    ],
)
def test_reading_options_are_for_what_has_them(kind: str, option: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TableOptions.reading({"null_values": ["NA"], option: "x"}, kind)


def test_texts_have_all_and_everything_has_null_values() -> None:
    options = TableOptions.reading({"delimiter": ";", "header": False, "charset": "latin-1"}, "csv")
    assert (options.delimiter, options.header, options.charset) == (";", False, "iso8859-1")
    for kind in ("csv", "tsv", "json", "parquet", "sql", "table", "rows"):
        assert TableOptions.reading({"null_values": ["NA"]}, kind).null_values == ("NA",)
        check_reading(["label", "transform"], kind)


def test_other_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="no option 'label'"):
        TableOptions.reading({"label": "x"}, "csv")
