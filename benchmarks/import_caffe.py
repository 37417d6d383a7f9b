"""How long a .caffemodel of 528 MB takes to become a network, and how much memory, against reading the file.

VGG16 with random weights is written to a folder. In turns, each in a process of its own: the file is read to its end into
one buffer; the network is built from the prototxt and the weights; the weights go into a given network by name; the
network is written as a model folder. The file is in the system's cache for all of them, which is hardest for the importer.

    python benchmarks/import_caffe.py --folder /tmp/vgg --runs 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from measuring import in_turns, machine, print_table, ratio, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.models.importers.caffe.files import field, vgg16_prototxt, vgg16_weights, weights_layer

_BEGIN = """
import json, sys, time
import torch
from firesteel.models.importers.caffe import read_caffe
from firesteel.storage import Place
folder = sys.argv[1]
model, text = Place.of(folder + "/vgg16.caffemodel"), Place.of(folder + "/vgg16.prototxt")
"""
_TASKS = {
    "read the file": "began = time.perf_counter()\nkept = open(model.uri, 'rb', buffering=0).readall()",
    "build from the prototxt": "began = time.perf_counter()\nkept = read_caffe(model, prototxt=text)",
    "into a given network": """
sys.path.insert(0, sys.argv[2])
from import_caffe import vgg16
network = vgg16()
began = time.perf_counter()
kept = read_caffe(model, into=network, input_shape=(3, 224, 224))""",
    "write the weights": """
import safetensors.torch
kept = read_caffe(model, prototxt=text)
began = time.perf_counter()
safetensors.torch.save_file(kept.network.state_dict(), folder + "/written.safetensors")""",
}
_END = """
seconds = time.perf_counter() - began
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"seconds": seconds, "peak": int(status["VmHWM"].split()[0]) << 10}))
"""


def vgg16() -> object:
    """VGG16 of torch's layers, with the names that Caffe's file has."""
    from torch import nn

    network, inputs = nn.Sequential(), 3
    for block, (count, maps) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            network.add_module(f"conv{block}_{number}", nn.Conv2d(inputs, maps, 3, padding=1))
            network.add_module(f"relu{block}_{number}", nn.ReLU())
            inputs = maps
        network.add_module(f"pool{block}", nn.MaxPool2d(2))
    network.add_module("flatten", nn.Flatten())
    for name, taken, given in (("fc6", 512 * 49, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        network.add_module(name, nn.Linear(taken, given))
        if name != "fc8":
            network.add_module(f"relu{name[2:]}", nn.ReLU())
    return network


def write(folder: Path) -> int:
    """Write the model; its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vgg16.prototxt").write_text(vgg16_prototxt())
    with (folder / "vgg16.caffemodel").open("wb") as file:
        file.write(field(1, "VGG16"))
        for name, kind, blobs in vgg16_weights():
            file.write(weights_layer(name, kind, blobs))
    return (folder / "vgg16.caffemodel").stat().st_size


def measure(task: str, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of a task in a process of its own."""
    code = _BEGIN + _TASKS[task] + _END
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(Path(__file__).parent)], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the files, 1.1 GB; they are left there")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    size = write(options.folder)
    print(f"{machine()}\n.caffemodel of {size / 1e6:,.0f} MB\n")
    results = in_turns({task: lambda task=task: measure(task, options.folder) for task in _TASKS}, options.runs)
    reads = [each["seconds"] for each in results["read the file"]]
    rows = []
    for task, found in results.items():
        seconds = [each["seconds"] for each in found]
        peak = statistics.median(each["peak"] for each in found)
        rows.append(
            (task, spread(seconds, 2), f"{ratio(seconds, reads):.2f}", f"{peak / 1e6:,.0f}", f"{peak / size:.2f}")
        )
    print_table(("task", "s", "of reading", "peak memory, MB", "of the file's size"), rows)


if __name__ == "__main__":
    main()
