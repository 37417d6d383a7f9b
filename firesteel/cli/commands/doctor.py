"""``firesteel doctor``: does everything work here?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from firesteel.cli.options import Debug, Json, Master
from firesteel.cli.output import answering, print_json, say


def doctor(
    master: Master = None,
    place: Annotated[
        str | None,
        typer.Option(help="A folder that is there, on the storage that all machines share, to try from each worker."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check this machine and, with --master, the cluster; say what to change."""
    with answering(debug):
        from firesteel.doctor import checkup

        checks = []
        for check in checkup(master, place, debug=debug):
            checks.append(check)
            if not as_json:
                mark = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}[check.status]
                say(f"{mark}  {check.name}: {check.found}")
                if check.advice:
                    say(f"      {check.advice}")
        failed = sum(check.status == "failed" for check in checks)
        if as_json:
            print_json({"ok": failed == 0, "checks": [vars(check) for check in checks]})
        elif failed:
            say(f"\n{failed} of {len(checks)} checks failed.")
        else:
            say(f"\nAll {len(checks)} checks passed.")
        if failed:
            sys.exit(1)
