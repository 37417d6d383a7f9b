"""Training throughput of one worker: `firesteel.train` against a bare PyTorch loop over the same rows in memory.

    python benchmarks/one_worker.py --mnist FOLDER [--models cnn,mlp:hidden=[128],lstm] [--runs 5]

Both run in this process, in turns, with the same network, threads, batch size, normalisation and optimizer (Adam). The
bare loop is what one writes by hand: a shuffled index, a batch by index, forward, backward, step; it logs nothing.
Compared is the training loop alone: rows a second without reading the data, building the network and saving it.
The ratio is the median over the rounds; at least 0.95 is wanted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from measuring import in_turns, print_table, ratio, spread
from mnist import read_training_rows, write_training_rows
from torch import Tensor, nn

import firesteel
from firesteel.models import build_model, resolve_model

LEARNING_RATE = 0.001


def train_bare(features: Tensor, labels: Tensor, *, model: str, batch_size: int, epochs: int, threads: int) -> float:
    """Rows a second of a plain loop over uint8 features of shape (rows, 1, 28, 28)."""
    torch.set_num_threads(threads)
    network = build_model(resolve_model(model), input_shape=tuple(features.shape[1:]), num_classes=10, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    values = features.float() / 255
    multiply, add = 1 / 255 / values.std(), -values.mean() / values.std()
    began = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(features))
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            batch = features[index].float().mul_(multiply).add_(add)
            loss = nn.functional.cross_entropy(network(batch), labels[index])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return epochs * len(features) / (time.perf_counter() - began)


def train_firesteel(dataset: Path, run: Path, *, model: str, batch_size: int, epochs: int, threads: int) -> float:
    """Rows a second of ``firesteel.train``, as its result says."""
    result = firesteel.train(
        dataset, run, model=model, batch_size=batch_size, epochs=epochs, threads=threads, workers=1, engine="local",
        device="cpu", learning_rate=LEARNING_RATE, overwrite=True,
    )  # fmt: skip
    return result.rows_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the idx files of MNIST")
    parser.add_argument("--models", default="cnn,mlp:hidden=[128],lstm", help="networks, separated by commas")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000, help="take so many; fewer make short runs that pair better")
    parser.add_argument("--epochs", type=int, default=1, help="of each run")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    options = parser.parse_args()
    images, labels = read_training_rows(options.mnist, options.rows)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_training_rows(work / "idx", images, labels)
        firesteel.prepare(work / "idx", work / "dataset", engine="local", workers=1)
        for model in options.models.split(","):
            same = {
                "model": model,
                "batch_size": options.batch_size,
                "epochs": options.epochs,
                "threads": options.threads,
            }
            rates = in_turns(
                {
                    "firesteel": lambda same=same: train_firesteel(work / "dataset", work / "run", **same),
                    "bare": lambda same=same: train_bare(torch.from_numpy(images), torch.from_numpy(labels), **same),
                },
                options.runs,
            )
            compared = ratio(rates["firesteel"], rates["bare"])
            table.append([model, spread(rates["firesteel"]), spread(rates["bare"]), f"{compared:.3f}"])
    print(f"{len(images):,} rows, batch size {options.batch_size}, {options.threads} threads, {options.runs} runs")
    print_table(["network", "firesteel, rows/s", "bare loop, rows/s", "ratio"], table)


if __name__ == "__main__":
    main()
