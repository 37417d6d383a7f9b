"""`firesteel predict` of a folder of pictures against bare loops that decode and compute.

    python benchmarks/predict_folder.py MODEL IMAGES [--count 10000] [--runs 3] [--batch-size 64]

MODEL is a run or a model folder, IMAGES a folder of JPEGs, which are linked into a temporary folder until there are --count files.

The bare loops are one script: simplejpeg at a fraction of the size where it can, Pillow's resize, numpy.stack, normalise, the
network, softmax, the five best classes. It runs once in one process, with torch's threads on all cores in the forward pass, and
once as a pool of as many processes as there are cores, each with one thread of torch and every N-th file. It prints nothing.
Firesteel prints a line a picture, into a file.

Seconds of the whole commands, and without the start: of Python, torch, and loading the model. The bare script says how long
its start took; Firesteel's is a prediction of one picture. Commands run in turns; a ratio is the median over the rounds. CPU seconds
(of all threads and processes) tell what each took where other work ran beside them.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from measuring import FIRESTEEL, in_turns, machine, note, print_table, ratio, run_command, spread

SERIAL, POOL, OURS = "bare loop, one process", "bare loop, a process a core", "firesteel predict"

SCRIPT = '''
"""Predict all pictures of a folder: MODEL FOLDER BATCH_SIZE PROCESSES. Prints the seconds of its start."""

import os
import sys
import time

began = time.perf_counter()

import numpy as np
import simplejpeg
import torch
from multiprocessing import get_context
from PIL import Image

from firesteel.models.description import find_model_folder, load_model, read_description
from firesteel.storage import Place

model, folder, batch_size, processes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def load():
    global network, normalize, shape
    place = find_model_folder(Place.of(model))
    description = read_description(place)
    shape = description.feature.shape
    network = load_model(place, description)
    normalize = description.normalizer(torch.device("cpu"))


def decode(path):
    with open(path, "rb") as file:
        data = file.read()
    channels, height, width = shape
    colours = "GRAY" if channels == 1 else "RGB"
    pixels = simplejpeg.decode_jpeg(data, colours, fastdct=True, fastupsample=True, min_height=height, min_width=width)
    image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)


@torch.inference_mode()
def predict(paths):
    for start in range(0, len(paths), batch_size):
        rows = np.stack([decode(path).transpose(2, 0, 1) for path in paths[start : start + batch_size]])
        probabilities = network(normalize(torch.from_numpy(rows))).softmax(1)
        probabilities.topk(min(5, probabilities.shape[1]))
    return len(paths)


def prepare_worker():
    torch.set_num_threads(1)
    load()


paths = sorted(os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
if processes == 1:
    load()
    print(time.perf_counter() - began)
    predict(paths)
else:
    with get_context("fork").Pool(processes, prepare_worker) as pool:
        print(time.perf_counter() - began)
        pool.map(predict, [paths[number::processes] for number in range(processes)], chunksize=1)
'''


def main() -> None:
    """Run all contestants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.images.resolve().parent) as folder:
        files = linked(options.images, Path(folder) / "pictures", options.count)
        script = Path(folder) / "bare.py"
        script.write_text(SCRIPT)
        print(machine())
        print_results(measure(options, files, script, Path(folder)), options)


def linked(images: Path, target: Path, count: int) -> Path:
    """A folder of ``count`` hard links, 1,000 a folder."""
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        sys.exit(f"there are no JPEGs in {images}")
    for number, path in enumerate(islice(cycle(found), count)):
        place = target / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    return target


def measure(options: argparse.Namespace, files: Path, script: Path, folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """(seconds, seconds of the start, CPU seconds) of each run, by contestant."""
    model = options.model.resolve()

    def bare(processes: int) -> tuple[float, ...]:
        command = [sys.executable, script, model, files, str(options.batch_size), str(processes)]
        before = cpu_seconds()
        done = run_command(command, folder)
        return done.seconds, float(done.output), cpu_seconds() - before

    def ours() -> tuple[float, ...]:
        settings = ["--batch-size", str(options.batch_size), "--workers", str(options.workers)]
        first = next(files.rglob("*.jpg"))
        start = run_command([*FIRESTEEL, "predict", model, first, *settings], folder).seconds
        before = cpu_seconds()
        done = run_command([*FIRESTEEL, "predict", model, files, *settings], folder)
        predicted = len(done.output.splitlines())
        if predicted != options.count:
            sys.exit(f"firesteel predicted {predicted} of {options.count} pictures")
        return done.seconds, start, cpu_seconds() - before

    contestants = {SERIAL: lambda: bare(1), POOL: lambda: bare(options.workers), OURS: ours}
    return in_turns(contestants, options.runs, warm_up=False)


def cpu_seconds() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_results(results: dict[str, list[tuple[float, ...]]], options: argparse.Namespace) -> None:
    """The table, and the two ratios against each bare loop."""
    rows = []
    for name, runs in results.items():
        whole, start, cpu = zip(*runs)
        net = [all_of_it - beginning for all_of_it, beginning in zip(whole, start)]
        rate = options.count / statistics.median(net)
        rows.append([name, spread(whole, 1), f"{statistics.median(start):.1f}", f"{rate:,.0f}", spread(cpu, 1)])
    print_table(["", "seconds", "of these the start", "pictures/s after it", "CPU seconds"], rows)
    ours = results[OURS]
    for name in (SERIAL, POOL):
        whole = ratio([run[0] for run in results[name]], [run[0] for run in ours])
        net = ratio([run[0] - run[1] for run in results[name]], [run[0] - run[1] for run in ours])
        cpu = ratio([run[2] for run in results[name]], [run[2] for run in ours])
        print(f"firesteel / {name}: {net:.2f} after the start, {whole:.2f} of whole commands, {cpu:.2f} by CPU seconds")
    note(f"{options.runs} runs")


if __name__ == "__main__":
    main()
