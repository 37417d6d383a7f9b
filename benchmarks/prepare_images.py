"""`firesteel prepare` of pictures, on Spark and with local processes, against a bare loop that only decodes them.

    python benchmarks/prepare_images.py --images FOLDER --bson FILE [--copies 8] [--times 4] [--runs 3]

The bare loop is a script with multiprocessing.Pool of two processes that reads, decodes and resizes; it writes nothing.
It runs twice: with Pillow (with the draft mode, which decodes a JPEG at a fraction of its size), and with simplejpeg, the
fastest decoder on PyPI, likewise at a fraction of the size, and Pillow's resize. Firesteel (master local[2], or engine local with two workers) also finds
the classes, splits, mixes, checksums and writes. FOLDER holds class folders of JPEGs (or train/ and test/ with class folders), FILE
is a BSON dump of records with `imgs: [{picture}]`.

The given source is multiplied in a temporary folder: --copies times for the small source, --times as often again for
the large one. Files are hard links where the file system has them; records of the dump get new _ids. Each contestant
prepares both sizes, in turns:

* whole command: pictures of the large source by the seconds from the shell to the end;
* the work itself: pictures that the large source has more than the small one, by the seconds that it takes longer, so
  that what every start costs falls out. At least 0.85 of a bare loop's rate is wanted;
* peak memory of all processes of the command together (Linux: proportional set size, sampled in a round of its own,
  because to sample it takes time of those that have much), for both sizes: it must not grow with the source. Python's
  processes are also shown alone, because a JVM takes what it may. A process holds one shard (32 MB) of each split
  before it writes it, so the small source should make 300 MB of rows: at 64x64 pixels 24,000 pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bson
from measuring import FIRESTEEL, fail, in_turns, note, print_table, ratio, run_command, spread
from memory import MemorySampler

PILLOW, BARE = "bare loop, Pillow", "bare loop, simplejpeg"
SPARK, LOCAL = "firesteel, Spark", "firesteel, local"

SCRIPT = '''
"""Decode all pictures of a folder or a BSON dump in two processes: SOURCE HEIGHT WIDTH pillow|ours. Prints how many."""

import io
import os
import struct
import sys
from multiprocessing import Pool

import bson
import numpy as np
import simplejpeg
from PIL import Image

source, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def by_pillow(picture):
    image = Image.open(io.BytesIO(picture))
    image.draft("RGB", (width, height))
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def by_simplejpeg(picture):
    if picture[:3] != b"\\xff\\xd8\\xff":
        return by_pillow(picture)
    pixels = simplejpeg.decode_jpeg(
        picture, "RGB", fastdct=True, fastupsample=True, min_height=height, min_width=width, strict=True
    )
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


decoder = by_pillow if sys.argv[4] == "pillow" else by_simplejpeg


def decoded(pictures):
    count = 0
    for picture in pictures:
        try:
            count += decoder(picture) is not None
        except (OSError, ValueError):  # no picture
            pass
    return count


def decode_files(paths):
    return decoded(open(path, "rb").read() for path in paths)


def decode_records(span):
    with open(source, "rb") as file:
        file.seek(span[0])
        records = bson.decode_all(file.read(span[1] - span[0]))
    return decoded(image["picture"] for record in records for image in record["imgs"])


def batches_of_files(size=256):
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def batches_of_records(size=4 << 20):
    edges, position, total = [0], 0, os.path.getsize(source)
    with open(source, "rb") as file:
        while position < total:
            file.seek(position)
            position += struct.unpack("<i", file.read(4))[0]
            if position - edges[-1] >= size or position == total:
                edges.append(position)
    return list(zip(edges, edges[1:]))


with Pool(2) as pool:
    if os.path.isdir(source):
        print(sum(pool.imap_unordered(decode_files, batches_of_files())))
    else:
        print(sum(pool.imap_unordered(decode_records, batches_of_records())))
'''


# -- sources of two sizes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One source in two sizes."""

    name: str
    small: Path
    large: Path


def multiply_folder(folder: Path, target: Path, copies: int) -> Path:
    """The same class folders with every file ``copies`` times, under new names."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = target / file.relative_to(folder).parent
        place.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            new = place / f"{file.stem}-{number}{file.suffix}"
            try:
                os.link(file, new)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, new)
    return target


def multiply_dump(file: Path, target: Path, copies: int) -> Path:
    """A dump with every record ``copies`` times, each with an _id of its own."""
    documents = bson.decode_all(file.read_bytes())
    with target.open("wb") as out:
        for number, (_, document) in enumerate(itertools.product(range(copies), documents)):
            out.write(bson.encode({**document, "_id": number}))
    return target


# -- commands, their seconds and their memory -----------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One command: pictures that it used, its seconds, and the peaks of its memory where it was sampled."""

    pictures: int
    seconds: float
    peak_bytes: int | None = None
    peak_python_bytes: int | None = None


