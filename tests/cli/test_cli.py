"""The command line as a stranger meets it: exit status, JSON, errors of one to four lines, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firesteel.monitoring.events import read_events
from firesteel.storage import Place
from tests.conftest import picture

ROOT = Path(__file__).resolve().parents[2]


def firesteel(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=200, env=environment())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "firesteel.cli.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The message of a refusal, after checking its form."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    error = next(i for i, line in enumerate(lines) if line.startswith("Error: "))
    assert len(lines) - error <= 4
    assert "Traceback" not in done.stderr
    assert "\tat " not in done.stderr
    return "\n".join(lines[error:])


def test_the_whole_path_with_json(image_folder: Path, tmp_path: Path) -> None:
    """prepare, train, watch, evaluate and predict; standard output is one JSON object each time."""
    (image_folder / "dark" / "note.txt").write_text("not a picture")
    data, run = tmp_path / "data", tmp_path / "run"
    prepared = json.loads(firesteel("prepare", image_folder, data, "--json").stdout)
    assert {key: prepared[key] for key in ("reused", "read", "written", "dropped", "quarantined")} == {
        "reused": False, "read": 61, "written": 60, "dropped": 0, "quarantined": 1,
    }  # fmt: skip
    assert prepared["dataset"] == str(data)
    assert json.loads((data / "manifest.json").read_text())["splits"]["train"]["rows"] == 48
    assert json.loads(firesteel("prepare", image_folder, data, "--json").stdout)["reused"] is True
    trained = json.loads(
        firesteel(
            "train", data, run, "--model", "mlp:hidden=[8]", "--epochs", 15, "--json", "--learning-rate", 0.01
        ).stdout
    )
    assert {"run", "epochs", "steps", "seconds", "rows_per_second", "score", "best"} <= trained.keys()
    assert (trained["epochs"], trained["steps"]) == (15, 30)
    watched = json.loads(firesteel("watch", run, "--json").stdout)
    assert (watched["status"], watched["step"], watched["steps"]) == ("done", 30, 30)
    assert "done" in firesteel("watch", run, "--once").stdout
    evaluated = json.loads(firesteel("evaluate", run, data, "--json").stdout)
    assert {"rows", "loss", "accuracy", "top5", "precision", "recall", "f1", "classes", "confusion"} <= evaluated.keys()
    assert evaluated["accuracy"] == 1.0
    assert [entry["label"] for entry in evaluated["classes"]] == ["dark", "grey", "white"]
    shown = firesteel("evaluate", run, data).stdout
    assert "accuracy   1.0000" in shown
    assert "confusion matrix" in shown
    done = firesteel("predict", run, image_folder / "white" / "000.png", image_folder / "dark" / "note.txt", "--json")
    predicted = json.loads(done.stdout)
    assert done.returncode == 1
    assert predicted["failed"] == 1
    assert predicted["predictions"][0]["label"] == "white"
    assert "not a picture" in predicted["predictions"][1]["error"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["prepare", "/no/such/place", "{out}"], 1, "there is no source at /no/such/place"),
        (["prepare", "{tmp}/README.txt", "{out}"], 2, "cannot tell the format"),
        (["prepare", "{pictures}", "{out}", "--size", "big"], 2, "size must be HEIGHTxWIDTH"),
        (["prepare", "{pictures}", "{out}", "--size", "0x4"], 2, "1 to 4096 pixels"),
        (["prepare", "{pictures}", "{out}", "--split", "train=0.5,test=0.6"], 2, "must add up to 1"),
        (["prepare", "{pictures}", "{out}", "--split", "test=0.5,other=0.5"], 2, "a part named train"),
        (["prepare", "{pictures}", "{out}", "--format", "tiff"], 2, "format must be one of"),
        (["prepare", "{pictures}", "{out}", "--channels", "2"], 2, "channels"),
        (["prepare", "{pictures}", "{out}", "--min-per-class", "21"], 1, "no class is left"),
        (["prepare", "{pictures}", "{full}"], 1, "is not empty"),
        (["train", "{out}", "{tmp}/run"], 1, "there is no dataset at"),
        (["train", "{full}", "{tmp}/run"], 1, "is not a prepared dataset"),
        (["evaluate", "{tmp}/run", "{out}"], 1, "there is no run and no model at"),
        (["predict", "{full}", "{full}/a.txt"], 1, "there is no run and no model at"),
        (["watch", "{full}"], 1, "there is no run at"),
    ],
)
def test_a_mistake_gets_a_few_lines_and_leaves_nothing(
    arguments: list[str], status: int, message: str, image_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    places = {"tmp": tmp_path, "pictures": image_folder, "out": tmp_path / "out", "full": tmp_path / "full"}
    done = firesteel(*(argument.format(**places) for argument in arguments))
    assert message in refused(done, status)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--workers", "0"], 2, "workers must be a whole number, 1 or more, or two as in 2..8, got '0'"),
        (["--epochs", "0"], 2, "epochs: input should be greater than or equal to 1, got 0"),
        (["--model", "cn"], 1, "there is no model 'cn'"),
        (["--optimizer", "adm"], 2, "Did you mean 'adam'?"),
        (["--model", "mlp:hidden=20,50"], 2, "A list stands in brackets: hidden=[20,50]"),
        (["--master", "locl[2]"], 2, "Did you mean 'local[2]'?"),
        (["--master", "spark://nowhere.invalid:7077"], 1, "no Spark master answers at spark://nowhere.invalid:7077"),
    ],
)
def test_what_cannot_work_is_said_before_a_training_is_announced(
    arguments: list[str], status: int, message: str, dataset: Path, tmp_path: Path
) -> None:
    done = firesteel("train", dataset, tmp_path / "run", *arguments)
    assert message in refused(done, status)
    assert "Training" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_training_that_diverges_says_so(dataset: Path, tmp_path: Path) -> None:
    done = firesteel(
        "train", dataset, tmp_path / "run", "--model", "mlp", "--epochs", 3, "--optimizer", "sgd", "--learning-rate", 1e30,
    )  # fmt: skip
    assert "The training has diverged" in done.stderr
    assert "Next:" not in done.stderr


def test_a_factory_that_must_be_confirmed_is_named_when_the_training_ends(dataset: Path, tmp_path: Path) -> None:
    done = firesteel(
        "train", dataset, tmp_path / "run", "--model", "tests.networks:undeclared", "--epochs", 1, "--workers", 1
    )
    line = next(line for line in done.stderr.splitlines() if line.startswith("Next: firesteel "))
    assert line.endswith("--model tests.networks:undeclared")
    assert firesteel(*line.removeprefix("Next: firesteel ").split()).returncode == 0


def test_an_unknown_option_is_wrong_use() -> None:
    assert firesteel("train", "a", "b", "--epoch", "3").returncode == 2
    assert firesteel("fly").returncode == 2


def test_version_and_help() -> None:
    import firesteel as package

    assert firesteel("--version").stdout == f"firesteel {package.__version__}\n"
    for name in ("prepare", "augment", "train", "evaluate", "predict", "watch", "doctor"):
        assert f"firesteel {name}" in firesteel(name, "--help").stdout.replace("main.py", "firesteel").replace(
            "python -m firesteel.cli.main", "firesteel"
        )


def test_classes_of_any_name_stay_inside_the_dataset(tmp_path: Path) -> None:
    """Spaces, accents and characters that a terminal would obey are names like others."""
    names = ["two words", "Äpfel & Birnen", "..hidden?", "line\nbreak", "\x1b[31mred"]
    for number, name in enumerate(names):
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "source" / name / f"{i}.png").write_bytes(picture(number * 30, (6, 6), format="PNG", seed=i))
    done = firesteel("prepare", tmp_path / "source", tmp_path / "data", "--json")
    assert json.loads(done.stdout)["written"] == 20  # a name that begins with a dot is hidden
    firesteel("train", tmp_path / "data", tmp_path / "run", "--model", "mlp", "--epochs", 1)
    shown = firesteel("evaluate", tmp_path / "run", tmp_path / "data").stdout
    assert "two words" in shown
    assert "\x1b[31m" not in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run", "source"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_ends_its_workers_and_says_so(
    number: signal.Signals, status: int, dataset: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("train", dataset, tmp_path / "run", "--workers", 2, "--model", "mlp", "--epochs", 100000)
    pids = _workers(tmp_path / "run")
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(r"Stopped\. .* has a checkpoint of step [\d,]+: the same command with --resume goes on\.", error)
    assert "Traceback" not in error
    _gone(pids)
    assert not (tmp_path / "run" / "model").exists()
    state = json.loads(firesteel("watch", tmp_path / "run", "--json").stdout)
    assert state["status"] == "stopped"
    assert {worker["status"] for worker in state["workers"]} == {"ended"}


def test_a_run_whose_driver_was_killed_is_known_to_be_over(
    dataset: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("train", dataset, tmp_path / "run", "--workers", 2, "--model", "mlp", "--epochs", 100000)
    pids = _workers(tmp_path / "run")
    assert json.loads(firesteel("watch", tmp_path / "run", "--json").stdout)["status"] == "training"
    process.kill()
    process.communicate(timeout=60)
    _gone(pids)
    done = firesteel("watch", tmp_path / "run")
    assert done.returncode == 1
    assert f"the process that led this run ({process.pid}" in done.stdout
    assert "training" not in done.stdout


def test_a_stopped_preparation_leaves_nothing(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    source = tmp_path / "source" / "class"
    source.mkdir(parents=True)
    for i in range(1500):
        (source / f"{i}.png").write_bytes(picture(i % 200, (300, 300), format="PNG"))
    process = start("prepare", tmp_path / "source", tmp_path / "data", "--size", "64x64")
    _until((tmp_path / "data" / "preparing.json").exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert not (tmp_path / "data" / "manifest.json").exists()
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


@pytest.mark.spark
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_preparation_on_spark_that_is_stopped_leaves_nothing(
    number: signal.Signals, status: int, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Only the main process hears of it, as from a batch system: Spark's tasks must not write on."""
    source = tmp_path / "source" / "class"
    source.mkdir(parents=True)
    for i in range(1500):
        (source / f"{i}.png").write_bytes(picture(i % 200, (300, 300), format="PNG", seed=i))
    process = start("prepare", tmp_path / "source", tmp_path / "data", "--size", "64x64", "--master", "local[2]")
    progress = tmp_path / "data" / ".progress"
    _until(lambda: progress.exists() and any(path.name != "total" for path in progress.iterdir()))
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert error.splitlines()[-1].startswith("Stopped. Nothing was written")
    assert "Traceback" not in error
    time.sleep(2)
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


