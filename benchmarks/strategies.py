"""The synchronisation strategies side by side: what each sends, what it reaches, how fast it trains, as Markdown tables.

    python benchmarks/strategies.py --cifar10 TRAIN TEST [--epochs 4] [--only threshold,diloco] [--runs 3]

TRAIN and TEST are folders or zip files of pictures in class folders. Network cnn, two local workers of one thread,
batch size 32 each, Adam at 0.001, the same seed and the same epochs for all; no augmentation. Bytes a step are the
payload that one worker gave to exchanges, over all its steps, as counted while training; "fewer" is against the first
strategy, all-reduce in fp32. Accuracy is of the test split. Rows/s are of the training loop over both workers.

The second table is what average:every=5 costs: against workers that exchange nothing before the end of an epoch, in
turns. Wanted: threshold sends at least 50 times fewer bytes and comes within 0.01 of all-reduce's accuracy;
average:every=5 keeps at least 0.98 of the throughput.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from accuracy import source_of
from measuring import FIRESTEEL, in_turns, machine, note, print_table, ratio, run_command, spread

STRATEGIES = {
    "allreduce": "gradients, fp32, each step",
    "allreduce:communication=bf16": "gradients, bf16, each step",
    "allreduce:communication=fp16": "gradients, fp16, each step",
    "allreduce:powersgd=2": "gradients of rank 2, each step",
    "average:every=5": "parameters, every 5 steps",
    "threshold": "signs of updates past a threshold, each step",
    "diloco:every=50": "way of the parameters, every 50 steps",
    "async:every=10": "parameters, every 10 steps, to a centre",
}
"""With what each sends. The first is what the others are compared with."""

AVERAGE, NOTHING = "average:every=5", "average:every=1000000"


def train(work: Path, sync: str, epochs: int, seed: int) -> dict[str, Any]:
    """What ``firesteel train --json`` prints."""
    command = [
        *FIRESTEEL, "train", "dataset", "run", "--engine", "local", "--workers", "2", "--threads", "1", "--json",
        "--overwrite", "--device", "cpu", "--model", "cnn", "--sync", sync, "--epochs", str(epochs), "--seed", str(seed),
    ]  # fmt: skip
    return json.loads(run_command(command, work, OMP_NUM_THREADS="1").output.strip().splitlines()[-1])


def measure(work: Path, sync: str, options: argparse.Namespace) -> tuple[float, list[str]]:
    """Bytes a worker and step, and the cells: accuracy and rows/s."""
    accuracies, rates = [], []
    for seed in range(options.seeds):
        trained = train(work, sync, options.epochs, seed)
        found = json.loads(
            run_command([*FIRESTEEL, "evaluate", "run", "dataset", "--engine", "local", "--json"], work).output
        )
        accuracies.append(found["accuracy"])
        rates.append(trained["rows_per_second"])
    sent = trained["bytes_sent"] / 2 / trained["steps"]
    accuracy = f"{accuracies[0]:.4f}" if options.seeds == 1 else spread(accuracies, 4)
    return sent, [accuracy, f"{rates[0]:,.0f}" if options.seeds == 1 else spread(rates)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, nargs="+", required=True, help="CIFAR-10 as pictures: folders or zip files"
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each strategy")
    parser.add_argument("--only", action="append", default=[], help="begin of a strategy; may be given again")
    parser.add_argument("--runs", type=int, default=3, help="of the second table; 0 leaves it out")
    options = parser.parse_args()
    first = next(iter(STRATEGIES))
    chosen = [sync for sync in STRATEGIES if not options.only or sync == first or sync.startswith(tuple(options.only))]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = source_of(options.cifar10, work, "cifar10")
        prepared = run_command([*FIRESTEEL, "prepare", source, "dataset", "--engine", "local", "--json"], work)
        rows = json.loads(prepared.output)["splits"]
        print(f"{rows['train']:,} + {rows['test']:,} rows, {options.epochs} epochs; {machine()}\n")
        table, whole = [], 0.0
        for sync in chosen:
            sent, cells = measure(work, sync, options)
            whole = whole or sent
            table.append([sync, STRATEGIES[sync], f"{sent:,.0f}", f"{whole / sent:,.1f}", *cells])
            note(" | ".join(table[-1]))
        print_table(["strategy", "what is sent", "bytes a step", "fewer", "accuracy", "rows/s"], table)
        if options.runs:
            print()
            contestants = {sync: lambda sync=sync: train(work, sync, 1, 0) for sync in (NOTHING, AVERAGE)}
            rates = {
                sync: [trained["rows_per_second"] for trained in each]
                for sync, each in in_turns(contestants, options.runs).items()
            }
            table = [[sync, spread(rates[sync]), f"{ratio(rates[sync], rates[NOTHING]):.3f}"] for sync in rates]
            print_table(["exchange", "rows/s", "ratio"], table)


if __name__ == "__main__":
    main()
