"""The direct approach against the prepared one: whole commands, from pictures on storage to an evaluated network.

    python benchmarks/direct.py --images FOLDER [--rows 15500 155000] [--epochs 1 5] [--runs 2] [--master local[2]]

FOLDER holds class folders of pictures; of each row count a folder is made that repeats them (hard links), in two classes as in
a report on CNNs with Deeplearning4j on Spark (15,500 images, 2 classes). Network `cnn`, 32x32, two workers of one thread, batch size 32 each.

* prepared: `firesteel prepare`, `firesteel train`, `firesteel evaluate`: what the first run on a source costs;
* again: `firesteel train` and `firesteel evaluate` on the dataset that is there: what every further run costs;
* direct: `firesteel train SOURCE RUN --direct`, which evaluates the test split at its end.

Seconds are of the commands, from the shell to the end. Lower is better; ratios are to `direct`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path

from measuring import FIRESTEEL, in_turns, machine, note, print_table, run_command, spread

CLASSES = 2


def repeated(folder: Path, target: Path, rows: int) -> Path:
    """``rows`` pictures in two class folders."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for number in range(CLASSES):
        (target / f"class{number}").mkdir(parents=True)
    for number, file in zip(range(rows), itertools.cycle(files)):
        link = (
            target
            / f"class{files.index(file) % CLASSES if number < len(files) else number % CLASSES}"
            / f"{number:07d}{file.suffix}"
        )
        try:
            os.link(file, link)
        except OSError:  # another file system, or too many links
            shutil.copy(file, link)
    return target


def trained(work: Path, data: Path, epochs: int, engine: list[str], *more: str) -> float:
    """Seconds of a training with its evaluation."""
    shutil.rmtree(work / "run", ignore_errors=True)
    command = [
        *FIRESTEEL, "train", data, work / "run", "--model", "cnn", "--epochs", str(epochs), "--workers", "2", "--threads", "1", *engine,
        *more, "--json",
    ]  # fmt: skip
    seconds = run_command(command, work).seconds
    if "--direct" not in more:
        seconds += run_command([*FIRESTEEL, "evaluate", work / "run", data, *engine, "--json"], work).seconds
    return seconds


def prepared(work: Path, source: Path, epochs: int, engine: list[str]) -> float:
    """Seconds of preparation, training and evaluation."""
    shutil.rmtree(work / "dataset", ignore_errors=True)
    command = [*FIRESTEEL, "prepare", source, work / "dataset", "--size", "32x32", *engine, "--json"]
    return run_command(command, work).seconds + trained(work, work / "dataset", epochs, engine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[15_500, 155_000])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--master", default="local[2]")
    options = parser.parse_args()
    engine = ["--engine", "local"] if options.master == "local" else ["--master", options.master]
    table = []
    for rows, epochs in itertools.product(options.rows, options.epochs):
        with tempfile.TemporaryDirectory(dir=options.images.parent) as folder:
            work = Path(folder)
            source = repeated(options.images, work / "source", rows)
            note(f"{rows:,} pictures, {epochs} epochs")
            found = in_turns(
                {
                    "prepared": partial(prepared, work, source, epochs, engine),
                    "again": partial(trained, work, work / "dataset", epochs, engine),
                    "direct": partial(trained, work, source, epochs, engine, "--direct", "--prepare", "size=32x32"),
                },
                options.runs,
                warm_up=False,
            )
        direct = statistics.median(found["direct"])
        for name, seconds in found.items():
            table.append(
                [f"{rows:,}", str(epochs), name, spread(seconds, 1), f"{statistics.median(seconds) / direct:.2f}"]
            )
    print(f"{machine()}, {options.master}\n")
    print_table(["pictures", "epochs", "approach", "seconds", "to direct"], table)


if __name__ == "__main__":
    main()
