"""Kill workers of a training at random moments: does it end, with the same bits, and how soon does it go on?

    python benchmarks/recovery.py --mnist FOLDER [--master local-cluster[2,1,1024]|standalone|local] [--kills 20] [--seed 1]

Trains the same job twice: undisturbed, and with `kill -9` of something at random moments: a worker itself, the Python
process of its Spark task, or the JVM of its executor. `standalone` starts a Spark master and two worker processes of its
own on the loopback interface; `local` is the engine without Spark, where only workers can be killed.

Wanted: the disturbed run ends, its weights equal those of the undisturbed one to the bit, and the median time from a
kill to the first step after it is below 15 s. Recovery is measured from the kill to the first step event written by any
worker after it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measuring import FIRESTEEL, machine, note, print_table, run_command, spread

JOB = ["--model", "cnn", "--workers", "2", "--threads", "1", "--seed", "3", "--batch-size", "32", "--log-every", "1"]
TARGETS = ("worker", "task", "executor")


@dataclass
class Kill:
    """One kill, and when the run went on."""

    target: str
    rank: int
    time: float
    step: int
    recovered_s: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="prepared MNIST")
    parser.add_argument("--master", default="local-cluster[2,1,1024]")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sync", default="allreduce")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    targets = (
        TARGETS[:1]
        if arguments.master == "local"
        else TARGETS[:2]
        if arguments.master.startswith("local[")
        else TARGETS
    )
    with tempfile.TemporaryDirectory() as folder, cluster(arguments.master) as master:
        place = Path(folder)
        engine = ["--engine", "local"] if master == "local" else ["--master", master]
        job = [*JOB, *engine, "--epochs", str(arguments.epochs), "--sync", arguments.sync]
        run_command([*FIRESTEEL, "train", arguments.mnist, place / "calm", *job, "--json"], place)
        note("undisturbed run done")
        kills, output = disturbed(arguments, place, job, targets, chance)
        same = weights(place / "calm") == weights(place / "disturbed")
    times = [kill.recovered_s for kill in kills if kill.recovered_s is not None]
    rows = [
        [target, str(len(each)), spread(each, 1)]
        for target in targets
        if (each := [kill.recovered_s for kill in kills if kill.target == target and kill.recovered_s is not None])
    ]
    print(machine())
    print_table(
        ["killed", "times", "seconds to the first new step"], [*rows, ["all", str(len(times)), spread(times, 1)]]
    )
    print(f"\nkills {len(kills)}, restarts {output['restarts']}, steps {output['steps']}, rows {output['rows']}")
    print(
        f"weights equal to the bit: {'yes' if same else 'NO'}; median {statistics.median(times):.1f} s (wanted: below 15)"
    )
    if not same or len(kills) < arguments.kills:
        sys.exit(1)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def disturbed(
    arguments: argparse.Namespace, place: Path, job: list[str], targets: tuple[str, ...], chance: random.Random
) -> tuple[list[Kill], dict]:
    run = place / "disturbed"
    command = [
        *FIRESTEEL, "train", arguments.mnist, run, *job, "--json", "--max-restarts", str(arguments.kills * 2),
        "--checkpoint-every", "1 second",
    ]  # fmt: skip
    kills: list[Kill] = []
    with (
        open(place / "errors", "w") as errors,
        subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        while process.poll() is None and len(kills) < arguments.kills:
            if not (victim := a_training_worker(run, kills)):
                time.sleep(0.02)
                continue
            time.sleep(chance.uniform(0.0, 2.5))
            rank, target = chance.randrange(2), chance.choice(targets)
            if (kill := kill_one(run, rank, target)) is not None:
                kills.append(kill)
                note(f"kill {len(kills)} of {arguments.kills}: {target} of worker {rank} at step {victim}")
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"the disturbed run failed:\n{(place / 'errors').read_text()[-3000:]}")
    steps = [event["time"] for event in events_of(run) if event["event"] == "step"]
    for number, kill in enumerate(kills):
        until = kills[number + 1].time if number + 1 < len(kills) else float("inf")
        attempts = [e["time"] for e in events_of(run) if e["event"] == "start" and kill.time < e["time"] < until]
        after = [moment for moment in steps if attempts and attempts[0] <= moment < until]
        kill.recovered_s = min(after) - kill.time if after else None
    return kills, json.loads(output)


def a_training_worker(run: Path, kills: list[Kill]) -> int:
    """The step of a worker that trains since the last kill; 0 if none does."""
    since = kills[-1].time if kills else 0.0
    events = [event for event in events_of(run) if event["time"] > since]
    started = [event["time"] for event in events if event["event"] == "start"]
    if not started:
        return 0
    steps = [event["step"] for event in events if event["event"] == "step" and event["time"] >= started[0]]
    return max(steps, default=0)


def kill_one(run: Path, rank: int, target: str) -> Kill | None:
    """kill -9 of a worker, of its task's Python process, or of its executor's JVM."""
    mine = [event for event in events_of(run) if event["worker"] == rank]
    attempts = [event for event in mine if event["event"] == "attempt"]
    if not attempts or mine[-1]["event"] in ("end", "failed"):
        return None
    try:
        pid = attempts[-1]["pid"]
        if target == "task":
            pid = parent_of(pid)
        while target == "executor" and "java" not in os.path.basename(os.readlink(f"/proc/{pid}/exe")):
            pid = parent_of(pid)
        if pid <= 1:
            return None
        os.kill(pid, signal.SIGKILL)
    except OSError:  # it has ended meanwhile
        return None
    return Kill(target, rank, time.time(), mine[-1].get("step", 0))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def events_of(run: Path) -> list[dict]:
    events = []
    for path in (run / "events").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # being written
                events.append(json.loads(line))
    return sorted(events, key=lambda event: event["time"])


@contextlib.contextmanager
def cluster(master: str) -> Iterator[str]:
    """The master URL; for ``standalone`` that of a cluster which ends with the block."""
    if master != "standalone":
        yield master
        return
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    url, started = "spark://127.0.0.1:17077", []
    name = "org.apache.spark.deploy"
    commands = [
        [spark_class, f"{name}.master.Master", "--host", "127.0.0.1", "--port", "17077", "--webui-port", "0"],
        *[[spark_class, f"{name}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "2g",
           "--webui-port", "0", url]] * 2,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "SPARK_WORKER_DIR": work, "PYSPARK_PYTHON": sys.executable}
        try:
            for command in commands:
                started.append(
                    subprocess.Popen(
                        command, env=environment, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                )
                time.sleep(4)
            yield url
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait()


if __name__ == "__main__":
    main()
