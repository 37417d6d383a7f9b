"""TorchScript, torch.export and safetensors."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from firesteel.errors import ModelError
from firesteel.inference.exporters.base import Exporter, Run, not_exportable
from firesteel.inference.exporters.network import WholeNetwork
from firesteel.models.description import model_state

ABOUT = "firesteel.json"
"""Name of the description in an archive of torch."""


class TorchScript(Exporter):
    """Traced, for LibTorch and old deployments: torch itself calls TorchScript deprecated, and torch.export its successor."""

    name = "torchscript"
    suffixes = (".pt", ".pth", ".ts")

    def write(self, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str) -> None:
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter(
                    "ignore"
                )  # that it is deprecated, which the user is told; and what tracing cannot follow
                traced = torch.jit.trace(network, example, check_trace=False)
                torch.jit.save(traced, path, _extra_files={ABOUT: json.dumps(about)})
        except Exception as error:  # whatever the network's own code and torch's tracing raise
            raise not_exportable(self.name, error) from error

    def load(self, path: str, network: WholeNetwork) -> Run:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _runner(torch.jit.load(path))


class TorchExport(Exporter):
    """A graph of ATen operators for any number of rows; ``torch.export.load`` and AOTInductor read it."""

    name = "torch-export"
    suffixes = (".pt2",)

    def write(self, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str) -> None:
        try:
            with warnings.catch_warnings(), open(path, "wb") as file:
                warnings.simplefilter("ignore")
                torch.export.save(exported_program(network, example), file, extra_files={ABOUT: json.dumps(about)})
        except Exception as error:
            raise not_exportable(self.name, error) from error

    def load(self, path: str, network: WholeNetwork) -> Run:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            return _runner(torch.export.load(file).module())


def exported_program(network: WholeNetwork, example: Tensor) -> torch.export.ExportedProgram:
    """The network as ATen operators for any number of rows; raises whatever torch does if it is made for one number."""
    rows = torch.export.Dim("rows", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of its own deprecated parts
        return torch.export.export(network, (example,), dynamic_shapes=({0: rows},), strict=False)


class Safetensors(Exporter):
    """The weights alone, by name; what prepares the input is in the description only."""

    name = "safetensors"
    suffixes = (".safetensors",)

    def write(self, network: WholeNetwork, example: Tensor, about: dict[str, Any], path: str) -> None:
        metadata = {"format": "pt", "firesteel": json.dumps(about)}
        safetensors.torch.save_file(model_state(network.network), path, metadata=metadata)

    def load(self, path: str, network: WholeNetwork) -> Run:
        """The same network with the weights of the file.

        Raises:
            ModelError: if a tensor is not, bit by bit, what it was.
        """
        state, expected = safetensors.torch.load_file(path), model_state(network.network)
        wrong = [name for name in expected if name not in state or not _same_bits(state[name], expected[name])]
        if wrong or len(state) != len(expected):
            raise ModelError(f"{len(wrong)} tensors are not in the file as they are in the network: {wrong[:3]}.")
        again = copy.deepcopy(network)
        for tensor in again.network.state_dict().values():
            tensor.zero_()
        again.network.load_state_dict(state, strict=False)
        return _runner(again)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _runner(module: Any) -> Run:
    def run(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(rows)).numpy()

    return run


__all__ = ["ABOUT", "Safetensors", "TorchExport", "TorchScript", "exported_program"]
