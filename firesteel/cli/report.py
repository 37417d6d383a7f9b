"""What the commands show: results as text for people, and as JSON for programs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from firesteel.cli.output import note, print_json, say

if TYPE_CHECKING:
    from firesteel.data.commit import Prepared
    from firesteel.data.manifest import Counts
    from firesteel.evaluation.counts import Evaluation
    from firesteel.export.driver import ExportResult
    from firesteel.spark.transform_files import Transformed

_MAX_CLASSES = 60
_MAX_CONFUSION = 20


# -- prepare ----------------------------------------------------------------------------------------------------------


def prepared_as_json(result: Prepared) -> dict[str, Any]:
    """The object that ``firesteel prepare --json`` prints."""
    manifest = result.dataset.manifest
    return {
        "dataset": result.dataset.place.uri,
        "reused": result.reused,
        **manifest.counts.model_dump(),
        "classes": len(manifest.labels),
        "shape": list(manifest.feature.shape),
        "columns": None if manifest.feature.table is None else list(manifest.feature.table.names),
        "splits": {name: split.rows for name, split in manifest.splits.items()},
        "quarantine": manifest.quarantine.reasons,
        "warnings": manifest.warnings,
        "seconds": manifest.created.get("seconds"),
    }


def accounting(counts: Counts) -> str:
    """Records by their fate, as a sum."""
    return (
        f"{counts.read:,} read"
        + (f" + {counts.generated:,} generated" if counts.generated else "")
        + f" = {counts.written:,} written + {counts.dropped:,} dropped + {counts.quarantined:,} quarantined"
    )


def report_prepared(result: Prepared, *, as_json: bool) -> None:
    """The dataset on standard output, in a few lines or as JSON."""
    if as_json:
        print_json(prepared_as_json(result))
    else:
        show_prepared(result)


def show_prepared(result: Prepared) -> None:
    """The dataset in a few lines."""
    manifest, place = result.dataset.manifest, result.dataset.place
    counts = manifest.counts
    if result.reused:
        say(f"Reused {place}: prepared {manifest.created.get('date', 'before')} from the same source and parameters.")
    else:
        say(f"Prepared {place} in {manifest.created['seconds']:.1f} s.")
    shape = "x".join(map(str, manifest.feature.shape))
    splits = ", ".join(f"{name} {split.rows:,}" for name, split in manifest.splits.items())
    shards = sum(len(split.shards) for split in manifest.splits.values())
    size = sum(shard.bytes for split in manifest.splits.values() for shard in split.shards)
    say(f"  rows      {splits}; {len(manifest.labels)} classes")
    if manifest.feature.table is not None:
        names = manifest.feature.table.names
        say(f"  columns   {', '.join(names[:8])}{f', ... ({len(names)})' if len(names) > 8 else ''}")
    say(
        f"  features  {shape} {manifest.feature.dtype}, {manifest.feature.encoding}; {shards} shards, {size / 1e6:.1f} MB"
    )
    say(f"  records   {accounting(counts)}")
    for reason, count in manifest.quarantine.reasons.items():
        say(f"            {count:,} x {reason}")
    for warning in manifest.warnings:
        note(f"  note: {warning}")


def show_exported(result: ExportResult) -> None:
    """The export in a few lines."""
    if result.reused:
        say(f"Nothing to do: {result.folder} holds this export already.")
    else:
        say(f"Exported to {result.folder} in {result.seconds:.1f} s.")
    say(f"  files     {result.written:,} in {len(result.folders):,} classes, {result.bytes / 1e6:.1f} MB")
    say(f"  records   {result.read:,} read = {result.written:,} written + {result.set_aside:,} set aside")
    for reason, count in result.reasons.items():
        say(f"            {count:,} x {reason}")
    for text in result.notes:
        note(f"  note: {text}")
    if result.set_aside:
        note(f"  note: what was set aside is listed in {result.folder}/.export/set-aside-*.csv")


# -- transform --------------------------------------------------------------------------------------------------------


def show_process(file: str, schema: str | None, *, as_json: bool) -> None:
    """The steps of a process with the schema after each."""
    from firesteel.tables.process import TransformProcess
    from firesteel.tables.schema import Schema

    process = TransformProcess.read(file, schema=Schema.parse(schema) if schema is not None else None)
    if as_json:
        schemas = [each.to_mapping() for each in process.schemas]
        print_json({**process.to_mapping(), "schemas": schemas, "row_wise": process.is_row_wise})
    else:
        say(process.describe())


def show_transformed(result: Transformed) -> None:
    """What came out of a transformation, in a few lines."""
    say(f"Transformed {result.rows_read:,} rows into {result.rows_written:,} in {result.seconds:.1f} s.")
    say(f"  result   {result.place}")
    say(f"  columns  {result.process.final_schema}")
    if result.broken:
        say(f"  broken   {result.broken:,} left out; one: {result.example}")
    for name, count in result.nulls.items():
        say(f"  missing  {count:,} x {name}")


# -- evaluate ---------------------------------------------------------------------------------------------------------


def show_evaluation(result: Evaluation, split: str) -> None:
    """Metrics, a table of the classes, and the confusion matrix where it fits on a screen."""
    say(f"Evaluated {result.rows:,} rows of split {split}, {len(result.classes)} classes")
    for name, value in [
        ("accuracy", result.accuracy),
        ("top-5", result.top5),
        ("precision", result.precision),
        ("recall", result.recall),
        ("F1", result.f1),
        ("loss", result.loss),
    ]:
        say(f"  {name:<10} {value:.4f}" + ("   (macro mean over classes)" if name == "precision" else ""))
    say()
    _show_classes(result)
    never = [entry.label for entry in result.classes if entry.rows and not entry.predicted]
    if never:
        shown = ", ".join(never[:5]) + (", ..." if len(never) > 5 else "")
        note(f"note: {len(never)} classes were never predicted ({shown}); their precision counts as 0")
    say()
    if len(result.classes) <= _MAX_CONFUSION:
        _show_confusion(result)
    else:
        _show_confusions(result)


def _show_classes(result: Evaluation) -> None:
    width = max(5, *(len(entry.label) for entry in result.classes[:_MAX_CLASSES]))
    say(f"{'class':<{width}}  {'rows':>7}  precision  recall      F1")
    for entry in result.classes[:_MAX_CLASSES]:
        say(f"{entry.label:<{width}}  {entry.rows:>7,}  {entry.precision:>9.4f}  {entry.recall:.4f}  {entry.f1:.4f}")
    if len(result.classes) > _MAX_CLASSES:
        say(f"... {len(result.classes) - _MAX_CLASSES} more classes; --json lists all")


def _show_confusion(result: Evaluation) -> None:
    names = [entry.label for entry in result.classes]
    width = max(4, *(len(name) for name in names))
    narrow = max(4, len(str(int(result.confusion.max()))))
    cells = [max(narrow, len(name)) for name in names]
    if width + 1 + sum(cell + 1 for cell in cells) > shutil.get_terminal_size((120, 24)).columns:
        cells = [max(narrow, min(8, cell)) for cell in cells]
    say("confusion matrix (rows: true class, columns: predicted)")
    say(" " * width + "  " + " ".join(f"{_cut(name, cell):>{cell}}" for name, cell in zip(names, cells)))
    for name, row in zip(names, result.confusion.tolist()):
        say(f"{name:<{width}}  " + " ".join(f"{value or '.':>{cell}}" for value, cell in zip(row, cells)))


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _show_confusions(result: Evaluation, most: int = 10) -> None:
    names = [entry.label for entry in result.classes]
    wrong = result.confusion.copy()
    wrong[range(len(names)), range(len(names))] = 0
    say(f"most frequent confusions of {int(wrong.sum()):,} (the whole matrix: --json)")
    for place in wrong.ravel().argsort()[::-1][:most]:
        true, predicted = divmod(int(place), len(names))
        if wrong[true, predicted]:
            say(f"  {wrong[true, predicted]:>5}  {names[true]} taken for {names[predicted]}")
