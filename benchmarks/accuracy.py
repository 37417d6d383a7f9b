"""What the networks reach on real data: prepare, train and evaluate through the command line, as a Markdown table.

    python benchmarks/accuracy.py --mnist FOLDER --intel ZIP --caltech ZIP --cifar10 TRAIN.ZIP TEST.ZIP --cdiscount FILE

Each option gives the place of one data set, and only those that are given are used: the idx files of MNIST, class
folders (or train/ and test/ with class folders) of pictures, packed or not, and a BSON dump. --only takes one line of
the table, for example --only mnist,cnn,average. --list shows what would run.

Training runs on Spark with master local[2] and two workers. Settings are chosen for a few minutes on two cores, not for
records: there is no augmentation. Accuracy, top-5 and F1 (macro) are of the test split; rows/s is the training loop's
over both workers; seconds are of the whole `firesteel train`, from the shell to its end. Wanted: MNIST, cnn with
average:every=5 reaches 0.985.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import FIRESTEEL, note, print_table, run_command

ALLREDUCE, AVERAGE = "allreduce", "average:every=5"
SPLIT_FOLDERS = {"train", "test"}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One line of the table.

    Attributes:
        data: name of the option that gives the source.
        prepare: further options of ``firesteel prepare``.
        model: network.
        sync: how the two workers are kept together.
        epochs: passes.
        batch_size: rows a worker and step.
        optimizer: with options.
        learning_rate: of the optimizer.
    """

    data: str
    prepare: tuple[str, ...] = ()
    model: str = "cnn"
    sync: str = ALLREDUCE
    epochs: int
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 0.001

    @property
    def name(self) -> str:
        return f"{self.data},{self.model},{self.sync.partition(':')[0]}"


EXPERIMENTS = [
    Experiment(data="mnist", sync=AVERAGE, epochs=3),
    Experiment(data="mnist", epochs=3),
    Experiment(data="mnist", model="mlp:hidden=[128]", sync=AVERAGE, epochs=5),
    Experiment(data="mnist", model="lstm", sync=AVERAGE, epochs=5),
    Experiment(data="intel", prepare=("--size", "64x64"), epochs=15),
    Experiment(data="caltech", prepare=("--size", "64x64"), epochs=20),
    Experiment(data="cifar10", epochs=8),
    Experiment(data="cifar10", sync=AVERAGE, epochs=8),
    Experiment(data="cdiscount", prepare=("--size", "32x32"), epochs=20, batch_size=8),
]

HEADER = ["data", "rows", "shape", "network", "workers", "sync", "epochs", "training rows/s", "accuracy", "top-5", "F1",
          "seconds"]  # fmt: skip


def measure(work: Path, experiment: Experiment, source: Path) -> list[str]:
    """Prepare (once for all experiments with the same data), train, evaluate: a row of the table."""
    dataset, run = f"dataset-{experiment.data}", f"run-{experiment.name.replace(',', '-')}"
    prepared = _firesteel(work, "prepare", source, dataset, "--engine", "local", *experiment.prepare)
    trained = _firesteel(
        work, "train", dataset, run, "--master", "local[2]", "--workers", "2", "--model", experiment.model,
        "--sync", experiment.sync, "--epochs", experiment.epochs, "--batch-size", experiment.batch_size,
        "--optimizer", experiment.optimizer, "--learning-rate", experiment.learning_rate,
    )  # fmt: skip
    found = _firesteel(work, "evaluate", run, dataset)
    splits = prepared["splits"]
    return [
        experiment.data,
        f"{splits['train']:,} + {splits['test']:,}",
        "x".join(map(str, prepared["shape"])),
        experiment.model,
        "2",
        experiment.sync,
        str(experiment.epochs),
        f"{trained['rows_per_second']:,.0f}",
        f"{found['accuracy']:.4f}",
        f"{found['top5']:.4f}",
        f"{found['f1']:.4f}",
        f"{trained['whole_seconds']:.1f}",
    ]


def _firesteel(work: Path, *arguments: object) -> dict[str, Any]:
    """What a command prints with ``--json``, and the seconds of the whole command as ``whole_seconds``."""
    done = run_command([*FIRESTEEL, *map(str, arguments), "--json"], work)
    return {**json.loads(done.output), "whole_seconds": done.seconds}


def source_of(places: Sequence[Path], work: Path, name: str) -> Path:
    """What ``firesteel prepare`` takes: zip files are unpacked, folders that hold one split each are put side by side."""
    if len(places) == 1 and places[0].suffix != ".zip":
        return _class_root(places[0].resolve()) if places[0].is_dir() else places[0].resolve()
    merged = work / f"source-{name}"
    for number, place in enumerate(places):
        folder = place.resolve()
        if place.suffix == ".zip":
            folder = work / f"unpacked-{name}-{number}"
            zipfile.ZipFile(place).extractall(folder)
        root = _class_root(folder)
        merged.mkdir(exist_ok=True)
        for entry in root.iterdir():
            (merged / entry.name).symlink_to(entry)
    return merged


def _class_root(folder: Path) -> Path:
    """The folder that holds class folders, or train/ and test/: the first one on the way down that offers a choice."""
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__"))]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in SPLIT_FOLDERS:
            return folder
        folder = entries[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, nargs=1, help="folder with the four idx files")
    parser.add_argument("--intel", type=Path, nargs="+", help="Intel scenes: folder or zip files")
    parser.add_argument("--caltech", type=Path, nargs="+", help="Caltech-101: folder or zip files")
    parser.add_argument("--cifar10", type=Path, nargs="+", help="CIFAR-10 as pictures: folders or zip files")
    parser.add_argument("--cdiscount", type=Path, nargs=1, help="BSON dump of the Cdiscount challenge")
    parser.add_argument("--only", action="append", default=[], help="begin of a line's name; may be given again")
    parser.add_argument("--epochs", type=int, help="instead of each line's own")
    parser.add_argument("--list", action="store_true", help="show the names of the lines and end")
    options = parser.parse_args()
    chosen = [
        replace(experiment, epochs=options.epochs or experiment.epochs)
        for experiment in EXPERIMENTS
        if (options.list or getattr(options, experiment.data))
        and (not options.only or experiment.name.startswith(tuple(options.only)))
    ]
    if options.list:
        print("\n".join(experiment.name for experiment in chosen))
        return
    if not chosen:
        parser.error("nothing to do: give the place of a data set, and --only a name of --list")
    table = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sources: dict[str, Path] = {}
        for experiment in chosen:
            if experiment.data not in sources:
                sources[experiment.data] = source_of(getattr(options, experiment.data), work, experiment.data)
            table.append(measure(work, experiment, sources[experiment.data]))
            note(" | ".join(table[-1]))
    print_table(HEADER, table)


if __name__ == "__main__":
    main()
