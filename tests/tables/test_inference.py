"""Types of columns that nobody has declared."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.tables.inference import schema_from_votes, votes_of
from firesteel.tables.parsing import count_wrong, parse_column
from firesteel.tables.schema import Column

TEXTS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["true", "No", "2016-02-30", "2016-02-29", "2016-02-29T10:00:00Z", "1e400", "-", "0x1", "١"]),
    st.text(min_size=1, max_size=5).filter(str.strip),
)


@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_what_is_counted_is_what_would_be_named(texts: list[str]) -> None:
    array = pa.array(texts, pa.string())
    for kind in ("integer", "long", "double", "boolean", "time"):
        free = {"nan": True, "infinite": True} if kind == "double" else {}
        column = Column.model_validate({"name": "x", "type": kind, **free})
        assert count_wrong(array, kind) == len(parse_column(array, column).invalid)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["0", "1", ""], "integer"),
        (["0", "3000000000"], "long"),
        (["0", "1.5", "nan"], "double"),
        (["true", "no"], "boolean"),
        (["2016-02-29", None], "time"),
        (["0", "x"], "string"),
        (["", None, "NA"], "string"),
    ],
)
def test_the_narrowest_type_that_all_values_have(texts: list[str | None], kind: str) -> None:
    parts = [votes_of({"x": pa.array([text], pa.string())}, ("NA",)) for text in texts]
    schema, votes = schema_from_votes(parts, ("x",))
    assert schema["x"].type == kind
    assert votes["x"].values == sum(text not in ("", None, "NA") for text in texts)
