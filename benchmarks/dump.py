"""Prepare BSON dumps of the shape of a shop's catalogue, small and large, with little memory.

    python benchmarks/dump.py [--gigabytes 0.2 2] [--master local-cluster[2,1,1024]] [--seed 1] [--folder FOLDER]

The dump is made here: records `{_id, category_id, imgs: [{picture}]}` of 1 to 4 pictures of 180x180 pixels, in categories whose sizes
are as in a report on CNNs with Deeplearning4j on Spark (7,069,896 records in 5,270 categories; quartiles 69, 200, 718.5 pictures, mean 1,341, the
largest 79,640), scaled down. Pictures are JPEGs of noise and shapes from a pool, about 6 kB each, as there.

Driver and executors have heaps of 1 GB (`spark.driver.memory`, and the third number of local-cluster). Reported for each size: seconds
of the command, of the part that grows, pictures a second, and the peak of proportional memory of each kind of process: the
JVMs, and Python's. Wanted: seconds that grow with the size and no faster, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import bson
import numpy as np
from measuring import FIRESTEEL, fail, machine, note, print_table
from memory import MemorySampler
from PIL import Image, ImageDraw

POOL = 400
QUARTILES = (12, 69, 200, 718.5, 79_640)
CATEGORIES = 5_270
HEAP = "1g"


def pictures(seed: int) -> list[bytes]:
    """JPEGs of 180x180 of about 6 kB."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(POOL):
        small = generator.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        image = Image.fromarray(small).resize((180, 180), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, w, h = generator.integers(0, 180, 4)
            pen.ellipse(
                [x, y, x + w // 2, y + h // 2], outline=tuple(int(v) for v in generator.integers(0, 256, 3)), width=2
            )
        out = io.BytesIO()
        image.save(out, "JPEG", quality=80)
        found.append(out.getvalue())
    return found


def category_shares(seed: int) -> np.ndarray:
    """Share of each category: sizes between the published quartiles, on a logarithmic scale."""
    generator = np.random.default_rng(seed)
    ranks = np.sort(generator.random(CATEGORIES))
    # The upper quarter falls off quickly: 98.6 % of the categories hold fewer than 20,000.
    sizes = np.exp(
        np.interp(ranks, [0, 0.25, 0.5, 0.75, 0.95, 0.986, 1], np.log([*QUARTILES[:4], 6_000, 20_000, QUARTILES[4]]))
    )
    return generator.permutation(sizes / sizes.sum())


def write_dump(path: Path, size_bytes: int, seed: int) -> int:
    """A dump of about that size; returns its pictures."""
    pool, shares = pictures(seed), category_shares(seed)
    generator = np.random.default_rng(seed)
    written, count, number = 0, 0, 0
    with open(path, "wb") as file:
        while written < size_bytes:
            categories = generator.choice(CATEGORIES, 4096, p=shares)
            several = generator.choice([1, 2, 3, 4], 4096, p=[0.61, 0.18, 0.1, 0.11])
            chosen = generator.integers(0, POOL, (4096, 4))
            for category, pictures_here, which in zip(categories.tolist(), several.tolist(), chosen.tolist()):
                record = {
                    "_id": number, "category_id": 1_000_000_000 + category, "imgs": [{"picture": pool[i]} for i in which[:pictures_here]],
                }  # fmt: skip
                written += file.write(bson.encode(record))
                number, count = number + 1, count + pictures_here
                if written >= size_bytes:
                    break
    return count


def prepared(work: Path, dump: Path, master: str) -> tuple[float, dict[str, int], dict]:
    """Seconds, peaks and what ``prepare --json`` says."""
    command = [
        *FIRESTEEL,
        "prepare",
        dump,
        work / "dataset",
        "--size",
        "32x32",
        "--min-per-class",
        "2",
        "--master",
        master,
        "--json",
    ]
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": f"--driver-memory {HEAP} pyspark-shell"}
    began = time.perf_counter()
    with (
        open(work / "errors", "w") as errors,
        subprocess.Popen(
            list(map(str, command)), cwd=work, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
        MemorySampler(process.pid) as memory,
    ):
        output, _ = process.communicate()
    if process.returncode:
        fail(command, output, (work / "errors").read_text())
    return time.perf_counter() - began, memory.largest, json.loads(output.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 2.0])
    parser.add_argument("--master", default="local-cluster[2,1,1024]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for the dumps and datasets. Default: the system's temporary one")
    options = parser.parse_args()
    table = []
    for gigabytes in options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            work = Path(folder)
            count = write_dump(work / "dump.bson", int(gigabytes * 1e9), options.seed)
            note(f"{gigabytes} GB, {count:,} pictures")
            seconds, found, report = prepared(work, work / "dump.bson", options.master)
        assert report["read"] == report["written"] + report["dropped"] + report["quarantined"] == count
        table.append([
            f"{gigabytes:g} GB", f"{count:,}", str(report["classes"]), f"{seconds:.1f}", f"{count / seconds:,.0f}",
            f"{found['java'] / 1e6:,.0f} MB", f"{found['python'] / 1e6:,.0f} MB",
        ])  # fmt: skip
    print(f"{machine()}, {options.master}\n")
    print_table(
        ["dump", "pictures", "classes", "seconds", "pictures/s", "largest JVM", "largest Python process"], table
    )


if __name__ == "__main__":
    main()
