"""What augmentation costs: the nine operations of the default policy, here and in kornia, as a Markdown table.

    python benchmarks/augmentation.py [--runs 10]        kornia is left out where it is not installed

One thread; batches of random pictures; milliseconds a batch, random numbers included. "A seed each" is what generated
pictures need, whose random numbers depend on their original alone: kornia draws for a batch from torch's generator, so that
its pictures have to go one by one. kornia's operations are the nearest that it has.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import in_turns, machine, print_table, ratio, spread

from firesteel.data.augmentation import Policy, draw, step_keys
from firesteel.data.augmentation.apply import apply

SIZES = [(128, 32), (64, 64), (16, 180)]


def ours(policy: Policy, images: torch.Tensor, epochs: list[int]) -> None:
    """One batch, with other numbers at every call."""
    epochs[0] += 1
    apply(draw(policy, step_keys(0, epochs[0], np.arange(len(images))), tuple(images.shape[1:])), images)  # type: ignore[arg-type]


def kornia_operations() -> Any:
    """The nine operations."""
    import kornia.augmentation as K

    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=1.0), K.RandomRotation90((1, 3), p=0.9), K.RandomRotation((180.0, 180.0), p=0.9),
        K.RandomRotation((270.0, 270.0), p=0.9), K.RandomRotation((-5.0, 10.0), p=0.5), K.RandomRotation((-10.0, 10.0), p=0.5),
        K.RandomShear((-5.0, 5.0), p=0.4), K.RandomPerspective(0.5, p=0.6), K.RandomAffine(0.0, scale=(1.0, 1.6), p=0.4),
        data_keys=["input"],
    )  # fmt: skip


def one_by_one(operations: Any, images: torch.Tensor) -> None:
    """Each picture with a seed of its own."""
    for number in range(len(images)):
        torch.manual_seed(number)
        operations(images[number : number + 1])


def milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}\n")
    table = []
    for rows, edge in SIZES:
        images = torch.rand(rows, 3, edge, edge) * 255
        calls: dict[str, Callable[[], Any]] = {
            f"firesteel, {name}": partial(ours, Policy.of(name), images, [0])
            for name in ("default", "light", "upright")
        }
        if importlib.util.find_spec("kornia"):
            operations = kornia_operations()
            calls |= {
                "kornia": partial(operations, images / 255),
                "kornia, a seed each": partial(one_by_one, operations, images / 255),
            }
        measured = in_turns({name: partial(milliseconds, call) for name, call in calls.items()}, options.runs)
        first = next(iter(measured.values()))
        table += [
            [f"{rows} of {edge}x{edge}", name, spread(values, 1), f"{ratio(values, first):.2f}"]
            for name, values in measured.items()
        ]
    print_table(["batch", "what", "ms a batch", "to default"], table)


if __name__ == "__main__":
    main()
