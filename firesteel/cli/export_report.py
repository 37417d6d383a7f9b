"""What ``firesteel export`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firesteel.cli.output import note, say

if TYPE_CHECKING:
    from firesteel.inference.exporters.checking import Check
    from firesteel.inference.exporters.driver import ModelExport
    from firesteel.inference.exporters.quantization import Quantized


def show_export(result: ModelExport) -> None:
    """The file in a few lines: what goes in and comes out, and how it compares."""
    about = result.about
    given, output = about["input"], about["output"]
    say(f"Exported {result.path} ({about['format']}, {result.bytes / 1e6:.1f} MB).")
    values = f", {given['values']}" if "values" in given else ""
    say(f"  input     {given['name']}: {given['dtype']} ({', '.join(map(str, given['shape']))}){values}")
    say(f"  output    {output['name']}: float32 ({', '.join(map(str, output['shape']))})")
    say(f"  checked   {_shown(result.check)}")
    if result.quantized is not None:
        _show_quantized(result.quantized)
    say(f"  beside    {result.path.name}.json, {result.path.name}.labels.txt")
    for line in result.notes:
        note(f"  note: {line}")


def _shown(check: Check) -> str:
    accuracy = "" if check.accuracy is None else f", accuracy {check.accuracy:.4f}"
    return f"{check.origin}: same class for {check.agreement:.2%}, largest difference {check.difference:.1e}{accuracy}"


def _show_quantized(found: Quantized) -> None:
    check = found.check
    say(f"  int8      calibrated with {found.calibration}")
    if check.accuracy is not None and check.exported_accuracy is not None:
        loss = check.accuracy - check.exported_accuracy
        say(f"            accuracy {check.accuracy:.4f} -> {check.exported_accuracy:.4f} (loss {loss:+.4f})")
    say(f"            same class for {check.agreement:.2%} of {check.rows:,} rows")
    say(f"            {found.float_bytes / 1e6:.2f} -> {found.bytes / 1e6:.2f} MB")
    say(
        f"            {found.float_milliseconds:.2f} -> {found.milliseconds:.2f} ms a row"
        f" ({found.float_milliseconds / found.milliseconds:.2f} times as fast) in ONNX Runtime on this CPU"
    )