@dataclass(frozen=True)
class Contestant:
    """What does the work.

    Attributes:
        command: for a source.
        count: reads from the output how many pictures were used.
    """

    command: Callable[[Path], list[str | Path]]
    count: Callable[[str], int]

    def run(self, source: Path, work: Path) -> Run:
        shutil.rmtree(work / "dataset", ignore_errors=True)
        done = run_command(self.command(source), work)
        return Run(self.count(done.output), done.seconds)

    def run_sampled(self, source: Path, work: Path) -> Run:
        shutil.rmtree(work / "dataset", ignore_errors=True)
        command = self.command(source)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, cwd=work, stdout=output, stderr=errors)
            began = time.perf_counter()
            with MemorySampler(process.pid) as memory:
                status = process.wait()
                seconds = time.perf_counter() - began
            output.seek(0)
            errors.seek(0)
            if status:
                fail(command, output.read(), errors.read())
            return Run(self.count(output.read()), seconds, memory.peak, memory.peak_python)


def bare(decoder: str, size: tuple[int, int]) -> Contestant:
    return Contestant(lambda source: [sys.executable, "bare.py", source, *map(str, size), decoder], int)


def firesteel(engine: list[str], size: tuple[int, int]) -> Contestant:
    options = ["--size", f"{size[0]}x{size[1]}", "--channels", "3", "--json", *engine]
    return Contestant(
        lambda source: [*FIRESTEEL, "prepare", source, "dataset", *options], lambda text: json.loads(text)["written"]
    )


# -- the comparison -------------------------------------------------------------------------------------------------


def compare(work: Path, source: Source, size: tuple[int, int], options: argparse.Namespace) -> list[list[str]]:
    """A row of the table for each contestant."""
    contestants = {
        PILLOW: bare("pillow", size),
        BARE: bare("ours", size),
        SPARK: firesteel(["--master", "local[2]"], size),
        LOCAL: firesteel(["--engine", "local", "--workers", "2"], size),
    }

    def both(run: Callable[[Path, Path], Run]) -> Callable[[], tuple[Run, Run]]:
        return lambda: (run(source.small, work), run(source.large, work))

    sampled = {name: both(each.run_sampled)() for name, each in contestants.items()}
    note("memory sampled")
    runs = in_turns({name: both(each.run) for name, each in contestants.items()}, options.runs, warm_up=False)
    whole = {name: [large.pictures / large.seconds for _, large in each] for name, each in runs.items()}
    work_itself = {name: [_work_rate(*pair) for pair in each] for name, each in runs.items()}
    return [
        [
            name,
            spread(whole[name]),
            spread(work_itself[name]),
            f"{ratio(work_itself[name], work_itself[PILLOW]):.2f}",
            f"{ratio(work_itself[name], work_itself[BARE]):.2f}",
            _megabytes(small.peak_bytes, large.peak_bytes),
            _megabytes(small.peak_python_bytes, large.peak_python_bytes),
        ]
        for name, (small, large) in sampled.items()
    ]


def _work_rate(small: Run, large: Run) -> float:
    return (large.pictures - small.pictures) / max(1e-3, large.seconds - small.seconds)


def _megabytes(*peaks: int | None) -> str:
    return " -> ".join("--" if peak is None else f"{peak / 1e6:,.0f}" for peak in peaks)


def parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="class folders of JPEGs")
    parser.add_argument("--bson", type=Path, help="a BSON dump")
    parser.add_argument("--copies", type=int, default=8, help="of each file, in the small source")
    parser.add_argument("--bson-copies", type=int, default=220, help="of each record, in the small source")
    parser.add_argument("--times", type=int, default=4, help="how many times larger the large source is")
    parser.add_argument("--size", type=parse_size, default=(64, 64), metavar="HEIGHTxWIDTH", help="default: 64x64")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", help="folder for the multiplied sources; default: the system's")
    options = parser.parse_args()
    if not options.images and not options.bson:
        parser.error("give --images, --bson or both")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        work = Path(folder)
        (work / "bare.py").write_text(SCRIPT)
        sources = []
        if options.images:
            counts = (options.copies, options.copies * options.times)
            sources.append(Source("JPEGs in folders", *(
                multiply_folder(options.images.resolve(), work / f"images-{count}", count) for count in counts
            )))  # fmt: skip
        if options.bson:
            counts = (options.bson_copies, options.bson_copies * options.times)
            sources.append(Source("BSON dump", *(
                multiply_dump(options.bson, work / f"records-{count}.bson", count) for count in counts
            )))  # fmt: skip
        for source in sources:
            note(f"{source.name}: {source.small.name} and {source.large.name}")
            header = [source.name, "whole command, pictures/s", "the work itself, pictures/s", "to Pillow's",
                      "to simplejpeg's", "peak MB", "of Python"]  # fmt: skip
            print_table(header, compare(work, source, options.size, options))


if __name__ == "__main__":
    main()
