"""How long does a checkpoint stop the training? With a state of VGG16's size: 528 MiB of weights and twice that of Adam's.

    python benchmarks/checkpoint_stall.py [--runs 5] [--folder FOLDER]

In turns: a plain copy of the state in memory (a clone of each tensor), and the call that keeps a checkpoint, after which
the training goes on while a thread writes. While it writes the main thread does small steps of work; the longest pause
between two of them beyond the usual is what writing itself costs the training.
Wanted: the call takes less than the copy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from measuring import machine, note, print_table, spread
from torch import Tensor

from firesteel.monitoring.events import EventWriter
from firesteel.storage import Place
from firesteel.training.checkpoint import Keep
from firesteel.training.checkpoint_writer import CheckpointWriter
from firesteel.training.state import WorkerState
from firesteel.world import World

CONVOLUTIONS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)] + [
    (512, 512)
] * 5
DENSE = [(25088, 4096), (4096, 4096), (4096, 1000)]


def vgg16_state() -> dict[str, Tensor]:
    """Weights and Adam's two moments of each, 138,357,544 parameters."""
    shapes = [(out, into, 3, 3) for into, out in CONVOLUTIONS] + [(out, into) for into, out in DENSE]
    shapes += [(out,) for _, out in CONVOLUTIONS + DENSE]
    return {
        f"{kind}/{number}": torch.randn(shape)
        for number, shape in enumerate(shapes)
        for kind in ("model", "optimizer/exp_avg", "optimizer/exp_avg_sq")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    arguments = parser.parse_args()
    tensors = vgg16_state()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    note(f"{size / 2**20:,.0f} MiB")
    copies, calls, pauses, writes = [], [], [], []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run = Place.of(folder)
        with EventWriter(run, 0) as events:
            writer = CheckpointWriter(run, World(), None, Keep(last=1), events, 60)
            for number in range(arguments.runs + 1):
                began = time.perf_counter()
                copy = {name: tensor.clone() for name, tensor in tensors.items()}
                copies.append(time.perf_counter() - began)
                del copy
                where = {"step": number + 1, "epoch": 0, "step_in_epoch": number + 1, "seconds": 1.0}
                began = time.perf_counter()
                writer.save(WorkerState(tensors, {"weight": 1.0}), where, "due")
                calls.append(time.perf_counter() - began)
                began = time.perf_counter()
                pauses.append(longest_pause(writer))
                writes.append(time.perf_counter() - began)
                note(
                    f"copy {copies[-1]:.2f} s, call {calls[-1]:.2f} s, pause {pauses[-1]:.3f} s, write {writes[-1]:.1f} s"
                )
        if writer.failure:
            raise SystemExit(writer.failure)
    print(f"{size / 1e9:.2f} GB; {machine()}\n")
    rows = [
        ["a copy of the state in memory", spread(copies[1:], 2)],
        ["the call that keeps a checkpoint", spread(calls[1:], 2)],
        ["the first such call, whose memory is new", f"{calls[0]:.2f}"],
        ["longest pause while it is written", spread(pauses[1:], 3)],
        ["writing, in a thread", spread(writes[1:], 1)],
    ]
    print_table(["", "seconds"], rows)
    ratio = statistics.median(call / copy for call, copy in zip(calls[1:], copies[1:]))
    print(f"\ncall / copy: {ratio:.2f} (wanted: below 1)")


def longest_pause(writer: CheckpointWriter) -> float:
    """Of the main thread, while the writer is at work: steps of a millisecond of arithmetic."""
    work, longest = torch.randn(200, 200), 0.0
    while writer.busy:
        began = time.perf_counter()
        for _ in range(5):
            work @ work
        longest = max(longest, time.perf_counter() - began)
    return longest


if __name__ == "__main__":
    main()
