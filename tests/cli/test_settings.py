"""``--settings``: a file instead of options, for whatever command declares it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
import typer
from typer.testing import CliRunner

from firesteel.cli.settings import SettingsCommand, SettingsFile
from tests.cli.test_cli import ROOT, firesteel, refused

app = typer.Typer()


@app.command(cls=SettingsCommand)
def command(
    dataset: str,
    run: str,
    epochs: int = 10,
    learning_rate: float = 0.001,
    workers: Optional[int] = None,  # noqa: UP045 (both spellings are found in commands)
    model: str = "cnn",
    scratch: str | None = None,
    stop: Annotated[list[str], typer.Option()] = [],  # noqa: B006
    sync: Annotated[list[str] | None, typer.Option("--sync")] = None,
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    shuffle: bool = True,
    settings: SettingsFile = None,
) -> None:
    """Prints what it was given."""
    typer.echo(json.dumps({key: value for key, value in locals().items() if key != "settings"}))


DEFAULTS: dict[str, Any] = {
    "epochs": 10, "learning_rate": 0.001, "workers": None, "model": "cnn", "scratch": None, "stop": [], "sync": None,
    "device": "cpu", "overwrite": False, "as_json": False, "shuffle": True,
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes a settings file and gives its path."""

    def write(text: str, name: str = "run.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def given(*arguments: str) -> dict[str, Any]:
    """What the command was given, without the defaults."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {key: value for key, value in json.loads(done.stdout).items() if DEFAULTS.get(key, "") != value}


def message(*arguments: str) -> str:
    """The refusal of what the command was given."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 2
    assert done.stdout == ""
    return " ".join(done.stderr.split())


ALL = """\
dataset: data
run: 7
epochs: 3
learning-rate: 1e-2
workers: 2
model: {name: mlp, hidden: [64, 32]}
stop:
  - time:minutes=30
  - {name: patience, evaluations: 5}
sync: none
device: cuda
overwrite: yes
json: true
shuffle: no
"""


def test_a_file_holds_anything_that_the_command_takes(file: Any) -> None:
    assert given("--settings", file(ALL)) == {
        "dataset": "data", "run": "7", "epochs": 3, "learning_rate": 0.01, "workers": 2, "model": "mlp:hidden=[64,32]",
        "stop": ["time:minutes=30", "patience:evaluations=5"], "sync": ["none"], "device": "cuda", "overwrite": True,
        "as_json": True, "shuffle": False,
    }  # fmt: skip


def test_the_command_line_goes_before_the_file_also_where_it_repeats_a_default(file: Any) -> None:
    before = given("--settings", file(ALL))
    after = given(
        "d", "r", "--epochs", "10", "--learning-rate", "0.5", "--stop", "steps:maximum=5", "--shuffle",
        "--settings", file(ALL),
    )  # fmt: skip
    changed = {"dataset": "d", "run": "r", "learning_rate": 0.5, "stop": ["steps:maximum=5"]}
    kept = {key: value for key, value in before.items() if key not in ("epochs", "shuffle")}
    assert after == kept | changed


def test_an_argument_fills_what_the_file_does_not_name(file: Any) -> None:
    assert given("--settings", file("dataset: data"), "r") == {"dataset": "data", "run": "r"}
    assert given("r", "--epochs", "3", "--settings", file("dataset: data")) == {
        "dataset": "data",
        "run": "r",
        "epochs": 3,
    }
    assert given("--settings", file("run: runs/1"), "d") == {"dataset": "d", "run": "runs/1"}
    assert given("--settings", file("epochs: 2"), "d", "r") == {"dataset": "d", "run": "r", "epochs": 2}
    assert "names dataset and run already" in message("--settings", file("dataset: d\nrun: r"), "x")
    assert "missing argument 'run'" in message("--settings", file("dataset: d")).lower()
    assert "missing argument 'run'" in message("--settings", file("epochs: 2"), "d").lower()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch: 3", "there is no setting 'epoch'. Did you mean 'epochs'?"),
        ("learning-rat: 3", "there is no setting 'learning-rat'. Did you mean 'learning_rate'?"),
        ("zzz: 3", "There are dataset, run, epochs, learning_rate,"),
        ("as_json: yes", "there is no setting 'as_json'"),
        ("settings: other.yaml", "there is no setting 'settings'"),
        ("help: yes", "there is no setting 'help'"),
        ("epochs: ten", "epochs: expected a whole number, got 'ten'."),
        ("epochs: 2.5", "epochs: expected a whole number, got 2.5."),
        ("epochs: yes", "epochs: expected a whole number, got yes."),
        ("epochs: [1]", "epochs: expected a whole number, got [1]."),
        ("epochs: {name: 1}", "epochs: expected a whole number, got {'name': 1}."),
        ("epochs:", "epochs: expected a value, got nothing. Leave the line out"),
        ("dataset:", "dataset: expected a value, got nothing."),
        ("learning_rate: fast", "learning_rate: expected a number, got 'fast'."),
        ("learning_rate: no", "learning_rate: expected a number, got no."),
        ("workers: many", "workers: expected a whole number, got 'many'."),
        ("overwrite: 1", "overwrite: expected yes or no, got 1."),
        ("overwrite: 'yes'", "overwrite: expected yes or no, got 'yes'."),
        ("model: no", "model: expected a text; quotation marks make it one, got no."),
        ("scratch: 1.50", "scratch: expected a text; quotation marks make it one, got 1.5."),
        ("model: [mlp]", "model: expected a text; quotation marks make it one, got ['mlp']."),
        ("model: {nam: mlp}", "model: expected a name and options, as in {name: sgd, momentum: 0.9}, got {'nam': 'mlp'}"),
        ("stop: [1.5]", "stop: expected a text"),
        ("learning-rate: 1\nlearning_rate: 1", "learning_rate is given twice, with - and with _."),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_its_name(line: str, expected: str, file: Any) -> None:
    path = file(line)
    assert f"Error: {path}: " in message("a", "b", "--settings", path)
    assert expected in message("a", "b", "--settings", path)


def test_nothing_for_an_option_without_a_default_is_its_default(file: Any) -> None:
    assert given("a", "b", "--settings", file("workers: ~\nscratch:\nsync: null\n")) == {"dataset": "a", "run": "b"}


def test_help_is_given_whatever_the_file_holds(file: Any) -> None:
    done = CliRunner().invoke(app, ["--settings", file("zzz: 1"), "--help"])
    assert done.exit_code == 0
    assert "--settings" in done.stdout


def test_a_training_from_a_file_is_the_same_as_from_options(dataset: Path, tmp_path: Path, file: Any) -> None:
    """TOML, and with two options of the command line before it: the jobs are equal."""
    text = 'epochs = 9\nseed = 3\noptimizer = {name = "sgd", momentum = 0.9}\nmemory-mb = 64\ntimeout = 60\n'
    path = file(f'dataset = "{dataset}"\n{text}[model]\nname = "mlp"\nhidden = [8]\n', "run.toml")
    done = firesteel("train", "--settings", path, tmp_path / "one", "--epochs", 1, "--seed", 0, "--json")
    assert json.loads(done.stdout)["epochs"] == 1
    firesteel(
        "train", dataset, tmp_path / "other", "--epochs", 1, "--optimizer", "sgd:momentum=0.9", "--memory-mb", 64,
        "--timeout", 60, "--model", "mlp:hidden=[8]",
    )  # fmt: skip
    assert (tmp_path / "one" / "job.json").read_text() == (tmp_path / "other" / "job.json").read_text()
    done = firesteel("train", dataset, tmp_path / "third", "--settings", file("epoch: 3"))
    assert "run.yaml: there is no setting 'epoch'. Did you mean 'epochs'?" in refused(done, 2)
    assert not (tmp_path / "third").exists()


def test_what_the_documentation_shows_is_read(dataset: Path, tmp_path: Path) -> None:
    """The file of docs/getting-started.md, with a shorter training."""
    text = (ROOT / "docs" / "getting-started.md").read_text()
    (tmp_path / "run.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    done = firesteel("train", "--settings", "run.yaml", "--epochs", 1, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    assert (job["epochs"], job["learning_rate"], job["model"]["options"]) == (1, 0.001, {"hidden": [64, 32]})
    assert job["optimizer"] == {"name": "sgd", "options": {"momentum": 0.9}}
    done = firesteel("train", "dataset", "other", "--settings", "run.yaml", "--epochs", 1, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["run"] == str(tmp_path / "other")
    (tmp_path / "run.yaml").write_text("epoch: 1\n")
    done = firesteel("train", "dataset", "third", "--settings", "run.yaml", cwd=tmp_path)
    assert refused(done, 2) in text
