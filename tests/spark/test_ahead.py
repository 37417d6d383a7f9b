"""The process that imports while the JVM starts, and takes the place of the daemon that Spark then starts."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firesteel.errors import ConfigError
from firesteel.launch import Question
from firesteel.spark import daemon
from firesteel.spark.ahead import DaemonAhead, started_ahead

pytest.importorskip("pyspark")


@pytest.fixture
def ahead() -> Iterator[DaemonAhead]:
    with DaemonAhead() as process:
        yield process


def start_daemon(address: str, cwd: Path) -> subprocess.Popen[bytes]:
    """As the JVM starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", daemon.__name__, "pyspark.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=cwd, env={**os.environ, daemon.ADDRESS: address, "PYTHON_WORKER_FACTORY_SECRET": "secret"},
    )  # fmt: skip


def end(started: subprocess.Popen[bytes]) -> None:
    """As Spark ends its daemon."""
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.close()
    started.stdout.close()
    started.wait(timeout=10)


def port_of(started: subprocess.Popen[bytes]) -> int:
    """What Spark reads first from its daemon."""
    assert started.stdout is not None
    return int(struct.unpack("!i", started.stdout.read(4))[0])


def parents(pid: int) -> set[int]:
    """Processes above ``pid``."""
    found = set()
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.add(pid)
    return found


def fork_worker(port: int) -> int:
    """The process id of a worker that the daemon on this port forks."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        return int(struct.unpack("!i", connection.recv(4))[0])


def test_it_becomes_the_daemon_and_ends_with_it(ahead: DaemonAhead, tmp_path: Path) -> None:
    process = ahead._process
    started = start_daemon(ahead.address, tmp_path)
    port = port_of(started)
    assert not os.path.exists(ahead.address)
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(tmp_path)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        worker = struct.unpack("!i", connection.recv(4))[0]
        assert process.pid in parents(worker)
        assert started.pid not in parents(worker)
    end(started)
    process.wait(timeout=10)


def test_the_daemon_that_spark_started_ends_when_the_process_ahead_is_killed(
    ahead: DaemonAhead, tmp_path: Path
) -> None:
    started = start_daemon(ahead.address, tmp_path)
    port = port_of(started)
    fork_worker(port)
    ahead._process.kill()
    started.wait(timeout=10)  # Spark sees that its daemon is gone, and starts another one
    end(started)


@pytest.mark.parametrize("how", ["nobody there", "killed", "taken"])
def test_without_it_the_daemon_does_the_work_itself(how: str, tmp_path: Path) -> None:
    with DaemonAhead() as ahead:
        others = []
        if how == "killed":
            ahead._process.kill()
            ahead._process.wait()
        if how == "taken":  # by another executor on this machine
            others.append(start_daemon(ahead.address, tmp_path))
            port_of(others[0])
        started = start_daemon(str(tmp_path / "nobody") if how == "nobody there" else ahead.address, tmp_path)
        assert started.pid in parents(fork_worker(port_of(started)))
        for process in [started, *others]:
            end(process)


def test_it_leaves_nothing_when_it_is_not_wanted() -> None:
    began = time.monotonic()
    with DaemonAhead() as ahead:
        assert os.stat(os.path.dirname(ahead.address)).st_mode & 0o777 == 0o700
    assert ahead._process.returncode is not None
    assert not os.path.exists(os.path.dirname(ahead.address))
    assert time.monotonic() - began < 5  # it is not waited for while it imports


def test_it_ends_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent("""
            import os
            from firesteel.spark.ahead import DaemonAhead
            print(DaemonAhead()._process.pid, flush=True)
            os.kill(os.getpid(), 9)
        """)
    )
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60).stdout
    stat = Path(f"/proc/{int(said)}/stat")
    for _ in range(200):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the process ahead has outlived its driver")


def test_it_answers_what_only_torch_can_tell() -> None:
    job = {
        "dataset": "d", "fingerprint": "f", "model": "mlp:hidden=[8]", "input_shape": [1, 8, 8], "num_classes": 10,
        "optimizer": "sgd:momentum=-1",
    }  # fmt: skip
    with (
        DaemonAhead(Question("firesteel.training.trial:try_job", job)) as ahead,
        pytest.raises(ConfigError, match=r"sgd:momentum=-1: Invalid momentum"),
    ):
        ahead.answer()
    with DaemonAhead(Question("firesteel.training.trial:try_job", job | {"optimizer": "adam"})) as ahead:
        assert ahead.answer() is None
    with DaemonAhead() as ahead:
        ahead._process.kill()
        with pytest.raises(EOFError):
            ahead.answer()


@pytest.mark.parametrize(
    ("master", "conf", "environment"),
    [
        ("spark://host:7077", {}, {}),
        ("yarn", {}, {}),
        (None, {}, {"MASTER": "spark://host:7077"}),
        (None, {}, {"SPARK_REMOTE": "sc://host"}),
        ("local[2]", {"spark.pyspark.python": "/usr/bin/python3.99"}, {}),
        ("local[2]", {}, {"PYSPARK_PYTHON": "/usr/bin/python3.99"}),
    ],
)
def test_it_is_for_this_machine_and_this_python(
    master: str | None, conf: dict[str, str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with started_ahead(master, conf) as process:
        assert process is None


def test_a_driver_that_trains_a_network_of_the_zoo_does_not_import_torch(dataset: Path, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            import firesteel
            firesteel.train({str(dataset)!r}, {str(tmp_path / "run")!r}, model="mlp:hidden=[8]", epochs=1, workers=2,
                            threads=1, master="local[2]")
            firesteel.evaluate({str(tmp_path / "run")!r}, {str(dataset)!r}, workers=2, engine="local")
            print("torch" in sys.modules)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
