"""Weights of torch into a network that the caller names: their files do not say what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from firesteel.errors import ConfigError, ModelError
from firesteel.models.importers.base import Imported
from firesteel.models.importers.torch_file import num_outputs, read_weights
from firesteel.models.importers.weights import load_into
from firesteel.storage import Place

Build = Callable[[int], nn.Module]
"""Number of classes -> network."""


def read_torch(
    model: Place,
    *,
    build: Build | None,
    input_shape: tuple[int, ...] | None,
    num_classes: int | None = None,
    match_all: bool = True,
) -> Imported:
    """The network with the weights of a file of ``torch.save``, TorchScript or safetensors.

    Args:
        model: the file.
        build: makes the network.
        input_shape: of one row.
        num_classes: K; None takes the outputs of the file's last layer.
        match_all: see :func:`firesteel.models.importers.weights.load_into`.

    Raises:
        ConfigError: if there is no network.
        FormatError: if the file is damaged.
        ModelError: if the weights do not fit.
    """
    if build is None or input_shape is None:
        raise ConfigError(
            f"{model} holds weights and not what the network computes.\n"
            "Say into which: --into resnet18 or --into MODULE:FACTORY (in Python: into=...), and its input: --input-shape CxHxW"
        )
    weights = read_weights(model)
    network = build(num_classes or file_classes(model, weights.tensors))
    matching = load_into(network, weights.tensors, match_all=match_all)
    return Imported(network.eval(), input_shape, matching, notes=weights.notes)


def file_classes(model: Place, tensors: Mapping[str, Tensor]) -> int:
    """The outputs of the last layer of a file.

    Raises:
        ModelError: if no layer has some.
    """
    found = num_outputs(tensors)
    if found is None or found < 2:
        raise ModelError(
            f"{model} does not say how many classes it has: no layer of it has outputs. Say it: --classes K"
        )
    return found


__all__ = ["Build", "file_classes", "read_torch"]
