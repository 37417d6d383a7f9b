"""``firesteel watch``: a run, live."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug
from firesteel.cli.output import answering, print_json


def watch(
    run: Annotated[str, typer.Argument(help="A run.")],
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the present state as one JSON object and end.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show a run live, also one that another terminal or another machine drives."""
    with answering(debug, stopped=lambda: "Stopped watching; that does not stop a run."):
        from firesteel.cli.run_report import run_state_as_json
        from firesteel.monitoring.events import EventReader
        from firesteel.monitoring.progress import present_state, watch_run
        from firesteel.monitoring.state import RunState
        from firesteel.storage import Place
        from firesteel.training.run import RunDirectory

        directory = RunDirectory.open(Place.of(run))
        if as_json:
            print_json(run_state_as_json(present_state(EventReader(directory.place), RunState())))
            return
        from rich.console import Console

        if watch_run(directory.place, Console(highlight=False), once=once).status in ("failed", "lost"):
            sys.exit(1)
