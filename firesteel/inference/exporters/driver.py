"""One export from start to end: write beside, check on real rows, move in place."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firesteel._version import __version__
from firesteel.errors import ConfigError, ModelError
from firesteel.inference.exporters.base import EXAMPLE_ROWS, Exporter
from firesteel.inference.exporters.checking import Check, compare, refuse_other_results
from firesteel.inference.exporters.network import Output, WholeNetwork
from firesteel.inference.exporters.onnx import HIGHEST_OPSET, LOWEST_OPSET, Onnx
from firesteel.inference.exporters.quantization import Quantized, measured, quantize
from firesteel.inference.exporters.rows import Rows, random_rows, rows_of
from firesteel.inference.exporters.torch_files import Safetensors, TorchExport, TorchScript
from firesteel.inference.pictures import Name
from firesteel.models.description import ModelDescription, find_model_folder, load_model, read_description
from firesteel.specs import did_you_mean
from firesteel.storage import Place

FORMATS: dict[str, type[Exporter]] = {each.name: each for each in (Onnx, TorchScript, TorchExport, Safetensors)}


@dataclass(frozen=True)
class ExportOptions:
    """What a user may choose of an export; see :func:`firesteel.export_model`.

    Raises:
        ConfigError: for options that are wrong, or do not go together.
    """

    to: str
    output: Output = "probabilities"
    preprocessing: bool = True
    input_dtype: str | None = None
    opset: int | None = None
    quantize: str | None = None
    check: tuple[Name, ...] = ()
    calibrate: tuple[Name, ...] = ()
    check_rows: int = 256
    overwrite: bool = False

    def __post_init__(self) -> None:
        _one_of("to", self.to, FORMATS)
        _one_of("output", self.output, ("probabilities", "logits"))
        if self.input_dtype is not None:
            _one_of("input_dtype", self.input_dtype, ("float32", "uint8"))
        if self.input_dtype == "uint8" and not self.preprocessing:
            raise ConfigError("input_dtype uint8 needs the preprocessing inside: without it normalised numbers go in.")
        if self.opset is not None and (self.to != "onnx" or not LOWEST_OPSET <= self.opset <= HIGHEST_OPSET):
            raise ConfigError(f"opset is for onnx, {LOWEST_OPSET} to {HIGHEST_OPSET}; got {self.opset} for {self.to}.")
        if self.to == "safetensors" and (self.output != "probabilities" or not self.preprocessing or self.input_dtype):
            raise ConfigError(
                "output, preprocessing and input_dtype are for files that compute; safetensors holds weights only. Leave them out."
            )
        if self.check_rows < 1:
            raise ConfigError(f"check_rows must be at least 1, got {self.check_rows}.")
        self._check_quantization()

    def _check_quantization(self) -> None:
        if self.quantize is None:
            if self.calibrate:
                raise ConfigError("calibrate goes with quantize int8.")
            return
        _one_of("quantize", self.quantize, ("int8",))
        if self.to != "onnx":
            raise ConfigError(f"quantize is for onnx, whose runtime computes int8 on CPUs; got {self.to}.")
        if not self.check:
            raise ConfigError(
                "quantize int8 needs real rows: to find the ranges of the numbers, and to measure what is lost.\n"
                "Pass --check DATASET (its training split finds the ranges unless --calibrate says other rows)."
            )

    def exporter(self) -> Exporter:
        return Onnx(self.opset) if self.to == "onnx" else FORMATS[self.to]()


@dataclass(frozen=True)
class ModelExport:
    """What was exported.

    Attributes:
        path: of the file.
        about: what the file, and ``FILE.json`` beside it, say of it.
        bytes: of the file.
        check: with the network; of an int8 file that of its float32 version.
        quantized: what int8 costs and gains; None for float32.
        notes: what a person should know.
    """

    path: Place
    about: dict[str, Any]
    bytes: int
    check: Check
    quantized: Quantized | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel export --json`` prints."""
        return {
            "path": self.path.uri, "format": self.about["format"], "bytes": self.bytes, "input": self.about["input"],
            "output": self.about["output"], "check": self.check.to_json(),
            "quantized": None if self.quantized is None else self.quantized.to_json(), "notes": list(self.notes),
        }  # fmt: skip


def export(run: Place, path: Place, options: ExportOptions, model: Any = None) -> ModelExport:
    """Export a model; the arguments are those of :func:`firesteel.export_model`."""
    exporter = options.exporter()
    _check_place(path, exporter, options)
    exporter.check()
    folder = find_model_folder(run)
    description = read_description(folder)
    dtype = options.input_dtype or "float32"
    if dtype == "uint8" and description.feature.dtype != "uint8":
        raise ConfigError(
            f"input_dtype uint8 is for models of pictures; this one takes {description.feature.dtype}, which would be cut."
        )
    rows, calibration = _rows(options, description)
    network = WholeNetwork(
        load_model(folder, description, model), description, output=options.output, preprocessing=options.preprocessing
    )
    about = _about(description, options, dtype)
    example = torch.from_numpy(np.resize(rows.values, (EXAMPLE_ROWS, *description.feature.shape)).astype(dtype))
    with path.writing_path() as local, _float_file(local, options) as float_file:
        check, noted = _write_and_check(exporter, network, example, about, float_file, rows)
        quantized = None
        if calibration is not None:
            about = {**about, "quantization": {"type": "int8", "calibration": calibration.origin}}
            quantize(float_file, local, calibration, dtype, about)
            loss = compare(network, exporter.load(local, network), rows, dtype)
            quantized = measured(float_file, local, loss, rows, calibration, dtype)
        notes = (*noted, *_notes(options, description, quantized))
        result = ModelExport(path, about, os.path.getsize(local), check, quantized, notes)
        _describe(result)  # first, so that the file never stands without its description
    return result


