"""What helps rare classes: generated pictures, augmentation of batches, class weights, balanced sampling, as a Markdown table.

    python benchmarks/imbalance.py --cifar10 TRAIN TEST [--rows 600] [--imbalance 50] [--epochs 12] [--seeds 2]

TRAIN and TEST are folders or zip files of pictures in class folders. Of class number i, in the order of the names, the first
n * imbalance ** (-i / 9) pictures in the order of an MD5 sum are kept, n being --rows; all test pictures stay.
Network cnn, one worker of one thread, batch size 64, Adam at 0.001; each training makes as many steps as --epochs passes
over the long tail, so that a dataset with more rows gets fewer passes. "Balanced" is the mean recall, "rarest" that of
the rarest three classes. Seconds are of the processor, user and system, of the whole commands: they say what a way costs
also on a machine that has other work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy import source_of
from measuring import FIRESTEEL, machine, note, print_table, run_command

BATCH_SIZE = 64


@dataclass(frozen=True)
class Way:
    """Options of ``prepare`` and of ``train``."""

    prepare: str
    train: str


def ways(most: int) -> dict[str, Way]:
    """What is compared; ``most`` are the rows of the largest class."""
    grown, light = f"--balance {most}", "--augment light"
    balanced, effective = "--class-weights balanced", "--class-weights effective:beta=0.999"
    return {
        "plain": Way("", ""),
        "generated, default": Way(grown, ""),
        "generated, light": Way(f"{grown} --policy light", ""),
        "on the fly, default": Way("", "--augment default"),
        "on the fly, light": Way("", light),
        "weights balanced": Way("", balanced),
        "weights effective": Way("", effective),
        "sampling balanced": Way("", "--sampling balanced"),
        "on the fly, light + weights effective": Way("", f"{light} {effective}"),
        "on the fly, light + sampling balanced": Way("", f"{light} --sampling balanced"),
    }


def long_tail(source: Path, target: Path, rows: int, imbalance: float) -> list[int]:
    """Link the pictures that stay; returns how many of each class."""
    kept = []
    classes = sorted(folder.name for folder in (source / "train").iterdir())
    for number, name in enumerate(classes):
        files = sorted((source / "train" / name).iterdir(), key=lambda file: hashlib.md5(file.name.encode()).digest())
        count = max(1, round(min(rows, len(files)) * imbalance ** (-number / max(1, len(classes) - 1))))
        for split, chosen in (("train", files[:count]), ("test", sorted((source / "test" / name).iterdir()))):
            (target / split / name).mkdir(parents=True)
            for file in chosen:
                (target / split / name / file.name).symlink_to(file.resolve())
        kept.append(count)
    return kept


def run_counted(command: list[str], work: Path) -> tuple[str, float]:
    """Standard output of a command, and its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = run_command(command, work).output
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return output, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(work: Path, way: Way) -> tuple[str, dict[str, Any], float]:
    """The dataset of a way, made unless another way has it: its folder, its manifest, and the seconds of the command."""
    dataset = "dataset-" + hashlib.md5(way.prepare.encode()).hexdigest()[:8]
    command = [*FIRESTEEL, "prepare", "tail", dataset, "--engine", "local", "--workers", "1", *way.prepare.split()]
    seconds = work / f"{dataset}.seconds"
    if not seconds.exists():
        seconds.write_text(str(run_counted([*command, "--json"], work)[1]))
    return dataset, json.loads((work / dataset / "manifest.json").read_text()), float(seconds.read_text())


def train(work: Path, dataset: str, way: Way, epochs: int, seed: int) -> tuple[float, dict[str, Any]]:
    """Seconds of the training, and what ``evaluate --json`` prints."""
    command = [
        *FIRESTEEL, "train", dataset, "run", "--engine", "local", "--workers", "1", "--threads", "1", "--json",
        "--overwrite", "--device", "cpu", "--model", "cnn", "--batch-size", str(BATCH_SIZE), "--epochs", str(epochs),
        "--evaluate-every", "never", "--checkpoint-every", "never", "--seed", str(seed), *way.train.split(),
    ]  # fmt: skip
    _, seconds = run_counted(command, work)
    evaluating = [*FIRESTEEL, "evaluate", "run", dataset, "--engine", "local", "--threads", "1", "--json"]
    return seconds, json.loads(run_command(evaluating, work).output)


def measure(work: Path, way: Way, options: argparse.Namespace, tail_rows: int) -> list[str]:
    """The cells of one row of the table."""
    dataset, manifest, prepared_s = prepare(work, way)
    rows = manifest["splits"]["train"]["rows"]
    size = sum(shard["bytes"] for shard in manifest["splits"]["train"]["shards"])
    epochs = max(1, round(options.epochs * tail_rows / rows))
    accuracy, recall, rarest, seconds = [], [], [], []
    for seed in range(options.seeds):
        trained_s, found = train(work, dataset, way, epochs, seed)
        accuracy.append(found["accuracy"])
        recall.append(found["recall"])
        rarest.append(statistics.mean(each["recall"] for each in found["classes"][-3:]))
        seconds.append(trained_s)
    scores = [
        f"{statistics.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in (accuracy, recall, rarest)
    ]
    return [f"{rows:,}", *scores, f"{prepared_s:.1f}", f"{statistics.mean(seconds):.0f}", f"{size / 1e6:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, nargs="+", required=True, help="folders or zip files of pictures")
    parser.add_argument("--rows", type=int, default=600, help="of the largest class")
    parser.add_argument(
        "--imbalance", type=float, default=50.0, help="rows of the largest class to those of the smallest"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="a way by its name; may be given again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        kept = long_tail(source_of(options.cifar10, work, "cifar10"), work / "tail", options.rows, options.imbalance)
        print(
            f"{sum(kept):,} rows, {' '.join(map(str, kept))}; {options.epochs} epochs of them; {machine()}\n",
            flush=True,
        )
        table = []
        for name, way in ways(max(kept)).items():
            if not options.only or name in options.only:
                table.append([name, *measure(work, way, options, sum(kept))])
                note(" | ".join(table[-1]))
        print_table(["way", "rows", "accuracy", "balanced", "rarest", "prepare, s", "training, s", "MB"], table)


if __name__ == "__main__":
    main()
