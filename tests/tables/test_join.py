"""Joins without data: the columns that come out, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from firesteel.errors import ConfigError
from firesteel.tables.join import Join
from firesteel.tables.schema import Schema

LEFT = Schema.parse("id integer, name string, type categorical(A|B), xs long[]")
RIGHT = Schema.parse("key long, name string, type categorical(B|C), y double")


def test_the_columns_that_come_out() -> None:
    assert str(Join({"id": "key"}, suffix="_r").schema_after(LEFT, RIGHT)) == (
        "id long, name string, type categorical(A|B), xs long[], name_r string, type_r categorical(B|C), y double"
    )
    assert str(Join(["name", "type"]).schema_after(LEFT, RIGHT)) == (
        "name string, type categorical(A|B|C), id integer, xs long[], key long, y double"
    )
    assert Join("name") == Join(["name"]) == Join({"name": "name"}, "inner")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "name"}, r"both tables have a column 'type'.*suffix='_right' makes 'type_right'"),
        ({"on": "nam"}, "there is no column 'nam'.*Did you mean 'name'"),
        ({"on": {"id": "kex"}}, "there is no column 'kex'"),
        ({"on": {"id": "y"}}, "key 'id' is integer on the left and 'y' double on the right"),
        ({"on": {"xs": "y"}}, "column 'xs' holds sequences"),
        ({"on": []}, "at least one column that must be equal"),
        ({"on": "name", "how": "outer"}, "how: Input should be 'inner', 'left', 'right' or 'full', got 'outer'"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Join(**arguments).schema_after(LEFT, RIGHT)


def test_a_suffix_that_does_not_help_is_said() -> None:
    with pytest.raises(ConfigError, match="column 'name_r' would be there twice"):
        Join({"id": "key"}, suffix="_r").schema_after(LEFT.string("name_r"), RIGHT)