def _write_and_check(
    exporter: Exporter, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str, rows: Rows
) -> tuple[Check, tuple[str, ...]]:
    """Write the file of a network and compare it with the network; notes for people.

    Where tracing fails, or makes a file for one number of rows (``len(features)`` in the network's code), the network goes
    into the file by way of a graph, which knows the number of rows from others.
    """

    def attempt(traced: WholeNetwork) -> Check:
        exporter.write(traced, example, about, path)
        check = compare(network, exporter.load(path, traced), rows, about["input"]["dtype"])
        refuse_other_results(check)
        return check

    try:
        return attempt(network), ()
    except ModelError as error:
        try:
            check = attempt(network.as_graph(example))
        except ModelError as also:
            raise ModelError(f"{error}\nAs a graph of its layers it cannot be written either: {also}") from error
        return check, (f"written as a graph of its layers, since tracing failed: {str(error).splitlines()[0]}",)


def _rows(options: ExportOptions, description: ModelDescription) -> tuple[Rows, Rows | None]:
    """Rows to check with, and to calibrate with."""
    rows = random_rows(description)
    if options.check:
        rows = rows_of(options.check, description, options.check_rows, splits=("test", "validation"))
    rows = rows if options.preprocessing else _normalized(rows, description)
    if options.quantize is None:
        return rows, None
    calibration = rows_of(options.calibrate or options.check, description, options.check_rows, splits=("train",))
    return rows, calibration if options.preprocessing else _normalized(calibration, description)


def _normalized(rows: Rows, description: ModelDescription) -> Rows:
    normalize = description.normalizer(torch.device("cpu"))
    return Rows(normalize(torch.from_numpy(rows.values)).numpy(), rows.labels, rows.origin)


@contextlib.contextmanager
def _float_file(local: str, options: ExportOptions) -> Iterator[str]:
    """Where the file in float32 goes: to a place of its own if it is only the source of another."""
    if options.quantize is None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="firesteel-") as folder:
        yield os.path.join(folder, "float32.onnx")


def _check_place(path: Place, exporter: Exporter, options: ExportOptions) -> None:
    if not path.name.lower().endswith(exporter.suffixes):
        raise ConfigError(f"a file of {exporter.name} is called NAME{exporter.suffixes[0]}, got {path}.")
    for each in (path, *_described_at(path)):
        if each.exists() and not options.overwrite:
            raise ConfigError(f"{each} is there already. Choose another name, or pass --overwrite.")


def _described_at(path: Place) -> tuple[Place, Place]:
    """The description and the labels beside a file."""
    return Place(f"{path.uri}.json"), Place(f"{path.uri}.labels.txt")


def _about(description: ModelDescription, options: ExportOptions, dtype: str) -> dict[str, Any]:
    feature, scaling = description.feature, description.normalization
    normalization = {**scaling.model_dump(), "channel_order": description.channel_order}
    inside = options.preprocessing and options.to != "safetensors"
    raw: dict[str, Any] = {"name": "input", "dtype": dtype, "shape": ["rows", *feature.shape]}
    if feature.kind == "image":
        raw |= {"layout": "rows, channels, height, width", "resize": "the whole picture, bilinear with antialiasing"}
        raw["values"] = "0 to 255, " + ("grey" if feature.shape[0] == 1 else "RGB") if inside else "normalised"
    return {
        "format": options.to,
        "model": description.model.shown,
        "labels": description.labels,
        "input": raw,
        "output": {
            "name": "logits" if options.to == "safetensors" else options.output,
            "shape": ["rows", len(description.labels)],
        },
        "preprocessing": "inside" if inside else "not inside: (value * scale - mean) / std, then the order of channels",
        "normalization": normalization,
        "versions": {"firesteel": __version__, "torch": torch.__version__},
    }


def _notes(options: ExportOptions, description: ModelDescription, quantized: Quantized | None) -> Iterator[str]:
    if not options.check:
        yield "checked with rows without meaning; --check DATASET or --check PICTURES checks it with real ones"
    if options.to == "torchscript":
        yield "torch calls TorchScript deprecated; its successor is --to torch-export"
    if options.to == "safetensors":
        yield "safetensors holds weights only: normalisation and softmax are in the description"
    if description.feature.table is not None:
        yield "the vectors of rows go in; how columns become vectors is in model.json, under feature.table"
    if quantized is not None and quantized.milliseconds >= quantized.float_milliseconds:
        yield "int8 is not faster than float32 on this CPU"


def _describe(result: ModelExport) -> None:
    """Write the description and the labels beside the file."""
    text = json.dumps(result.about | {"check": result.check.to_json()}, indent=1, ensure_ascii=False)
    if result.quantized is not None:
        text = json.dumps(
            result.about | {"check": result.check.to_json(), "quantized": result.quantized.to_json()},
            indent=1, ensure_ascii=False,
        )  # fmt: skip
    about, names = _described_at(result.path)
    about.write_text(text + "\n")
    labels = [" ".join(label.split()) for label in result.about["labels"]]
    names.write_text("".join(f"{label}\n" for label in labels))


def _one_of(name: str, given: str, allowed: Sequence[str] | dict[str, Any]) -> None:
    if given not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {given!r}.{did_you_mean(given, allowed)}")


__all__ = ["FORMATS", "ExportOptions", "ModelExport", "export"]
