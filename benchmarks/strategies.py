"""The synchronisation strategies side by side: what each sends, what it reaches, how fast it trains, as Markdown tables.

    python benchmarks/strategies.py --cifar10 TRAIN TEST [--epochs 4] [--only threshold,diloco] [--runs 20]

TRAIN and TEST are folders or zip files of pictures in class folders. Network cnn, two local workers of one thread,
batch size 32 each, Adam at 0.001, the same seed and the same epochs for all; no augmentation. Bytes a step are the
payload that one worker gave to exchanges, over all its steps, as counted while training; "fewer" is against the first
strategy, all-reduce in fp32. Accuracy is of the test split. Rows/s are of the training loop over both workers.

The second table is what average:every=5 costs: the same two workers train in turns with it and with no exchange, 25
steps each, --runs times; the ratio is the median over neighbours. Wanted: threshold sends at least 50 times fewer bytes and comes within 0.01 of all-reduce's accuracy;
average:every=5 keeps at least 0.98 of the throughput.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from accuracy import source_of
from measuring import FIRESTEEL, in_turns, machine, note, print_table, ratio, run_command, spread

from firesteel.local import LocalProcesses
from firesteel.world import Meeting, World

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
BLOCK_STEPS = 25


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


def blocks(runs: int, world: World, meeting: Meeting | None) -> dict[str, list[float]]:
    """Rows a second of both workers in each block of steps, by strategy; the worker function of the second table."""
    import torch
    import torch.distributed as dist

    from firesteel.data.loader import Batch
    from firesteel.models import build_model, resolve_model
    from firesteel.sync import check_sync, make_sync

    assert meeting is not None
    torch.set_num_threads(1)
    with meeting.process_group():
        model = build_model(resolve_model("cnn"), input_shape=(3, 32, 32), num_classes=10, seed=0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
        strategies = {name: make_sync(check_sync(name, 2)) for name in (NOTHING, AVERAGE)}
        modules = {name: strategy.on_start(model, optimizer, world) for name, strategy in strategies.items()}
        batch = Batch(torch.randn(32, 3, 32, 32), torch.arange(32) % 10, 32, 64)

        def block(name: str) -> float:
            sync = strategies[name]
            dist.barrier()
            began = time.perf_counter()
            for _ in range(BLOCK_STEPS):
                loss = torch.nn.functional.cross_entropy(modules[name](batch.features), batch.labels)
                sync.before_backward(loss, batch).backward()
                sync.after_backward(batch)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                sync.after_step(batch)
            dist.barrier()
            return BLOCK_STEPS * batch.global_rows / (time.perf_counter() - began)

        return in_turns({name: partial(block, name) for name in strategies}, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cifar10", type=Path, nargs="+", required=True, help="CIFAR-10 as pictures: folders or zip files"
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each strategy")
    parser.add_argument("--only", action="append", default=[], help="begin of a strategy; may be given again")
    parser.add_argument("--runs", type=int, default=20, help="blocks of the second table; 0 leaves it out")
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
            rates = LocalProcesses().run(blocks, options.runs, workers=2, meet=True)[0]
            table = [[sync, spread(rates[sync]), f"{ratio(rates[sync], rates[NOTHING]):.3f}"] for sync in rates]
            print_table(["exchange", "rows/s", "ratio"], table)


if __name__ == "__main__":
    main()
