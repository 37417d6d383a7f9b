"""Training gives the same bits whatever started the workers, and a failing worker is named."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import firesteel
from firesteel.errors import ConfigError, DatasetError, ModelError, RunError, WorkerFailed
from firesteel.launch import Report, first_failure
from firesteel.local import LocalProcesses
from firesteel.world import Meeting, World

SMALL: dict[str, Any] = {"model": "mlp:hidden=[8]", "epochs": 2, "batch_size": 16, "threads": 1, "seed": 5}


def test_in_process_and_local_process_give_the_same_weights(
    dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]
) -> None:
    """One worker in this process, and the same worker as a process of its own."""
    from firesteel.launch import InProcess
    from firesteel.training.worker import train_worker

    firesteel.train(dataset, tmp_path / "here", engine="local", **SMALL)
    payload = _payload(dataset, tmp_path / "there")
    LocalProcesses().run(train_worker, payload, workers=1, meet=True)
    InProcess().run(train_worker, _payload(dataset, tmp_path / "again"), workers=1, meet=True)
    assert weights(tmp_path / "here") == weights(tmp_path / "there") == weights(tmp_path / "again")


def _payload(dataset: Path, run: Path) -> Any:
    from firesteel.data.manifest import Dataset
    from firesteel.models import resolve_model
    from firesteel.training.job import TrainJob
    from firesteel.training.stop_specs import resolve_stopping
    from firesteel.training.worker import TrainPayload

    opened = Dataset.open(str(dataset))
    job = TrainJob(
        dataset=str(dataset), fingerprint=opened.manifest.fingerprint, input_shape=opened.feature.shape, num_classes=10,
        **SMALL,
    )  # fmt: skip
    return TrainPayload(job, str(run), resolve_model(SMALL["model"]), resolve_stopping([]))


def test_a_run_repeats_bit_by_bit(dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]) -> None:
    for name in ("first", "second"):
        firesteel.train(dataset, tmp_path / name, workers=2, sync="average:every=2", engine="local", **SMALL)
    assert weights(tmp_path / "first") == weights(tmp_path / "second")


def test_another_seed_gives_other_weights(dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]) -> None:
    firesteel.train(dataset, tmp_path / "first", engine="local", **SMALL)
    firesteel.train(dataset, tmp_path / "second", engine="local", **(SMALL | {"seed": 6}))
    assert weights(tmp_path / "first") != weights(tmp_path / "second")


@pytest.mark.parametrize("sync", ["allreduce", "average:every=2"])
def test_a_worker_that_raises_is_named_and_the_others_end(sync: str, dataset: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"worker 1 of 2 .*ValueError: this network is tired") as caught:
        firesteel.train(
            dataset, tmp_path / "run", model="tests.networks:Misbehaving", workers=2, sync=sync, engine="local",
            epochs=5, batch_size=4, threads=1, max_restarts=0,
        )  # fmt: skip
    assert caught.value.rank == 1
    assert "networks.py" in str(caught.value)
    assert "Misbehaving" not in (caught.value.worker_traceback or "") or "forward" in caught.value.worker_traceback
    assert time.monotonic() - began < 60  # far from the timeout of the group, which is 300 s


def test_a_worker_that_is_killed_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match=r"worker 1 of 2 .* killed by signal SIGKILL"):
        firesteel.train(
            dataset, tmp_path / "run", model="tests.networks:Misbehaving:what=kill", workers=2, engine="local",
            epochs=5, batch_size=4, threads=1, max_restarts=0,
        )  # fmt: skip


@pytest.mark.parametrize("what", ["stop", "sleep"])
@pytest.mark.parametrize("sync", ["allreduce", "average:every=3"])
def test_a_worker_that_hangs_is_named_within_the_timeout(what: str, sync: str, dataset: Path, tmp_path: Path) -> None:
    """It is stopped from outside, or its code does not come back."""
    why = {
        "stop": "was silent for 4 s and was ended: it is stopped, or its machine hangs",
        "sleep": "did not move for 4 s and was ended: its code hangs at step 3",
    }[what]
    with pytest.raises(WorkerFailed, match=f"worker 1 of 2 .* {why}") as caught:
        firesteel.train(
            dataset, tmp_path / "run", model=f"tests.networks:Misbehaving:what={what}", workers=2, engine="local",
            epochs=5, batch_size=4, threads=1, sync=sync, timeout_s=6, max_restarts=0,
        )  # fmt: skip
    assert caught.value.rank == 1


def test_failing_in_an_exchange_of_many_never_hangs(dataset: Path, tmp_path: Path) -> None:
    """A process group that has lost a member can hang when it is taken down: it must not be."""
    for run in range(5):
        with pytest.raises(WorkerFailed, match=r"worker [012] of 3 .*ValueError: this network is tired"):
            firesteel.train(
                dataset, tmp_path / str(run), model=f"tests.networks:Misbehaving:rank={run % 3}", workers=3,
                engine="local", sync="allreduce", epochs=5, batch_size=4, threads=1, timeout_s=30,
                max_restarts=0,
            )  # fmt: skip


def test_a_worker_that_cannot_load_its_data_stops_the_others_before_they_wait(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DatasetError, match="no disk on rank 0"):
        LocalProcesses().run(_fails_before_meeting, None, workers=2, meet=True, timeout_s=60)
    assert time.monotonic() - began < 30


def _fails_before_meeting(payload: None, world: World, meeting: Meeting | None) -> int:
    assert meeting is not None
    if world.rank == 0:
        raise DatasetError("no disk on rank 0")
    with meeting.process_group():
        return 1


def test_workers_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    """kill -9 of the launcher leaves no worker behind."""
    script = tmp_path / "launcher.py"
    script.write_text(
        textwrap.dedent("""
            import os, sys, time
            from firesteel.local import LocalProcesses

            def wait(folder, world, meeting):
                open(os.path.join(folder, f"{os.getpid()}.pid"), "w").close()
                time.sleep(120)

            LocalProcesses().run(wait, sys.argv[1], workers=2, meet=False)
        """)
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    launcher = subprocess.Popen([sys.executable, str(script), str(pids)])
    _until(lambda: len(list(pids.iterdir())) == 2)
    launcher.kill()
    launcher.wait()
    workers = [int(path.stem) for path in pids.iterdir()]
    _until(lambda: not any(_is_running(pid) for pid in workers))


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("module", ["json", "no_such_module"])
def test_processes_started_ahead_are_used_and_the_others_ended(module: str) -> None:
    """Of three that wait two get a task, with what they could import; the third one is gone when these have ended."""
    launcher = LocalProcesses()
    launcher.start_ahead(3, module)
    launcher.start_ahead(2, module)  # there are enough
    waiting = _children()
    assert len(waiting) == 3
    pids = launcher.run(_pid, None, workers=2, meet=False)
    assert len(set(pids)) == 2
    assert set(pids) <= waiting
    assert not any(_is_running(pid) for pid in waiting)
    assert set(launcher.run(_pid, None, workers=2, meet=True)).isdisjoint(waiting)


def test_a_process_that_dies_while_it_waits_is_named() -> None:
    launcher = LocalProcesses()
    launcher.start_ahead(2, "json")
    for pid in _children():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerFailed, match=r"worker [01] of 2 .*was killed by signal SIGKILL"):
        launcher.run(_pid, None, workers=2, meet=False)


def test_processes_that_wait_end_with_their_launcher_and_not_by_ctrl_c() -> None:
    launcher = LocalProcesses()
    launcher.start_ahead(2, "json")
    waiting = _children()
    _until(lambda: all(_ignores_ctrl_c(pid) for pid in waiting))
    for pid in waiting:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    assert all(_is_running(pid) for pid in waiting)
    launcher.close()
    assert not any(_is_running(pid) for pid in waiting)


def _pid(payload: None, world: World, meeting: Meeting | None) -> int:
    return os.getpid()


def _ignores_ctrl_c(pid: int) -> bool:
    (ignored,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def _children() -> set[int]:
    """Processes of local workers that this one has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"firesteel.local" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def test_what_a_worker_prints_does_not_disturb_its_report() -> None:
    assert LocalProcesses().run(_prints, None, workers=2, meet=False) == [0, 1]


