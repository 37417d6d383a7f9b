"""A trained network for new classes, in four ways: features computed once, frozen layers, fine-tuning, from scratch.

    firesteel import squeezenet.caffemodel squeezenet --prototxt deploy.prototxt --mean 104,117,123 --channel-order bgr --labels NAMES
    firesteel prepare CALTECH caltech --size 227x227 --channels 3 --split train=0.8,test=0.2
    python benchmarks/transfer.py squeezenet caltech [--epochs 4] [--head-epochs 30] [--workers 1] [--scratch squeezenet]

Each way is a command that anyone can give. The first two train the same layers, the head: their seconds an epoch say what it
brings to compute the frozen layers' results once; at least 5 times as fast is wanted. Accuracy is that of the split test after the last
epoch. "Seconds a percent" are those of the whole way, with computing the features, by the percents of accuracy above chance.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import FIRESTEEL, machine, note, print_table, run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", type=int, default=4, help="of fine-tuning and from scratch")
    parser.add_argument("--head-epochs", type=int, default=30)
    parser.add_argument("--frozen-epochs", type=int, default=1, help="of the head behind frozen layers")
    parser.add_argument("--scratch", default="squeezenet", help="the same network in the zoo")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    model, dataset = options.model.resolve(), options.dataset.resolve()
    common = ["--batch-size", str(options.batch_size), "--engine", "local", "--checkpoint-every", "never", "--json"]
    head = ["--optimizer", "adam", "--learning-rate", "0.001"]
    fine = ["--optimizer", "adam", "--learning-rate", "0.0001", "--layer-learning-rate", "conv10=10"]
    ways = {
        "features, then the head": (["features"], head, options.head_epochs),
        "frozen layers, the head": (["--from", model, "--train-only", "conv10"], head, options.frozen_epochs),
        "fine-tuning": (["--from", model], fine, options.epochs),
        "from scratch": (["--model", options.scratch], ["--learning-rate", "0.0003"], options.epochs),
    }
    table: list[list[str]] = []
    chance = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for name, (begins, update, epochs) in ways.items():
            began, data, work = time.perf_counter(), dataset, Path(scratch)
            if begins == ["features"]:
                command = ["features", model, dataset, work / "features", "--engine", "local", "--json"]
                run_command([*FIRESTEEL, *command], work)
                computed, data, begins = time.perf_counter() - began, work / "features", []
                note(f"features in {computed:.0f} s")
            run = work / name.replace(" ", "-").replace(",", "")
            trained = answer("train", data, run, *begins, *update, "--epochs", epochs, *common)
            seconds = time.perf_counter() - began
            found = answer("evaluate", run, dataset, "--engine", "local", "--json")
            chance = 1 / len(found["classes"])
            percents = 100 * (found["accuracy"] - chance)
            table.append([
                name, str(epochs), f"{found['accuracy']:.4f}", f"{found['top5']:.4f}", f"{trained['seconds'] / epochs:.1f}",
                f"{seconds:.0f}", f"{seconds / percents:.1f}" if percents > 1 else "–",
            ])  # fmt: skip
            note(" ".join(table[-1]))
    print_table(
        ["way", "epochs", "accuracy", "top-5", "seconds an epoch", "seconds in all", "seconds a percent"], table
    )
    ratio = float(table[1][4]) / float(table[0][4])
    note(f"an epoch of the head on features that are there: {ratio:.0f} times as fast as behind frozen layers")
    note(machine())


def answer(*command: Any) -> dict[str, Any]:
    return json.loads(run_command([*FIRESTEEL, *map(str, command)], Path.cwd()).output)


if __name__ == "__main__":
    main()
