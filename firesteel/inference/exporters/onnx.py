"""ONNX, through torch's exporter, read again by ONNX Runtime."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firesteel.errors import ModelError, ResourceError
from firesteel.inference.exporters.base import Exporter, Run, not_exportable
from firesteel.inference.exporters.network import WholeNetwork
from firesteel.inference.exporters.torch_files import exported_program

LOWEST_OPSET, HIGHEST_OPSET, DEFAULT_OPSET = 18, 23, 20
"""Of the operators; 20 is what torch 2.13 writes by itself."""
_MOST_BYTES = (1 << 31) - 1
"""Of a protobuf message."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Onnx(Exporter):
    """One file, at most 2 GB, for any number of rows. Names of inputs and outputs are in the description.

    Args:
        opset: version of the operators.
    """

    name = "onnx"
    suffixes = (".onnx",)

    def __init__(self, opset: int | None = None):
        self.opset = DEFAULT_OPSET if opset is None else opset

    def check(self) -> None:
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ResourceError(
                f"exporting ONNX needs {', '.join(missing)}, which this Python does not have: pip install 'firesteel[export]'"
            )

    def write(self, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        if size > _MOST_BYTES - (16 << 20):
            raise ModelError(
                f"an ONNX file holds at most 2 GB; this network has {size / 1e9:.1f} GB. Use torch-export."
            )
        try:
            model = _exported(network, example, self.opset, about)
        except Exception as error:  # whatever the network's own code and torch's tracing raise
            raise not_exportable(self.name, error) from error
        save(model, about, path)

    def load(self, path: str, network: WholeNetwork) -> Run:
        return runner(path)


def _exported(network: WholeNetwork, example: Tensor, opset: int, about: dict[str, Any]) -> Any:
    with _quiet():
        # Given a module, torch's exporter falls back to one number of rows; given a program of any number it does not.
        program = torch.onnx.export(
            exported_program(network, example), (example,), dynamo=True, verbose=False,
            input_names=[about["input"]["name"]], output_names=[about["output"]["name"]], opset_version=opset,
        )  # fmt: skip
        assert program is not None
        return program.model_proto


def save(model: Any, about: dict[str, Any], path: str) -> None:
    """Write a model with a description, and without the places in source files that torch notes at every node."""
    import onnx

    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    about = {**about, "opset": model.opset_import[0].version}
    onnx.helper.set_model_props(model, {"firesteel": json.dumps(about), "labels": json.dumps(about["labels"])})
    model.producer_name = "firesteel"
    model.producer_version = about["versions"]["firesteel"]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def runner(path: str, threads: int = 0) -> Run:
    """ONNX Runtime on the CPU; ``threads`` 0 is one a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(rows: np.ndarray) -> np.ndarray:
        return session.run(None, {given.name: np.ascontiguousarray(rows)})[0]

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter speaks of torchvision, of its own deprecated parts, and of each of its steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)


__all__ = ["DEFAULT_OPSET", "HIGHEST_OPSET", "LOWEST_OPSET", "Onnx", "runner", "save"]
