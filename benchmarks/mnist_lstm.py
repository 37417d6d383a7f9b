"""The LSTM on 60,000 MNIST images: `firesteel train` on Spark against the same job by pyspark's TorchDistributor.

    python benchmarks/mnist_lstm.py --mnist FOLDER [--runs 3]

Both are whole commands, from the shell to the end of the process: local[2], 2 workers of one thread, batch 64 in all
(32 each), 1 epoch, Adam. They run in turns; ratios are of medians. Also timed, for orientation: the loop in one plain
process on 2 threads, and torchrun with two gloo processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOB = """
import gzip, os, sys, time
import numpy as np

def load(folder):
    with gzip.open(os.path.join(folder, "train-images-idx3-ubyte.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(os.path.join(folder, "train-labels-idx1-ubyte.gz")) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return images, labels

def train(folder, threads, batch, distributed):
    import torch
    import torch.distributed as dist
    from torch import nn
    torch.set_num_threads(threads)
    rank, world = 0, 1
    if distributed:
        dist.init_process_group("gloo")
        rank, world = dist.get_rank(), dist.get_world_size()
    images, labels = load(folder)
    features = torch.from_numpy(images[rank::world].copy())
    labels = torch.from_numpy(labels[rank::world].copy())
    torch.manual_seed(0)

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(28, 128, batch_first=True)
            self.head = nn.Linear(128, 10)
        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model = Lstm()
    module = nn.parallel.DistributedDataParallel(model) if distributed else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    order = torch.randperm(len(features))
    for start in range(0, len(order), batch):
        index = order[start:start + batch]
        x = (features[index].float() / 255 - 0.1307) / 0.3081
        loss = nn.functional.cross_entropy(module(x), labels[index])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if distributed:
        dist.destroy_process_group()
    return float(loss)
"""

COMMANDS = {
    "plain": "from job import train\nimport sys\ntrain(sys.argv[1], 2, 64, False)\n",
    "torchrun": "from job import train\nimport sys\ntrain(sys.argv[1], 1, 32, True)\n",
    "distributor": """
import os, sys
os.environ["PYSPARK_PYTHON"] = sys.executable
from pyspark.sql import SparkSession
from pyspark.ml.torch.distributor import TorchDistributor
spark = SparkSession.builder.master("local[2]").getOrCreate()
from job import train
TorchDistributor(num_processes=2, local_mode=False, use_gpu=False).run(train, sys.argv[1], 1, 32, True)
spark.stop()
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", required=True, help="folder with the four idx files of MNIST")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="names to run, separated by commas")
    options = parser.parse_args()
    mnist = os.path.abspath(options.mnist)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "job.py").write_text(JOB)
        for name, code in COMMANDS.items():
            (work / f"{name}.py").write_text(code)
        firesteel = [sys.executable, "-m", "firesteel.cli.main"]
        subprocess.run([*firesteel, "prepare", mnist, "mnist", "--engine", "local"], cwd=work, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        train = [*firesteel, "train", "mnist", "run", "--model", "lstm", "--workers", "2", "--batch-size", "32",
                 "--epochs", "1"]  # fmt: skip
        spark = ["--master", "local[2]"]
        commands = {
            "firesteel on Spark, average:every=5": [*train, *spark, "--sync", "average:every=5"],
            "firesteel on Spark, allreduce": [*train, *spark, "--sync", "allreduce"],
            "firesteel local, average:every=5": [*train, "--sync", "average:every=5"],
            "plain": [sys.executable, "plain.py", mnist],
            "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29555",
                         "torchrun.py", mnist],
            "TorchDistributor": [sys.executable, "distributor.py", mnist],
        }  # fmt: skip
        if options.only:
            commands = {name: value for name, value in commands.items() if name in options.only.split(";")}
        seconds = {name: [] for name in commands}
        environment = {**os.environ, "PYTHONPATH": str(work), "OMP_NUM_THREADS": ""}
        environment.pop("OMP_NUM_THREADS")
        for run in range(options.runs + 1):
            for name, command in commands.items():
                shutil.rmtree(work / "run", ignore_errors=True)
                began = time.perf_counter()
                done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
                if run:  # the first round warms the caches of the machine and of the JVM
                    seconds[name].append(time.perf_counter() - began)
        reference = statistics.median(seconds.get("TorchDistributor", [1.0]))
        for name, values in seconds.items():
            median = statistics.median(values)
            print(
                f"{name:<38} median {median:6.2f} s  ({min(values):.2f} to {max(values):.2f})  ratio {median / reference:.2f}"
            )


if __name__ == "__main__":
    main()
