"""Transform processes without data: what is checked before anything runs, and their form in files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.documents import parse_yaml
from firesteel.errors import ConfigError
from firesteel.tables.conditions import column
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Schema
from firesteel.tables.steps.columns import Drop
from firesteel.tables.steps.registry import FAMILIES, STEPS, required_and_optional

STORMS = TransformProcess(
    "datetime time(yyMMdd-HHmm), severity string, lat double, lon double, type categorical(TOR|WIND|HAIL), n integer, q long[]"
)


def test_a_process_is_built_step_by_step_and_never_changes() -> None:
    process = STORMS.select("lat", "lon", "type").categorical_to_integer("type")
    assert str(process.final_schema) == "lat double, lon double, type integer"
    assert [step.do for step in process.steps] == ["select", "categorical_to_integer"]
    assert STORMS.steps == ()
    assert process == STORMS.then({"do": "select", "columns": ["lat", "lon", "type"]}).categorical_to_integer(["type"])
    assert process.then(Drop(columns=("type",))) == process.drop("type")
    assert process == TransformProcess(STORMS.initial_schema, process.steps)


def test_every_step_is_a_method_with_its_documentation() -> None:
    for name, kind in STEPS.items():
        assert kind.__doc__
        assert kind.__doc__.splitlines()[0] in str(getattr(TransformProcess, name).__doc__)
        assert kind.positional is None or kind.positional in kind.model_fields
    assert sum(map(len, FAMILIES.values())) == len(STEPS)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"do": "drp"}, r"step 1 \(drp\): there is no step 'drp'. Did you mean 'drop'\?"),
    ({"columns": ["a"]}, r"step 1: a step looks like \{do: drop"),
    ({"do": "drop"}, r"step 1 \(drop\): columns is missing; needed are columns\."),
    ({"do": "drop", "colums": ["lat"]}, "step drop has no option 'colums'. It has: columns. Did you mean 'columns'"),
    ({"do": "drop", "columns": ["lst"]}, "there is no column 'lst'. There are datetime, .*Did you mean 'lat'"),
    ({"do": "drop", "columns": []}, "at least one column is needed"),
    ({"do": "drop", "columns": 5}, "columns: input should be a valid tuple, got 5"),
    ({"do": "drop", "columns": list(STORMS.initial_schema.names)}, "no column would be left"),
    ({"do": "select", "columns": ["lat", "lat"]}, "column 'lat' is there twice"),
    ({"do": "rename", "columns": {"lat": "lon"}}, "column 'lon' is there twice"),
    ({"do": "rename", "columns": {"lat": " x"}}, "a name without blanks around it"),
    ({"do": "duplicate", "columns": {"lat": "lon"}}, "there is a column 'lon' already"),
    ({"do": "add_constant", "into": "lat", "value": 1}, "there is a column 'lat' already"),
    ({"do": "add_constant", "into": "x", "value": None}, "null needs its type"),
    ({"do": "add_constant", "into": "x", "value": "a", "type": "long"}, "must be a number, got 'a'"),
    ({"do": "add_constant", "into": "x", "value": 2**31, "type": "integer"}, "a whole number of 32 bits"),
    ({"do": "add_constant", "into": "x", "value": "soon", "type": "time"}, "expected a time as in"),
    ({"do": "keep_rows", "where": {"column": "lat", "les": 3}}, "has one of less, at_most.*Did you mean 'less'"),
    ({"do": "keep_rows", "where": {"column": "lat"}}, "a condition on a column has one of"),
    ({"do": "keep_rows", "where": {"any": []}}, "'any' needs a list of conditions"),
    ({"do": "keep_rows", "where": {"some": []}}, "one of all, any, xor and not"),
    ({"do": "keep_rows", "where": {"column": "lat", "less": "x"}}, "compared with must be a number, got 'x'"),
    ({"do": "keep_rows", "where": {"column": "lat", "less": None}}, "ask {column: ..., is: missing}"),
    ({"do": "keep_rows", "where": {"column": "type", "less": "TOR"}}, "whose values have no order"),
    ({"do": "keep_rows", "where": {"column": "type", "equal": "TORR"}}, "'TORR' is no value of column 'type'.*Did you mean 'TOR'"),
    ({"do": "keep_rows", "where": {"column": "severity", "matches": "("}}, r"'\(' is no regular expression"),
    ({"do": "keep_rows", "where": {"column": "severity", "is": "nan"}}, "only double values can be nan"),
    ({"do": "keep_rows", "where": {"column": "severity", "is": "odd"}}, "'is' must be one of missing, invalid"),
    ({"do": "keep_rows", "where": {"column": "lat", "less": {"column": "severity"}}}, "they cannot be compared"),
    ({"do": "keep_rows", "where": {"column": "lat", "in": 3}}, "'in' needs a list of values"),
    ({"do": "maths", "columns": "severity", "operator": "add", "value": 1}, "'severity' is string, this needs integer or long or double.*cast"),
    ({"do": "maths", "columns": "lat", "operator": "ad", "value": 1}, "operator must be one of 'add', .*got 'ad'"),
    ({"do": "maths", "columns": "n", "operator": "add", "value": 2**40}, "does not fit into column 'n'"),
    ({"do": "maths", "columns": "q", "operator": "add", "value": 1}, "'q' holds sequences.*Put the step before to_sequence"),
    ({"do": "combine", "columns": "lat", "operator": "add", "into": "x"}, "needs two columns or more"),
    ({"do": "function", "columns": "lat", "function": "sin", "digits": 2}, "digits are for round"),
    ({"do": "bucketize", "columns": "lat", "edges": [2, 1]}, "edges must be numbers that rise"),
    ({"do": "bucketize", "columns": "lat", "edges": [1], "labels": ["a"]}, "1 edges make 2 intervals, got 1 labels"),
    ({"do": "normalize", "columns": "lat", "method": "min_max", "range": [1, 1]}, "range must rise"),
    ({"do": "normalize", "columns": "lat", "method": "min_max", "statistics": {"lon": {"min": 1}}}, "not one of the step's columns"),
    ({"do": "normalize", "columns": "lat", "method": "min_max", "statistics": {"lat": {"mim": 1}}}, "are min, max, mean, stdev, got 'mim'"),
    ({"do": "normalize", "columns": "lat", "method": "min_max", "statistics": {"lat": {"min": "x"}}}, "min of 'lat' must be a number"),
    ({"do": "fill_missing", "columns": "lat"}, "give value or statistic"),
    ({"do": "fill_missing", "columns": "type", "value": "X"}, "'X' is no value of column 'type'"),
    ({"do": "fill_missing", "columns": "type", "statistic": "mean"}, "'type' is categorical, this needs integer"),
    ({"do": "replace_where", "column": "lat", "where": {"column": "n", "less": 1}, "value": True}, "must be a number, got True"),
    ({"do": "copy_where", "column": "lat", "source": "n", "where": {"column": "n", "less": 1}}, "cast one of them"),
    ({"do": "cast", "columns": "lat", "to": "bytes"}, "double cannot become bytes"),
    ({"do": "cast", "columns": "datetime", "to": "boolean"}, "time cannot become boolean"),
    ({"do": "categorical_to_integer", "columns": "severity"}, "this needs categorical. Declare its values first"),
    ({"do": "string_to_categorical", "columns": "severity", "values": ["A", "A"]}, "values must differ"),
    ({"do": "from_one_hot", "columns": ["lat", "lon"], "into": "x", "values": ["a"]}, "2 columns need as many values, got 1"),
    ({"do": "integer_to_one_hot", "columns": "n", "min": 3, "max": 1}, "min must be at most max"),
    ({"do": "replace", "columns": "severity", "patterns": {"(a)": "$2"}}, "has 1 groups, so there is no \\$2"),
    ({"do": "replace", "columns": "severity", "patterns": {"a": "c\\"}}, "write .* for a backslash"),
    ({"do": "append", "columns": "severity"}, "give text"),
    ({"do": "map_values", "columns": "severity", "values": {}}, "values must map at least one text"),
    ({"do": "length", "columns": ["severity", "type"], "into": "n2"}, "into is for one column"),
    ({"do": "string_to_time", "columns": "severity", "format": "yyyy-mm-ddTHH"}, "'T' is no letter of Spark's datetime patterns"),
    ({"do": "string_to_time", "columns": "severity", "timezone": "Mars/Base"}, "'Mars/Base' is no time zone"),
    ({"do": "shift_time", "columns": "datetime", "amount": 1, "unit": "years"}, "unit must be one of"),
    ({"do": "derive_time", "column": "datetime", "parts": {"h": "our"}}, "parts.h must be one of 'year'"),
    ({"do": "derive_time", "column": "datetime", "parts": {"lat": "hour"}}, "there is a column 'lat' already"),
    ({"do": "group", "by": "type", "values": {}}, "values must name at least one new column"),
    ({"do": "group", "by": "type", "values": {"x": {"reduce": "sum"}}}, "'x': sum needs a column"),
    ({"do": "group", "by": "type", "values": {"x": {"reduce": "sum", "column": "severity"}}}, "'severity' is string"),
    ({"do": "group", "by": "type", "values": {"x": {"reduce": "first", "column": "lat"}}}, "first needs an order of the rows"),
    ({"do": "group", "by": "type", "order_by": ["n", "-lat"], "values": {"x": {"reduce": "first", "column": "lat"}}}, "rise by all columns"),
    ({"do": "group", "by": "type", "values": {"type": {"reduce": "rows"}}}, "column 'type' is there twice"),
    ({"do": "time_window", "time": "datetime", "size": "1 fortnight", "values": {"n": {"reduce": "rows"}}}, "a length of time looks like '30 minutes'"),
    ({"do": "time_window", "time": "datetime", "size": "1 hour", "every": "2 hours", "values": {"r": {"reduce": "rows"}}}, "every must be at most size"),
    ({"do": "moving", "order_by": "n", "rows": 0, "values": {"m": {"reduce": "rows"}}}, "rows must be at least 1"),
    ({"do": "to_sequence", "by": "type", "order_by": "n"}, "'q' holds sequences"),
    ({"do": "trim_sequence", "length": 0}, "length must be at least 1"),
    ({"do": "fit_sequence", "length": 3, "fill": {"lat": 1}}, "column 'lat' holds no sequences"),
    ({"do": "offset_sequence", "columns": "lat", "offset": 1}, "column 'lat' holds no sequences"),
    ({"do": "offset_sequence", "columns": "q", "offset": 0}, "a whole number other than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_a_mistake_is_said_with_the_number_and_the_name_of_its_step(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        STORMS.then(step)
    assert str(caught.value).startswith("step 1")
    assert len(str(caught.value).splitlines()) <= 4


def test_a_mistake_of_a_method_is_said_like_one_of_a_file() -> None:
    with pytest.raises(ConfigError, match=r"step 2 \(maths\): value is missing; needed are columns, operator, value"):
        STORMS.drop("q").maths("lat", operator="add")
    with pytest.raises(ConfigError, match="columns is given twice"):
        STORMS.drop("lat", columns=["lon"])
    with pytest.raises(ConfigError, match="add_constant takes arguments by name only: into, value, type"):
        STORMS.add_constant("x", 1)
    with pytest.raises(ConfigError, match=r"step 1 \(drop\): there is no column 'x'"):
        TransformProcess("a string", (Drop(columns=("x",)),))


def test_only_what_needs_other_rows_is_not_row_wise() -> None:
    rows = STORMS.drop_invalid().keep_rows(column("lat") > 3).one_hot("type").fill_missing("n", value=0)
    assert rows.is_row_wise
    assert not rows.drop("q").group("n", values={"r": {"reduce": "rows"}}).is_row_wise
    assert not rows.sorted_rank("lat", into="rank").is_row_wise
    assert not rows.split_sequence(3).is_row_wise
    assert not rows.drop("q").to_sequence("n", order_by="datetime").is_row_wise


def test_an_analysis_fills_in_what_steps_want() -> None:
    analysis = {"columns": {"lat": {"mean": 37.0, "stdev": 2.0, "min": 30, "max": 40}, "n": {"mean": 2.5}}}
    process = (
        STORMS.rename({"lat": "latitude"})
        .normalize("latitude", method="standardize")
        .fill_missing("n", statistic="mean")
    )
    assert process.unfilled() == {1: {"latitude": ("mean", "stdev")}, 2: {"n": ("mean",)}}
    full = process.with_analysis(analysis)
    assert full.unfilled() == {}
    assert full.steps[1].to_mapping()["statistics"] == {"latitude": {"mean": 37.0, "stdev": 2.0}}
    assert TransformProcess.of(parse_yaml(full.to_yaml())) == full
    with pytest.raises(ConfigError, match=r"step 2 \(normalize\): the analysis has no mean of column 'lat'"):
        process.with_analysis({"columns": {}})
    with pytest.raises(ConfigError, match="an analysis looks like"):
        process.with_analysis({"lat": {}})


def test_an_analysis_of_the_source_says_nothing_about_computed_columns() -> None:
    process = STORMS.maths("lat", operator="multiply", value=2).normalize("lat", method="subtract_mean")
    with pytest.raises(ConfigError, match=r"earlier steps have computed column 'lat'(.|\n)*filled"):
        process.with_analysis({"columns": {"lat": {"mean": 37.0}}})
    grouped = STORMS.group("type", values={"lat": {"reduce": "mean", "column": "lat"}}).normalize(
        "lat", method="subtract_mean"
    )
    with pytest.raises(ConfigError, match="earlier steps have computed column 'lat'"):
        grouped.with_analysis({"columns": {"lat": {"mean": 37.0}}})


def test_describe_shows_the_schema_after_each_step() -> None:
    lines = STORMS.select("lat", "type").maths("lat", operator="divide", value=2).describe().splitlines()
    assert lines[2:] == [
        "  1  select: columns=[lat, type]",
        "       lat double, type categorical(TOR|WIND|HAIL)",
        "  2  maths: columns=[lat], operator=divide, value=2",
        "       lat double, type categorical(TOR|WIND|HAIL)",
    ]


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_says_the_same_in_yaml_and_in_json(tmp_path: Path) -> None:
    process = STORMS.keep_rows((column("lat") < 40) & ~column("type").is_in("TOR")).drop("q")
    process.write(tmp_path / "p.yaml")
    (tmp_path / "p.json").write_text(json.dumps(process.to_mapping()))
    assert TransformProcess.read(tmp_path / "p.yaml") == TransformProcess.read(str(tmp_path / "p.json")) == process
    (tmp_path / "short.yaml").write_text("schema: a double, b string\nsteps:\n- {do: drop, columns: b}")
    assert str(TransformProcess.read(tmp_path / "short.yaml").final_schema) == "a double"
    (tmp_path / "bare.yaml").write_text("steps:\n- {do: drop, columns: b}")
    assert not TransformProcess.has_schema(tmp_path / "bare.yaml")
    assert TransformProcess.read(
        tmp_path / "bare.yaml", schema=Schema.parse("a double, b string")
    ).final_schema.names == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "the process names no schema"),
        ("schema: {a: duoble}", "column a: type must be"),
        ("schema: 5", "schema: expected columns"),
        ("schema: a double\nsteps: 3", "steps must be a list"),
        ("schema: a double\nstep: []", "a transform process has a schema and steps"),
        ("schema: a double\nsteps: [{do: drop, columns: b}]", r"step 1 \(drop\): there is no column 'b'"),
        ("schema: a double\nsteps: [drop]", "step 1: a step looks like"),
    ],
)
def test_what_is_no_process_is_said_with_the_name_of_the_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"p\.yaml: {message}"):
        TransformProcess.read(tmp_path / "p.yaml")


names = st.text(min_size=1, max_size=6).filter(lambda name: name == name.strip() and name.isprintable())
texts = st.text(max_size=6)
numbers = st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def processes(draw: Any) -> TransformProcess:
    """A process with steps that hold texts and numbers of any kind."""
    number, text, category, new = draw(st.lists(names, min_size=4, max_size=4, unique=True))
    values = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    schema = Schema().double(number).string(text).categorical(category, values)
    condition = draw(
        st.sampled_from([
            column(number) < draw(numbers), ~column(text).is_("missing"), column(category).is_in(*values),
            (column(text) == draw(texts)) ^ (column(number) >= 1), column(text).matches("a|b") | (column(text) != column(category)),
        ])
    )  # fmt: skip
    steps = [
        {"do": "keep_rows", "where": condition},
        {"do": "map_values", "columns": text, "values": draw(st.dictionaries(texts, texts, min_size=1, max_size=3))},
        {"do": "append", "columns": [text], "text": draw(texts) + "x"},
        {"do": "maths", "columns": [number], "operator": "add", "value": draw(numbers)},
        {"do": "replace_where", "column": number, "where": condition, "value": draw(numbers)},
        {"do": "normalize", "columns": number, "method": "min_max", "statistics": {number: {"min": draw(numbers), "max": draw(numbers)}}},
        {"do": "duplicate", "columns": {number: new}},
        {"do": "group", "by": category, "values": {"rows": {"reduce": "rows"}}},
    ]  # fmt: skip
    return TransformProcess(schema).then(*steps[: draw(st.integers(0, len(steps)))])


@given(processes())
def test_any_process_survives_its_file(process: TransformProcess) -> None:
    again = TransformProcess.of(parse_yaml(process.to_yaml()))
    assert again == process
    assert again.schemas == process.schemas
    assert TransformProcess.model_validate_json(process.model_dump_json()) == process
    assert TransformProcess.of(json.loads(json.dumps(process.to_mapping()))).to_yaml() == process.to_yaml()


def test_the_page_on_tables_lists_every_step_with_its_options() -> None:
    """What is required stands outside of brackets."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "transform-tables.md").read_text()
    rows = {
        line.split("`")[1]: line.split("|")[2] for line in page.splitlines() if re.match(r"\| `[a-z_0-9]+` \|", line)
    }
    assert list(rows) == list(STEPS)
    for name, kind in STEPS.items():
        required, optional = required_and_optional(kind)
        outside = re.sub(r"\[[^]]*\]", "", rows[name])
        assert all(re.search(rf"\b{field}\b", outside) for field in required), name
        assert all(re.search(rf"\b{field}\b", rows[name]) for field in optional if field != "statistics"), name


def test_steps_say_what_they_need() -> None:
    assert required_and_optional(STEPS["normalize"]) == (["columns", "method"], ["statistics", "range", "scale"])
