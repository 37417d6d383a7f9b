"""Two workers of one thread on one machine: `firesteel train` against torchrun with two gloo processes.

    python benchmarks/two_workers.py --mnist FOLDER [--models cnn,mlp:hidden=[128],lstm] [--runs 5]

The same work in turns: half of the same rows each, the same network, batch size a worker, normalisation and optimizer
(Adam). torchrun runs a script with torch's DistributedDataParallel as it comes; Firesteel (engine local) reduces
gradients (allreduce) or averages parameters (average:every=5).

Two things are compared. Training: rows a second of both workers over their training loops, as each side measures them
itself, without start-up. Whole command: seconds from the shell to its end; the script of torchrun saves nothing, and
both import firesteel to build the network. Ratios are medians over the rounds, above 1 is in Firesteel's favour.
Wanted: allreduce trains at least as fast as torchrun, average:every=5 faster than both.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import FIRESTEEL, in_turns, print_table, ratio, run_command, spread
from mnist import read_training_rows, write_training_rows

TORCHRUN = "torchrun DDP"
ALLREDUCE, AVERAGE = "allreduce", "average:every=5"
LEARNING_RATE = 0.001

SCRIPT = '''
"""Train one half of the rows of features.npy and labels.npy by DistributedDataParallel: MODEL BATCH_SIZE EPOCHS."""

import json
import os
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from firesteel.models import build_model, resolve_model

model, batch_size, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world_size = dist.get_rank(), dist.get_world_size()
features = torch.from_numpy(np.load("features.npy")[rank::world_size].copy())
labels = torch.from_numpy(np.load("labels.npy")[rank::world_size].copy())
values = features.float() / 255
multiply, add = 1 / 255 / values.std(), -values.mean() / values.std()
network = build_model(resolve_model(model), input_shape=tuple(features.shape[1:]), num_classes=10, seed=0)
module = nn.parallel.DistributedDataParallel(network)
optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
dist.barrier()
began = time.perf_counter()
for _ in range(epochs):
    order = torch.randperm(len(features))
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        batch = features[index].float().mul_(multiply).add_(add)
        loss = nn.functional.cross_entropy(module(batch), labels[index])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
dist.barrier()
if rank == 0:
    seconds = time.perf_counter() - began
    print(json.dumps({"rows_per_second": epochs * len(features) * world_size / seconds}), flush=True)
dist.destroy_process_group()
os._exit(0)  # a thread of gloo now and then aborts a process that ends the usual way: "terminate called without ..."
'''.replace("LEARNING_RATE", str(LEARNING_RATE))


@dataclass(frozen=True)
class Trained:
    """One run: rows a second of its training loop, and seconds of the whole command."""

    rows_per_second: float
    seconds: float


def train_firesteel(work: Path, model: str, sync: str, options: argparse.Namespace) -> Trained:
    command = [
        *FIRESTEEL, "train", "dataset", "run", "--engine", "local", "--workers", "2", "--threads", "1", "--json",
        "--overwrite", "--device", "cpu", "--model", model, "--sync", sync, "--epochs", str(options.epochs),
        "--batch-size", str(options.batch_size), "--learning-rate", str(LEARNING_RATE),
    ]  # fmt: skip
    return _trained(command, work)


def train_torchrun(work: Path, model: str, options: argparse.Namespace) -> Trained:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(_free_port()), "script.py", model, str(options.batch_size), str(options.epochs),
    ]  # fmt: skip
    return _trained(command, work)


def _trained(command: list[str], work: Path) -> Trained:
    done = run_command(command, work, OMP_NUM_THREADS="1")
    return Trained(json.loads(done.output.strip().splitlines()[-1])["rows_per_second"], done.seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(work: Path, model: str, options: argparse.Namespace) -> list[list[str]]:
    """A row of the table for each contestant."""
    contestants: dict[str, Callable[[], Trained]] = {
        TORCHRUN: lambda: train_torchrun(work, model, options),
        ALLREDUCE: lambda: train_firesteel(work, model, ALLREDUCE, options),
        AVERAGE: lambda: train_firesteel(work, model, AVERAGE, options),
    }
    runs = in_turns(contestants, options.runs)
    rates = {name: [run.rows_per_second for run in each] for name, each in runs.items()}
    seconds = {name: [run.seconds for run in each] for name, each in runs.items()}
    return [
        [
            name,
            spread(rates[name]),
            f"{ratio(rates[name], rates[TORCHRUN]):.2f}",
            spread(seconds[name], 2),
            f"{ratio(seconds[TORCHRUN], seconds[name]):.2f}",
        ]
        for name in contestants
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the idx files of MNIST")
    parser.add_argument("--models", default="cnn,mlp:hidden=[128],lstm", help="networks, separated by commas")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000, help="take so many")
    parser.add_argument("--epochs", type=int, default=1, help="of each run")
    parser.add_argument("--batch-size", type=int, default=32, help="rows a worker and step")
    options = parser.parse_args()
    images, labels = read_training_rows(options.mnist, options.rows)
    print(f"{len(images):,} rows, 2 workers with batch size {options.batch_size}, {options.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_training_rows(work / "idx", images, labels)
        np.save(work / "features.npy", images)
        np.save(work / "labels.npy", labels)
        (work / "script.py").write_text(SCRIPT)
        run_command([*FIRESTEEL, "prepare", "idx", "dataset", "--engine", "local"], work)
        for model in options.models.split(","):
            header = [model, "training, rows/s", "ratio", "whole command, s", "ratio"]
            print_table(header, compare(work, model, options))


if __name__ == "__main__":
    main()
