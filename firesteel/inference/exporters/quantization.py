"""An ONNX network in 8-bit whole numbers for CPUs, calibrated with real rows (ONNX Runtime's static quantisation)."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firesteel.errors import ModelError
from firesteel.inference.exporters.checking import Check, seconds_per_row
from firesteel.inference.exporters.onnx import runner, save
from firesteel.inference.exporters.rows import Rows

_AT_A_TIME = 16
_KINDS = ["Conv", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Add", "Relu", "Reshape"]
"""What is computed in whole numbers. The preparation of the input and the softmax are not: they would lose the most."""


@dataclass(frozen=True)
class Quantized:
    """What int8 costs and gains.

    Attributes:
        calibration: which rows the ranges are from.
        check: of the int8 file with the network; it says the accuracy of both.
        bytes: of the file.
        float_bytes: of the same in float32.
        milliseconds: a row, in ONNX Runtime on this CPU.
        float_milliseconds: of the same in float32.
    """

    calibration: str
    check: Check
    bytes: int
    float_bytes: int
    milliseconds: float
    float_milliseconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quantize(source: str, target: str, rows: Rows, dtype: str, about: dict[str, Any]) -> None:
    """Write an int8 network of a float32 one.

    Weights are symmetric and of each channel, activations of each tensor, with the ranges that real rows have.

    Args:
        source: ONNX file.
        target: file to write.
        rows: to find the ranges with.
        dtype: of the input.
        about: see :meth:`Exporter.write`.

    Raises:
        ModelError: if ONNX Runtime cannot.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="firesteel-") as folder, _quiet():
        prepared, written = os.path.join(folder, "prepared.onnx"), os.path.join(folder, "int8.onnx")
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared, written, _reader(prepared, rows, dtype), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=_KINDS,
                nodes_to_exclude=_preparation(prepared), calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )  # fmt: skip
        except Exception as error:  # whatever of the quantiser's own
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ModelError(f"the network cannot be quantised to int8: {first[:300]}. Export it without.") from error
        save(onnx.load(written), about, target)


def measured(float_file: str, int8_file: str, check: Check, rows: Rows, calibration: Rows, dtype: str) -> Quantized:
    """Sizes and speeds of both files on this CPU, in turns."""
    values = rows.values[:32].astype(dtype)
    speeds = [[seconds_per_row(runner(file), values) for file in (float_file, int8_file)] for _ in range(3)]
    of_float, of_int8 = (1e3 * min(pair[place] for pair in speeds) for place in (0, 1))
    return Quantized(
        calibration.origin, check, os.path.getsize(int8_file), os.path.getsize(float_file), of_int8, of_float
    )


def _reader(path: str, rows: Rows, dtype: str) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    name = onnx.load(path, load_external_data=False).graph.input[0].name
    batches = (rows.values[start : start + _AT_A_TIME].astype(dtype) for start in range(0, len(rows), _AT_A_TIME))

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {name: batch}

    return Reader()


def _preparation(path: str) -> list[str]:
    """Names of the nodes before the first layer of weights."""
    import onnx

    names = []
    for node in onnx.load(path, load_external_data=False).graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            break
        names.append(node.name)
    return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantiser warns of steps that were done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


__all__ = ["Quantized", "measured", "quantize"]
