"""What ``firesteel import`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from firesteel.cli.output import note, say

if TYPE_CHECKING:
    from firesteel.models.importers.folder import ImportResult

_SHOWN = 4


def show_imported(result: ImportResult) -> None:
    """The model in a few lines: what became of the tensors, what goes in and comes out."""
    matching = result.matching
    say(f"Imported {result.source.name} ({result.format}) as {result.model}: {result.parameters:,} parameters.")
    say(f"  matched    {len(matching.matched)} tensors")
    if matching.initial:
        say(f"  initial    {_first(matching.initial)}")
    if matching.unused:
        say(f"  unused     {_first(matching.unused)}")
    if matching.reshaped:
        say(f"  reshaped   {_first([f'{name} ({how})' for name, how in matching.reshaped.items()])}")
    say(f"  input      {'x'.join(map(str, result.input_shape))}")
    say(f"  classes    {len(result.labels)}: {_first(result.labels, counted=False)}")
    say(f"  model      {result.folder}")
    for line in result.notes:
        note(f"  note: {line}")
    say(f"Next: firesteel evaluate {result.folder} DATASET")


def _first(names: Sequence[str], *, counted: bool = True) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN]) + more
    return f"{len(names)}: {shown}" if counted else shown