def _prints(payload: None, world: World, meeting: Meeting | None) -> int:
    print("hello", flush=True)  # noqa: T201
    os.write(1, b"more\n")
    return world.rank


def test_the_first_failure_is_the_one_that_is_no_echo() -> None:
    echo = Report(0, "a", error="RuntimeError", echo=True, time=1.0)
    cause = Report(1, "b", error="ValueError", time=2.0)
    later = Report(2, "c", error="KeyError", time=3.0)
    assert first_failure([echo, later, cause]) is cause


def test_a_callable_of_the_callers_own_travels_to_the_workers(dataset: Path, tmp_path: Path) -> None:
    from torch import nn

    width = 5
    result = firesteel.train(
        dataset, tmp_path / "run", engine="local", workers=2, epochs=1, threads=1,
        model=lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes)),
    )  # fmt: skip
    assert result.parameters == 64 * 5 + 5 + 5 * 10 + 10
    with pytest.raises(ModelError, match="no name leads to"):
        firesteel.evaluate(tmp_path / "run", dataset)


class TestRefusals:
    """What is wrong is said before anything starts, and leaves nothing behind."""

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"model": "cnm"}, ModelError, "Did you mean 'cnn'"),
            ({"model": "cnn:mops=3"}, ConfigError, "Did you mean 'maps'"),
            ({"model": "cnn:maps=[4,4,4,4]"}, ConfigError, "too small"),
            ({"model": "no_such_module:Net"}, ModelError, "cannot import module 'no_such_module'"),
            ({"model": "tests.networks:Liner"}, ModelError, "has no 'Liner'"),
            ({"model": "tests.networks:VALUE"}, ModelError, "is a int"),
            ({"model": "tests.networks:raising"}, ModelError, "raises FileNotFoundError: weights.bin"),
            ({"model": "tests.networks:not_a_module"}, ModelError, "returned a list"),
            ({"optimizer": "adm"}, ConfigError, "Did you mean 'adam'"),
            ({"optimizer": "sgd:momentun=1"}, ConfigError, "Did you mean 'momentum'"),
            ({"optimizer": "sgd:momentum=-1"}, ConfigError, "momentum"),
            ({"epochs": 0}, ConfigError, "epochs"),
            ({"batch_size": 0}, ConfigError, "batch_size"),
            ({"learning_rate": -1.0}, ConfigError, "learning_rate"),
            ({"device": "tpu"}, ConfigError, "device"),
            ({"workers": 0}, ConfigError, "workers"),
            ({"workers": 121}, ConfigError, "cannot be shared by 121 workers"),
            ({"split": "validation"}, DatasetError, "has no split 'validation'"),
            ({"epoch": 3}, ConfigError, "epoch"),
            ({"engine": "sparc"}, ConfigError, "engine must be spark or local"),
            ({"engine": "local", "master": "local[2]"}, ConfigError, "takes no Spark master"),
        ],
    )
    def test_a_wrong_option(
        self, options: dict[str, Any], error: type[Exception], message: str, dataset: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(error, match=message):
            firesteel.train(dataset, tmp_path / "run", **({"engine": "local", "model": "mlp"} | options))
        assert not (tmp_path / "run").exists()

    def test_a_built_module_instead_of_a_factory(self, dataset: Path, tmp_path: Path) -> None:
        from torch import nn

        with pytest.raises(ModelError, match="each worker builds its own"):
            firesteel.train(dataset, tmp_path / "run", model=nn.Linear(2, 2), engine="local")

    def test_a_folder_that_holds_a_run(self, dataset: Path, tmp_path: Path, weights: Callable[[Path], bytes]) -> None:
        firesteel.train(dataset, tmp_path / "run", engine="local", **SMALL)
        before = weights(tmp_path / "run")
        with pytest.raises(RunError, match="already holds a finished run"):
            firesteel.train(dataset, tmp_path / "run", engine="local", **SMALL)
        assert weights(tmp_path / "run") == before
        firesteel.train(dataset, tmp_path / "run", engine="local", overwrite=True, **(SMALL | {"seed": 8}))
        assert weights(tmp_path / "run") != before

    def test_a_folder_that_holds_something_else(self, dataset: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
        with pytest.raises(RunError, match="Nothing was changed"):
            firesteel.train(dataset, tmp_path / "mine", engine="local", overwrite=True, **SMALL)
        assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"

    def test_a_dataset_without_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "leftover" / "train").mkdir(parents=True)
        with pytest.raises(DatasetError, match="has no manifest"):
            firesteel.train(tmp_path / "leftover", tmp_path / "run", engine="local")
