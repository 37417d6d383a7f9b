"""Damaged files of every format, read by the sources: none may crash, hang or take much memory.

    python benchmarks/fuzz.py --cases 100000 --seed 0

Prints a table, and below each format the cases that failed; the status is 1 if there are any. A case is known by its
number: `tests.fuzz.harness.case(FORMAT, NUMBER, SEED)` gives its bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.harness import run
from tests.fuzz.seeds import FORMATS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("formats", nargs="*", default=FORMATS, help=", ".join(FORMATS))
    options = parser.parse_args()
    failed = False
    print("| format |   cases |    read | set aside | refused | failed |   s | slowest, s | more memory, MB |")
    print("|--------|--------:|--------:|----------:|--------:|-------:|----:|-----------:|----------------:|")
    for format in options.formats:
        found = run(format, -(-options.cases // len(options.formats)), options.seed)
        failed |= bool(found.failures)
        print(
            f"| {format:<6} | {found.cases:>7,} | {found.read:>7,} | {found.set_aside:>9,} | {found.refused:>7,}"
            f" | {len(found.failures):>6} | {found.seconds:>3.0f} | {found.slowest:>10.2f} | {found.memory_bytes / 1e6:>15.0f} |",
            flush=True,
        )
        for number, text in found.failures[:20]:
            print(f"    case {number}: {text}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
