"""Schemas: their text and file forms are one thing, and what is no schema is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.documents import dump_yaml, parse_yaml
from firesteel.errors import ConfigError
from firesteel.tables.schema import TYPES, Column, Schema

STORMS = (
    Schema()
    .time("datetime", format="yyyyMMdd-HHmm")
    .string("severity", "location", pattern=".+")
    .double("lat", min=-90, max=90)
    .double("lon", nan=True, infinite=True)
    .integer("deaths", min=0)
    .long("id")
    .boolean("seen")
    .bytes("photo")
    .categorical("type", ["TOR", "WIND", "HAIL"])
)


def test_a_builder_and_a_file_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "storms.yaml"
    file.write_text(STORMS.to_yaml())
    assert Schema.parse(str(file)) == Schema.parse(file) == STORMS
    assert "lat: {type: double, min: -90.0, max: 90.0}" in file.read_text()
    assert "seen: boolean" in file.read_text()
    assert Schema.of(STORMS.to_mapping()) == STORMS
    assert Schema.model_validate_json(STORMS.model_dump_json()) == STORMS


def test_the_text_form() -> None:
    text = "datetime time(yyyy-MM-dd, HH:mm), `wind speed` double, type categorical(TOR|WIND, strong|HAIL), n integer"
    schema = Schema.parse(text)
    assert schema.names == ("datetime", "wind speed", "type", "n")
    assert schema["datetime"].format == "yyyy-MM-dd, HH:mm"
    assert schema["type"].values == ("TOR", "WIND, strong", "HAIL")
    assert str(schema) == text
    assert Schema.parse(schema) is schema
    assert len(schema) == 4
    assert "n" in schema
    assert [column.is_numeric for column in schema.each()] == [False, True, False, True]


def test_sequences_are_written_behind_the_type() -> None:
    schema = Schema.parse("a double[], c categorical[](A|B), t time[](yyyy)")
    assert [column.sequence for column in schema.each()] == [True, True, True]
    assert not schema["a"].is_numeric
    assert str(schema) == "a double[], c categorical[](A|B), t time[](yyyy)"
    assert schema.to_mapping()["a"] == "double[]"
    assert Schema.of(parse_yaml(schema.to_yaml())) == schema
    with pytest.raises(ConfigError, match="a double column has no 'sequence'"):
        Schema.of({"a": {"type": "double", "sequence": True}})


def test_the_values_of_a_class_named_no_stay_texts() -> None:
    """YAML reads a bare no as a truth value: what is written must be quoted."""
    schema = Schema().categorical("answer", ["yes", "no", "7", "~", "1e3"])
    assert Schema.of(parse_yaml(schema.to_yaml())) == schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME TYPE"),
        ("lat", "expected NAME TYPE, as in .* got 'lat'"),
        ("lat duoble", "column lat: type must be one of string, .* got 'duoble'. Did you mean 'double'?"),
        ("lat double, lat double", "column 'lat' is there twice"),
        ("type categorical", "column type: a categorical column needs its values"),
        ("type categorical(A|A)", "column type: values must differ and not be empty, got \\['A'\\]"),
        ("type categorical(A|)", "values must differ and not be empty"),
        ("lat double(yyyy)", "column lat: format is for time, not for double"),
    ],
)
def test_what_is_no_schema_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schema.parse(text)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least one column"),
        ({"a": 3}, "column a: expected a type"),
        ({"a": {"type": ["x"]}}, "column a: expected a type"),
        ({"a": {"type": "double", "mim": 0}}, "column a: a double column has no 'mim'. It has: min, max, nan, infinite. Did you mean 'min'?"),
        ({"a": {"type": "double", "min": "x"}}, "min: Input should be a valid number"),
        ({"a": {"type": "double", "min": 2, "max": 1}}, "column a: min must be at most max, got 2 and 1"),
        ({"a": {"type": "string", "min": 2}}, "column a: min is for integer and long and double, not for string"),
        ({"a": {"type": "string", "pattern": "("}}, "column a: pattern '\\('"),
        ({" a": "string"}, "a name without blanks"),
        ({"": "string"}, "a name without blanks"),
    ],
)  # fmt: skip
def test_what_is_no_column_is_said(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schema.of(columns)


def test_builder_mistakes_are_errors_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="'a' is there twice"):
        Schema().double("a").string("a")
    with pytest.raises(ConfigError, match="needs its values"):
        Schema().categorical("a", [])


def test_a_column_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no column 'lst'. There are datetime, .*Did you mean 'lat'\?"):
        STORMS["lst"]


def test_a_file_that_is_no_schema_is_said_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lat: duoble")
    with pytest.raises(ConfigError, match=r"a\.yaml: column lat: type must be"):
        Schema.parse(str(file))
    with pytest.raises(ConfigError, match=r"cannot read the schema file .*none\.json"):
        Schema.parse(str(tmp_path / "none.json"))


names = st.text(min_size=1, max_size=8).filter(lambda name: name == name.strip() and name.isprintable())
columns = names.flatmap(
    lambda name: st.sampled_from(TYPES).flatmap(
        lambda kind: st.builds(
            Column,
            name=st.just(name),
            type=st.just(kind),
            sequence=st.booleans(),
            values=st.lists(names, min_size=1, max_size=3, unique=True).map(tuple)
            if kind == "categorical"
            else st.just(()),
        )
    )
)


@given(st.lists(columns, min_size=1, max_size=5, unique_by=lambda column: column.name))
def test_any_schema_survives_its_file(found: list[Column]) -> None:
    schema = Schema(columns=tuple(found))
    assert Schema.of(parse_yaml(schema.to_yaml())) == schema
    assert Schema.of(schema.to_mapping()) == schema


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8))  # fmt: skip
def test_yaml_gives_back_what_was_written(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value
