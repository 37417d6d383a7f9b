"""Settings files: what is read from YAML and TOML, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.specs import parse_spec
from firesteel.training.settings_file import read_settings, spec_text

YAML = """\
# a run
dataset: data
epochs: 20
learning_rate: 1e-3
optimizer: {name: sgd, momentum: 0.9, nesterov: yes}
model:
  name: mlp
  hidden: [64, 32]
overwrite: no
threads: ~
"""

TOML = """\
# a run
dataset = "data"
epochs = 20
learning_rate = 1e-3
optimizer = {name = "sgd", momentum = 0.9, nesterov = true}
overwrite = false
[model]
name = "mlp"
hidden = [64, 32]
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a file and gives its path."""

    def write_one(text: str | bytes, name: str = "run.yaml") -> Path:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write_one


def test_yaml_and_toml_say_the_same(write: Any) -> None:
    expected = {
        "dataset": "data",
        "epochs": 20,
        "learning_rate": 0.001,
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
        "model": {"name": "mlp", "hidden": [64, 32]},
        "overwrite": False,
    }
    assert read_settings(write(TOML, "run.toml")) == expected
    for name in ("run.yaml", "RUN.YML"):
        assert read_settings(write(YAML, name)) == expected | {"threads": None}
    assert spec_text(expected["model"]) == "mlp:hidden=[64,32]"
    assert spec_text(expected["optimizer"]) == "sgd:momentum=0.9,nesterov=yes"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5e+2", -150.0), ("7", 7), ("-7", -7), ("0", 0),
        ("007", "007"), ("0x10", "0x10"), ("10:30", "10:30"), ("1_000", "1_000"), ("2026-01-31", "2026-01-31"), ("e5", "e5"), (".", "."),
        ("-x", "-x"), ("-e5", "-e5"), (".e5", ".e5"), ("1.e2", 100.0), ("00.5", "00.5"), ("yes", True), ("No", False), ("true", True), ("on", "on"), ("off", "off"), ("y", "y"), ("none", "none"), ("null", None), ("~", None), ("", None),
        ("'yes'", "yes"), ('"7"', "7"), (".inf", float("inf")), ("average:every=5,optimizer_state=yes", "average:every=5,optimizer_state=yes"),
        ("patience:evaluations=5", "patience:evaluations=5"), ("1 epoch", "1 epoch"), ("[a, 2 epochs]", ["a", "2 epochs"]),
    ],
)  # fmt: skip
def test_yaml_holds_no_surprises(text: str, value: Any, write: Any) -> None:
    """1e-3 is a number; what looks like a time, a date or an octal number is the text that it is."""
    assert read_settings(write(f"key: {text}\n")) == {"key": value}


def test_an_empty_file_holds_no_settings_and_a_byte_order_mark_does_no_harm(write: Any) -> None:
    assert read_settings(write("")) == read_settings(write("# nothing\n")) == read_settings(write("", "a.toml")) == {}
    assert read_settings(write(b"\xef\xbb\xbfepochs: 2\n")) == {"epochs": 2}


def test_what_is_written_once_may_be_used_again(write: Any) -> None:
    text = "model: &wide {name: mlp, hidden: [64]}\nother:\n  <<: *wide\n  name: mine:net\n"
    assert read_settings(write(text))["other"] == {"name": "mine:net", "hidden": [64]}
    with pytest.raises(ConfigError, match="neither text"):
        spec_text(read_settings(write("model: &a {name: mlp, hidden: *a}"))["model"])


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("epochs: 2\nepochs: 3\n", "run.yaml", "no sound YAML: line 2, column 1: 'epochs' is given twice"),
        ("model: {name: a, b: 1, b: 2}\n", "run.yml", "no sound YML: line 1, column 24: 'b' is given twice"),
        ("epochs: [1\n", "run.yaml", "no sound YAML: line 2"),
        ("epochs:\t2\n\tx: 1\n", "run.yaml", "no sound YAML: line"),
        ("a: !!python/object/apply:os.getcwd []\n", "run.yaml", "no sound YAML: line 1.*could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "run.yaml", "no sound YAML: line 2"),
        ("epochs = \n", "run.toml", "no sound TOML: Invalid value .at line 1"),
        ("epochs = 1\nepochs = 2\n", "run.toml", "no sound TOML: Cannot overwrite a value .at line 2"),
        (b"a: \xff\xfe\n", "run.yaml", "no sound YAML: 'utf-8' codec"),
        ("- 1\n- 2\n", "run.yaml", "must hold lines such as 'epochs: 20', got .1, 2."),
        ("20\n", "run.yaml", "got 20"),
        ("1: 2\n", "run.yaml", "got {1: 2}"),
        ("epochs: 2\n", "run.ini", "ends with .yaml, .yml or .toml, got .*run.ini"),
        ("epochs: 2\n", "run", "ends with .yaml"),
        ("[" * 3000, "run.yaml", "no sound YAML"),
    ],
)  # fmt: skip
def test_what_is_no_settings_file_is_said(text: str | bytes, name: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(write(text, name))
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name, message in (("missing.yaml", "No such file"), ("folder.yaml", "directory")):
        with pytest.raises(ConfigError, match=f"cannot read the settings file .*{name}.*{message}"):
            read_settings(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"momentum": 0.9}, "expected a name and options"),
        ({"name": "sgd:momentum=0.9", "nesterov": True}, "expected a name and options"),
        ({"name": 3}, "expected a name and options"),
        ({"name": "sgd", 1: 2}, "expected a name and options"),
        ({"name": "sgd", "start": object()}, "an option of sgd is neither"),
    ],
)
def test_what_is_no_nested_spec_is_said(value: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec_text(value)


@given(
    options=st.dictionaries(
        st.from_regex(r"[a-z_]{1,5}", fullmatch=True).filter(lambda key: key != "name"),
        st.booleans() | st.integers() | st.text(max_size=6) | st.lists(st.integers(), max_size=3),
        max_size=4,
    )
)
def test_a_nested_spec_is_the_same_as_its_text(options: dict[str, Any]) -> None:
    spec = parse_spec(spec_text({"name": "my_models:net", **options}))
    assert (spec.name, spec.options) == ("my_models:net", options)
