"""A network of dense layers, for tables and small pictures."""

from __future__ import annotations

import math

from torch import Tensor, nn

from firesteel.models.construction import check_counts


class Mlp(nn.Module):
    """Dense layers with ReLU between them.

    The default is the 4-3-3-3 network with 39 parameters that Skymind's slides train on Iris flowers (4 values, 3
    classes). Larger inputs want more: ``mlp:hidden=[128]`` is a fair beginning for MNIST.

    Args:
        input_shape: of one row, any number of dimensions; it is flattened.
        num_classes: K.
        hidden: neurons of each hidden layer; an empty list makes logistic regression.

    Raises:
        ConfigError: if ``hidden`` is something else.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...] = (3, 3)):
        super().__init__()
        neurons = math.prod(input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for count in check_counts("mlp", "hidden", hidden):
            layers += [nn.Linear(neurons, count), nn.ReLU()]
            neurons = count
        layers.append(nn.Linear(neurons, num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, *input_shape) -> logits (B, K)."""
        return self.layers(features)
