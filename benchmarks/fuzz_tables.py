"""Mutated lines of CSV through ``prepare`` on Spark, and the same file through prediction's reader.

::

    python benchmarks/fuzz_tables.py --lines 100000 --seed 1

Every line that is not blank must be a record that is either written or quarantined with a reason; nothing may crash; and
prediction must take exactly the rows that prepare has written. Ends with status 1 if that is not so.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import firesteel
from firesteel.data.manifest import Dataset
from firesteel.storage import Place
from firesteel.tables.files import read_file

SCHEMA = (
    "when time, lat double, lon double, count integer, serious boolean, place string, type categorical(TOR|WIND|HAIL),"
    " severity string"
)
_NASTY = [b'"', b'""', b",", b",,", b"\t", b"\\", b"\0", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"\r", b"\n", b" ", b"'", b";",
          b"NaN", b"inf", b"1e999", b"-", b"9" * 30, "é日本\u2028".encode(), b"x" * 5000, b"," * 30000, b"\x1b[31m"]  # fmt: skip


def sound_line(generator: random.Random) -> bytes:
    """A line of the schema."""
    day = f"2024-{generator.randint(1, 12):02d}-{generator.randint(1, 28):02d}T{generator.randint(0, 23):02d}:00"
    place = generator.choice(["Bartlett", '"Strother, KS"', '"the ""old"" mill"', ""])
    fields = [day, f"{generator.uniform(-90, 90):.2f}", f"{generator.uniform(-180, 180):.2f}", generator.randint(0, 99),
              generator.choice(["true", "false"]), place, generator.choice(["TOR", "WIND", "HAIL"]), generator.randint(0, 2)]  # fmt: skip
    return ",".join(map(str, fields)).encode()


def mutated(line: bytes, generator: random.Random) -> bytes:
    """The line with one to three things done to it."""
    for _ in range(generator.randint(1, 3)):
        line = generator.choice(_MUTATIONS)(line, generator)
    return line


def _flip(line: bytes, generator: random.Random) -> bytes:
    if not line:
        return line
    place = generator.randrange(len(line))
    return line[:place] + bytes([line[place] ^ (1 << generator.randrange(8))]) + line[place + 1 :]


def _cut(line: bytes, generator: random.Random) -> bytes:
    return line[: generator.randrange(len(line) + 1)]


def _insert(line: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(line) + 1)
    return line[:place] + generator.choice(_NASTY[:-3] if generator.random() < 0.99 else _NASTY) + line[place:]


def _swap(line: bytes, generator: random.Random) -> bytes:
    fields = line.split(b",")
    generator.shuffle(fields)
    return b",".join(fields)


def _double(line: bytes, generator: random.Random) -> bytes:
    return line + b"," + line


_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [_flip, _flip, _cut, _insert, _insert, _swap, _double]


def records_of(data: bytes) -> int:
    """Lines that are not blank, counted by themselves."""
    return sum(
        bool(line.decode("utf-8", "replace").removeprefix("\ufeff").strip()) for line in re.split(rb"\r\n|\n|\r", data)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--master", default="local[2]")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    lines = [sound_line(generator) for _ in range(arguments.lines)]
    data = b"\n".join(mutated(line, generator) for line in lines)
    with tempfile.TemporaryDirectory(prefix="firesteel-fuzz-") as folder:
        source = Path(folder, "fuzz.csv")
        source.write_bytes(data)
        began = time.monotonic()
        result = firesteel.prepare(
            source, Path(folder, "dataset"), schema=SCHEMA, header=False, label="severity", master=arguments.master,
            features=["when", "lat", "lon", "count", "serious", "type"], encode={"when": "parts"},
        )  # fmt: skip
        seconds = time.monotonic() - began
        manifest = result.dataset.manifest
        counts, expected = manifest.counts, records_of(data)
        print(f"{arguments.lines:,} mutated lines, {len(data) / 1e6:.1f} MB, seed {arguments.seed}: {seconds:.1f} s")
        print(f"  records     {expected:,} lines that are not blank; {counts.read:,} read")
        print(f"  fate        {counts.written:,} written + {counts.quarantined:,} quarantined")
        for reason, count in list(manifest.quarantine.reasons.items())[:12]:
            print(f"              {count:,} x {reason}")
        began = time.monotonic()
        total, usable = predicted(source, Path(folder, "dataset"))
        print(f"  prediction  {total:,} rows read, {usable:,} usable: {time.monotonic() - began:.1f} s")
        print(f"              (written, and {manifest.quarantine.reasons.get('no label', 0):,} without a label)")
        sound = counts.read == expected == counts.written + counts.quarantined == total
        # Prediction does not look at the label: rows that only lack one can be predicted.
        unlabelled = manifest.quarantine.reasons.get("no label", 0)
        if not (sound and usable == counts.written + unlabelled):
            print("NOT as it must be")
            sys.exit(1)


def predicted(source: Path, dataset: Path) -> tuple[int, int]:
    """Rows that prediction's reader finds in a file, and how many have a vector."""
    table = Dataset.open(str(dataset)).feature.table
    assert table is not None
    total = usable = 0
    for records in read_file(Place.of(source), table, header=False):
        encoded = table.vectors(records.columns)
        total += records.count
        usable += records.count - len(encoded.problems | records.problems)
    return total, usable


if __name__ == "__main__":
    main()
