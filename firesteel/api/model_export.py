"""``firesteel.export_model``: a network as a file for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from firesteel.api.paths import Path
from firesteel.storage import Place

if TYPE_CHECKING:
    from firesteel.inference.exporters.driver import ModelExport


def export_model(
    run: Path,
    path: Path,
    *,
    to: str,
    output: Literal["probabilities", "logits"] = "probabilities",
    preprocessing: bool = True,
    input_dtype: Literal["float32", "uint8"] | None = None,
    opset: int | None = None,
    quantize: Literal["int8"] | None = None,
    check: Path | Sequence[Path] = (),
    calibrate: Path | Sequence[Path] = (),
    check_rows: int = 256,
    model: Any = None,
    overwrite: bool = False,
) -> ModelExport:
    """Write a trained or imported network as ONNX, TorchScript, torch.export or safetensors.

    The file takes raw rows of any number, ``(rows, *shape)``; of pictures 0 to 255, RGB. The normalisation, the order of channels and
    the softmax are inside; labels and all that is known of the input are in the file and in ``PATH.json`` beside it. It appears under
    its name only after what it gives has been compared with the network.

    Args:
        run: a run or a model folder.
        path: of the file.
        to: onnx, torchscript, torch-export or safetensors.
        output: what the network gives.
        preprocessing: whether raw rows go in; else normalised ones.
        input_dtype: of the rows; None is float32. TorchScript takes both.
        opset: of ONNX, 18 to 23; None is 20.
        quantize: int8: weights and activations in 8 bits, for CPUs, with ONNX Runtime; what is lost is measured.
        check: rows to compare on: a prepared dataset (its test split), or files, folders and archives of pictures. None compares on
            random ones.
        calibrate: rows that find the ranges for int8: a dataset (its training split) or pictures; None takes ``check``.
        check_rows: at most so many, for each of both.
        model: the factory or its name, for models whose description alone may not be followed.
        overwrite: replace a file of that name.

    Returns:
        where it is, what it says of itself, and how it compares.

    Raises:
        ConfigError: for wrong options.
        ModelError: if the network cannot be exported, or the file gives other results; then nothing is written.
        ResourceError: if a package is missing.
        RunError: if there is no model, or the dataset does not fit it.
    """
    from firesteel.inference.exporters.driver import ExportOptions, export

    options = ExportOptions(
        to,
        output,
        preprocessing,
        input_dtype,
        opset,
        quantize,
        _places(check),
        _places(calibrate),
        check_rows,
        overwrite,
    )
    return export(Place.of(run), Place.of(path), options, model)


def _places(given: Path | Sequence[Path]) -> tuple[Path, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)  # type: ignore[return-value]
