"""A network with the preparation of its input inside: raw rows in, probabilities or logits out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from firesteel.models.description import ModelDescription
from firesteel.models.graph import as_graph

Output = Literal["probabilities", "logits"]


class WholeNetwork(nn.Module):
    """(B, *feature.shape), raw and of any dtype -> float32 (B, K).

    Args:
        network: in evaluation mode.
        description: of its input.
        output: what comes out.
        preprocessing: whether raw values go in; else what the network itself takes: normalised, in its own order of channels.
    """

    multiply: Tensor
    add: Tensor

    def __init__(self, network: nn.Module, description: ModelDescription, *, output: Output, preprocessing: bool):
        super().__init__()
        self.network = network
        self._description = description
        self._probabilities, self._preprocessing = output == "probabilities", preprocessing
        normalizer = description.normalizer(torch.device("cpu"))
        self._reverse = normalizer.reverse
        self.register_buffer("multiply", normalizer.multiply)
        self.register_buffer("add", normalizer.add)
        self.eval()

    def prepared(self, features: Tensor) -> Tensor:
        """What the network itself takes of raw rows."""
        features = features.to(torch.float32) * self.multiply + self.add
        return features.flip(1) if self._reverse else features

    def as_graph(self, example: Tensor) -> WholeNetwork:
        """The same with the network as a graph, see :func:`firesteel.models.graph.as_graph`.

        Raises:
            ModelError: if it cannot be one.
        """
        graph, _ = as_graph(self.network, self.prepared(example) if self._preprocessing else example)
        return WholeNetwork(
            graph, self._description, output="probabilities" if self._probabilities else "logits",
            preprocessing=self._preprocessing,
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        if self._preprocessing:
            features = self.prepared(features)
        result = self.network(features).float()
        return result.softmax(1) if self._probabilities else result


__all__ = ["Output", "WholeNetwork"]
