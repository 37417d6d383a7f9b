"""From `firesteel train` on the shell to the first training step on Spark, against Spark's own start-up.

    python benchmarks/first_step.py --mnist FOLDER [--runs 5]

All run on master local[2], in turns. Spark's own start-up is a minimal script that opens a session and then runs one
small Python task in each slot: with pyspark's defaults, and with Firesteel's settings. `firesteel train` starts two
workers on MNIST. What uses Firesteel's settings runs twice: with the Java class archive that `firesteel doctor` makes,
and without one. The archive lies in a cache folder of this benchmark; yours is not touched.

Printed are seconds since the shell: a table of the start-ups, then where the time to the first step goes. The phases
come from the run's event log and, on Linux, from the times at which Spark's Python daemon forked the workers. "Session
open" of the minimal script ends when the session is there; wanted is a first step at most 5 s later than that.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import FIRESTEEL, fail, in_turns, note, print_table, run_command, spread
from mnist import read_training_rows, write_training_rows

SCRIPT = '''
"""Print when a session is open, and when a small Python task in each of its two slots has ended: firesteel|pyspark."""

import os
import sys
import time


def same(batches):
    return batches


def use(spark):
    opened = time.time()
    spark.range(0, 2, 1, 2).mapInArrow(same, "id long").collect()
    print(opened, time.time(), flush=True)


os.environ["PYSPARK_PYTHON"] = sys.executable
if sys.argv[1] == "firesteel":
    from firesteel.spark.session import open_session

    with open_session("local[2]") as spark:
        use(spark)
else:
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").getOrCreate()
    use(spark)
    spark.stop()
'''

PHASES = (
    "Python, imports, checks",
    "Spark session and job, imports aside",
    "data, network, meeting",
    "first step",
)


@dataclass(frozen=True)
class StartUp:
    """Of a minimal script, in seconds since the shell."""

    session_s: float
    task_s: float


@dataclass(frozen=True)
class FirstStep:
    """Of a training command: seconds since the shell, and what each of PHASES took (None where it is not known)."""

    first_step_s: float
    phases_s: tuple[float | None, ...]


def start_spark(work: Path, settings: str, cache: Path) -> StartUp:
    began = time.time()
    done = run_command([sys.executable, "start.py", settings], work, XDG_CACHE_HOME=str(cache))
    opened, ended = map(float, done.output.split()[-2:])
    return StartUp(opened - began, ended - began)


def train(work: Path, model: str, cache: Path) -> FirstStep:
    command = [*FIRESTEEL, "train", "dataset", "run", "--master", "local[2]", "--workers", "2", "--epochs", "1",
               "--model", model, "--overwrite"]  # fmt: skip
    logs = [work / "run" / "events" / f"worker-{rank:05d}.jsonl" for rank in (0, 1)]
    for log in [work / "run" / "events" / "launcher.jsonl", *logs]:
        log.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as errors:
        began = time.time()
        process = subprocess.Popen(
            command, cwd=work, stdout=subprocess.DEVNULL, stderr=errors, text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        forked = _last_fork(process, logs)
        if process.wait():
            errors.seek(0)
            fail(command, "", errors.read())
    launch = _first_time(work / "run" / "events" / "launcher.jsonl", "launch")
    ready, step = (max(_first_time(log, event) for log in logs) for event in ("start", "step"))
    moments = [began, launch, forked, ready, step]
    phases = [None if None in pair else pair[1] - pair[0] for pair in itertools.pairwise(moments)]
    return FirstStep(step - began, tuple(phases))


def _last_fork(process: subprocess.Popen[str], logs: Sequence[Path]) -> float | None:
    """When Spark's Python daemon forked the last of the workers; None where the system hides it."""
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError, StopIteration, ProcessLookupError):
            return max(_start_of(int(str(_first_event(log, "start")["pid"]))) for log in logs)
        time.sleep(0.01)
    return None


def _start_of(pid: int) -> float:
    """When a process began, in seconds since 1970, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def _first_event(log: Path, kind: str) -> dict[str, object]:
    """The first event of a kind in a log that may still be growing."""
    lines = log.read_text().splitlines(keepends=True)
    events = (json.loads(line) for line in lines if line.endswith("\n"))
    return next(event for event in events if event["event"] == kind)


def _first_time(log: Path, kind: str) -> float:
    return float(str(_first_event(log, kind)["time"]))


def make_archive(work: Path, cache: Path) -> bool:
    """Make a class archive in ``cache``; False if this machine does not make one."""
    note("making a Java class archive")
    run_command([*FIRESTEEL, "doctor", "--master", "local[2]"], work, XDG_CACHE_HOME=str(cache))
    return any(cache.glob("firesteel/*.jsa"))


def report(starts: dict[str, list[StartUp]], steps: dict[str, list[FirstStep]]) -> None:
    """Print both tables."""
    table = [
        [name, spread([start.session_s for start in each], 2), spread([start.task_s for start in each], 2), "", ""]
        for name, each in starts.items()
    ]
    sessions = {name: [start.session_s for start in each] for name, each in starts.items()}
    for name, runs in steps.items():
        seconds = [run.first_step_s for run in runs]
        own = name.replace("firesteel train", "Spark, firesteel's settings")
        later = [
            f"{statistics.median(s - start for s, start in zip(seconds, sessions[other], strict=True)):+.2f}"
            for other in (own, "Spark, pyspark's defaults")
        ]
        table.append([name, "", spread(seconds, 2), *later])
    print_table(
        ["seconds since the shell", "session open", "first Python task / step", "after own session", "after pyspark's"],
        table,
    )
    print()
    phases = []
    for number, phase in enumerate(PHASES):
        cells = []
        for runs in steps.values():
            known = [seconds for run in runs if (seconds := run.phases_s[number]) is not None]
            cells.append(f"{statistics.median(known):.2f}" if known else "--")
        phases.append([phase, *cells])
    print_table(["median seconds of", *steps], phases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the idx files of MNIST")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--rows", type=int, default=60_000, help="fewer end sooner after the first step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_training_rows(work / "idx", *read_training_rows(options.mnist, options.rows))
        (work / "start.py").write_text(SCRIPT)
        run_command([*FIRESTEEL, "prepare", "idx", "dataset", "--engine", "local"], work)
        caches = {", no archive": work / "empty"}
        if make_archive(work, work / "cache"):
            caches = {", archive": work / "cache", **caches}
        starts: dict[str, Callable[[], StartUp | FirstStep]] = {
            "Spark, pyspark's defaults": lambda: start_spark(work, "pyspark", work / "empty")
        }
        for suffix, cache in caches.items():
            starts["Spark, firesteel's settings" + suffix] = lambda cache=cache: start_spark(work, "firesteel", cache)
            starts["firesteel train" + suffix] = lambda cache=cache: train(work, options.model, cache)
        results = in_turns(starts, options.runs)
    report(
        {name: each for name, each in results.items() if isinstance(each[0], StartUp)},
        {name: each for name, each in results.items() if isinstance(each[0], FirstStep)},
    )


if __name__ == "__main__":
    main()
