"""`firesteel prepare` of every kind of source with 1 % of broken records, while the Python workers of its tasks are killed.

    python benchmarks/accounting.py [--rows 20000] [--kills 3] [--master local[2,20]] [--seed 0] [KIND ...]

Each source is prepared two times on Spark: undisturbed, and with `kill -9` of a task's Python process at random moments.
Spark repeats the task. Wanted: read = written + dropped + quarantined in both, no row lost or doubled, and the same
rows, pixels, labels and splits, bit for bit. The status is 1 if something differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import FIRESTEEL, machine, note, print_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.data.test_accounting import some_source

PICTURES = ("folder", "labels", "pattern", "zip", "tar", "tar.gz", "bson", "cifar")
TABLES = ("csv", "json", "parquet", "sql")
SCHEMA = "n: long\nx: {type: double, min: 0, max: 1}\nlabel: {type: categorical, values: [a, b, c]}\n"


def make_table(kind: str, root: Path, rows: int, broken: int) -> tuple[str, list[str]]:
    """A table in four files; values of the first records are not what the schema says."""
    chance = np.random.default_rng(0)
    x = chance.random(rows)
    x[:broken] = 7.0
    columns = {"n": np.arange(rows), "x": x, "label": np.array(list("abc"))[chance.integers(0, 3, rows)]}
    folder = root / "table"
    folder.mkdir()
    for part, index in enumerate(np.array_split(np.arange(rows), 4)):
        table = pa.table({name: values[index] for name, values in columns.items()})
        if kind in ("parquet", "sql"):
            pq.write_table(table, folder / f"{part}.parquet")
        elif kind == "json":
            (folder / f"{part}.json").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        else:
            lines = [",".join(map(str, row.values())) for row in table.to_pylist()]
            (folder / f"{part}.csv").write_text("\n".join(["n,x,label", *lines, ""]))
    where = f"spark-sql:SELECT * FROM parquet.`{folder}`" if kind == "sql" else str(folder)
    (root / "schema.yaml").write_text(SCHEMA)
    return where, ["--schema", str(root / "schema.yaml"), "--label", "label"]


def prepare(command: list[str], dataset: Path, disturb: Callable[[int], Any] | None = None) -> dict[str, Any]:
    """Run the command, with something going on beside it."""
    process = subprocess.Popen([*FIRESTEEL, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if disturb is not None:
        threading.Thread(target=disturb, args=(process.pid,), daemon=True).start()
    _, errors = process.communicate(timeout=600)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{errors[-3000:]}")
    return {**json.loads((dataset / "manifest.json").read_text())["counts"], "rows": digest(dataset)}


def digest(dataset: Path) -> str:
    """Of all rows that the manifest names: their split, id, label and bytes, whatever shard they are in."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    rows = []
    for split, of in manifest["splits"].items():
        for shard in of["shards"]:
            table = pq.read_table(dataset / shard["path"])
            columns = [table.column(name).to_pylist() for name in ("id", "label", "features")]
            rows += [repr((split, *row)) for row in zip(*columns, strict=True)]
    if len(rows) != manifest["counts"]["written"]:
        sys.exit(f"{dataset}: {len(rows)} rows in the shards, {manifest['counts']['written']} in the manifest")
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


class Killer:
    """Kills processes of Python tasks of a Spark driver, each a random while after the one before."""

    def __init__(self, kills: int, chance: random.Random):
        self._kills, self._chance = kills, chance
        self.killed = 0

    def __call__(self, driver: int) -> None:
        while self.killed < self._kills:
            time.sleep(self._chance.uniform(0.05, 0.6))
            if not Path(f"/proc/{driver}").exists():
                return
            if workers := list(working_tasks(driver)):
                with contextlib.suppress(OSError):
                    os.kill(self._chance.choice(workers), signal.SIGKILL)
                    self.killed += 1


def working_tasks(driver: int) -> Iterator[int]:
    """Processes below the JVM and its Python daemon that have just used the processor."""
    parents = dict(_processes())
    java = [pid for pid in parents if parents[pid] == driver and _name(pid) == "java"]
    daemons = [pid for pid, parent in parents.items() if parent in (*java, driver) and _name(pid).startswith("python")]
    for pid, parent in parents.items():
        if parent in daemons and _name(pid).startswith("python") and _running(pid):
            yield pid


def _processes() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return ""


def _running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RD"
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--master", default="local[2,20]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=[*PICTURES, *TABLES])
    options = parser.parse_args()
    chance = random.Random(options.seed)
    table, sound = [], True
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as scratch:
            root, broken = Path(scratch), options.rows // 100
            if kind in TABLES:
                where, arguments = make_table(kind, root, options.rows, broken)
            else:
                source, given = some_source(kind, root, options.rows, broken)
                where = str(source)
                arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
            results = []
            killer = Killer(options.kills, chance)
            for name, disturb in (("calm", None), ("killed", killer)):
                dataset = root / name
                command = ["prepare", where, str(dataset), *arguments, "--master", options.master, "--json"]
                results.append(prepare(command, dataset, disturb))
        calm, killed = results
        adds_up = all(each["read"] == each["written"] + each["dropped"] + each["quarantined"] for each in results)
        good = calm == killed and adds_up and calm["read"] == options.rows and calm["quarantined"] == broken
        sound &= good
        counts = [f"{killed[name]:,}" for name in ("read", "written", "dropped", "quarantined")]
        table.append([kind, *counts, str(killer.killed), "yes" if good else f"NO: {calm} {killed}"])
        note(" ".join(table[-1]))
    print_table(["source", "read", "written", "dropped", "quarantined", "tasks killed", "the same, and adds up"], table)
    note(machine())
    sys.exit(not sound)


if __name__ == "__main__":
    main()
