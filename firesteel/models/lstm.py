"""A recurrent classifier: the MNIST network of the BigDL slides (HCMUT)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from firesteel.errors import ConfigError
from firesteel.models.construction import check_count


class Lstm(nn.Module):
    """One LSTM over the rows of the input, then a dense layer on its last step.

    A picture (channels, height, width) is a sequence of ``height`` steps with ``channels * width`` values; an array
    (steps, values) is one as it stands. 28x28 with ``hidden=128`` and 10 classes is the network of the slides.

    Args:
        input_shape: (channels, height, width) or (steps, values).
        num_classes: K.
        hidden: size of the state.
        layers: LSTMs, one above the other.

    Raises:
        ConfigError: if the input is no sequence, or an option is out of range.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, hidden: int = 128, layers: int = 1):
        super().__init__()
        if len(input_shape) not in (2, 3):
            raise ConfigError(
                f"model lstm needs (channels, height, width) or (steps, values), got shape {tuple(input_shape)}."
            )
        hidden, layers = check_count("lstm", "hidden", hidden), check_count("lstm", "layers", layers)
        values = math.prod(input_shape) // input_shape[-2]
        self.lstm = nn.LSTM(values, hidden, num_layers=layers, batch_first=True)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, *input_shape) -> logits (B, K)."""
        if features.dim() == 4:
            features = features.transpose(1, 2).flatten(2)  # (B, C, H, W) -> (B, H, C*W)
        states, _ = self.lstm(features)  # (B, steps, hidden)
        return self.head(states[:, -1])
