"""Tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from firesteel.cli.output import printable

_WIDTH_OF_FILES = 160


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> None:
    """A table on standard output; the last ``numbers`` columns are numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for i, name in enumerate(header):
        right = i >= len(header) - numbers
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    shown = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES, highlight=False)
    with shown.capture() as capture:
        shown.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())
