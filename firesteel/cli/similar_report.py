"""What ``firesteel index`` and ``firesteel similar`` show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from firesteel.cli.output import note, print_json_list, say
from firesteel.cli.report import show_prepared

if TYPE_CHECKING:
    from firesteel.data.commit import Prepared
    from firesteel.search.driver import Matches


def show_index(result: Prepared) -> None:
    """The index in a few lines."""
    show_prepared(result)
    source = result.dataset.manifest.source
    say(f"  vectors   {source['shown_layer']} of {source['model']}")
    say(f"Next: firesteel similar {result.dataset.place} PICTURE...")


def show_similar(index: str, found: Iterator[Matches], sheet: str | None, *, as_json: bool) -> int:
    """Print what was found as it comes; returns for how many pictures there is nothing."""
    failed = 0
    if as_json:

        def items() -> Iterator[dict[str, Any]]:
            nonlocal failed
            for each in found:
                failed += each.problem is not None
                yield _as_json(each)

        print_json_list({"index": index}, "results", items(), lambda: {"failed": failed})
        return failed
    for each in found:
        failed += each.problem is not None
        _show(each)
    if sheet is not None:
        say(f"Drawn: {sheet}")
    return failed


def _as_json(each: Matches) -> dict[str, Any]:
    if each.prediction is None:
        return {"file": each.place, "error": each.problem}
    return {
        "file": each.place,
        "label": each.prediction.label,
        "probability": each.prediction.probabilities[0],
        "similar": [vars(hit) for hit in each.similar],
    }


def _show(each: Matches) -> None:
    if each.prediction is None:
        note(f"{each.place}: {each.problem}")
        return
    say(f"{each.place}  {each.prediction.label} {each.prediction.probabilities[0]:.3f}")
    width = max((len(hit.label) for hit in each.similar), default=0)
    for number, hit in enumerate(each.similar, start=1):
        say(f"  {number:>3}  {hit.similarity:.4f}  {hit.label:<{width}}  {hit.id}", at_once=True)