@pytest.mark.spark
def test_a_start_of_spark_can_be_stopped(
    image_folder: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A JVM whose launch is cut in the middle would never end."""
    process = start("prepare", image_folder, tmp_path / "data", "--master", "local[2]")
    _until(lambda: _children(process.pid))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error == "Stopped. Nothing was written; what was there before is there still.\n"


@pytest.mark.spark
def test_a_training_on_spark_that_is_stopped_leaves_no_process(
    dataset: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(
        "train", dataset, tmp_path / "run", "--workers", 2, "--model", "mlp", "--epochs", 100000, "--master", "local[2]"
    )
    pids = _workers(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped." in error
    assert "Traceback" not in error
    assert "py4j" not in error
    _gone(pids)
    assert json.loads(firesteel("watch", tmp_path / "run", "--json").stdout)["status"] == "stopped"


@pytest.mark.spark
def test_spark_speaks_only_when_asked(dataset: Path, tmp_path: Path) -> None:
    """A run on Spark prints nothing of Java's; with --json standard output is one object."""
    done = firesteel(
        "train", dataset, tmp_path / "run", "--model", "mlp", "--epochs", 1, "--master", "local[2]", "--json"
    )
    assert json.loads(done.stdout)["rows"] == 120
    for word in ("WARN", "incubator", "log4j", "\tat "):
        assert word not in done.stderr
    done = firesteel(
        "train", dataset, tmp_path / "bad", "--model", "tests.networks:Misbehaving:rank=1", "--master", "local[2]",
        "--batch-size", 4,
    )  # fmt: skip
    message = refused(done, 1)
    assert "worker 1 of 2" in message
    assert "this network is tired" in message


@pytest.mark.spark
def test_without_java_the_way_out_is_named(dataset: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command("train", dataset, tmp_path / "run", "--master", "local[2]"), capture_output=True, text=True, timeout=60,
        env=environment() | {"JAVA_HOME": str(tmp_path / "nowhere")}, cwd=ROOT,
    )  # fmt: skip
    assert "Spark needs Java 17 or newer" in refused(done, 1)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts commands in the background; what still runs when the test ends is ended."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def _workers(run: Path) -> list[int]:
    """Process ids of the two workers of a run, once both train."""

    def training() -> dict[int, int]:
        events = read_events(Place.of(run))
        stepping = {event["worker"] for event in events if event["event"] == "step"}
        return {
            event["worker"]: event["pid"]
            for event in events
            if event["event"] == "start" and event["worker"] in stepping
        }

    _until(lambda: len(training()) == 2)
    return list(training().values())


def _children(pid: int) -> list[int]:
    return [
        int(child) for path in Path(f"/proc/{pid}/task").iterdir() for child in (path / "children").read_text().split()
    ]


def _gone(pids: list[int]) -> None:
    def running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    _until(lambda: not any(running(pid) for pid in pids))


def _until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_pictures_are_exported_prepared_and_refused(tmp_path: Path) -> None:
    """export-images with labels by a pattern; the same again does nothing; wrong use says what to do."""
    source = tmp_path / "flat"
    source.mkdir()
    for number in range(10):
        name = f"{'cat' if number % 2 else 'dog'}.{number}"
        (source / f"{name}.jpg").write_bytes(picture(number, (8, 8), format="PNG" if number == 3 else "JPEG"))
    pattern = ("--label-pattern", r"([a-z]+)\.\d+\.jpg$")
    exported = json.loads(firesteel("export-images", source, tmp_path / "out", *pattern, "--json").stdout)
    assert {key: exported[key] for key in ("reused", "read", "written", "set_aside", "classes")} == {
        "reused": False, "read": 10, "written": 10, "set_aside": 0, "classes": 2,
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out" / "cat").iterdir())[:2] == ["cat.1.jpg", "cat.3.png"]
    again = firesteel("export-images", source, tmp_path / "out", *pattern)
    assert again.stdout.startswith(f"Nothing to do: {tmp_path / 'out'} holds this export already.")
    refused(firesteel("export-images", source, tmp_path / "out", "--label-pattern", r"(\w)"), 1)
    assert "--label-pattern" in refused(firesteel("prepare", source, tmp_path / "ds", "--label-pattern", "x"), 2)
    assert "no class folders" in refused(firesteel("prepare", source, tmp_path / "ds"), 1)
