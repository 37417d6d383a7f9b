"""The convolutional network that classified seven million product images (UCC report, 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError
from firesteel.models.construction import as_channels_last, check_counts, picture_shape

LEAKY_SLOPE = 0.01


class Cnn(nn.Module):
    """5x5 convolutions and 2x2 max-pools, two dense layers, logits; leaky ReLU between them.

    About 1.9 million parameters at 3x32x32 and 143 classes. The softmax is part of the loss and of the predictor.
    He initialisation (arXiv 1502.01852).

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        maps: feature maps of each convolution; each is followed by a max-pool that halves height and width.
        dense: neurons of the dense layers.

    Raises:
        ConfigError: if the input is not a picture, or too small for the pools, or an option is out of range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        maps: tuple[int, ...] = (20, 50, 100),
        dense: tuple[int, ...] = (1000, 128),
    ):
        super().__init__()
        channels, height, width = picture_shape("cnn", input_shape)
        maps, dense = check_counts("cnn", "maps", maps), check_counts("cnn", "dense", dense)
        if min(height, width) < 2 ** len(maps):
            raise ConfigError(
                f"model cnn halves the picture {len(maps)} times; {height}x{width} is too small."
                f" Use --size {2 ** len(maps)}x{2 ** len(maps)} or more, or fewer maps."
            )
        layers: list[nn.Module] = []
        for count in maps:
            layers += [nn.Conv2d(channels, count, 5, padding=2), nn.LeakyReLU(LEAKY_SLOPE), nn.MaxPool2d(2)]
            channels, height, width = count, height // 2, width // 2
        layers.append(nn.Flatten())  # (B, C, H, W) -> (B, C*H*W)
        neurons = math.prod((channels, height, width))
        for count in dense:
            layers += [nn.Linear(neurons, count), nn.LeakyReLU(LEAKY_SLOPE)]
            neurons = count
        layers.append(nn.Linear(neurons, num_classes))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        # Channels last: the convolutions' fastest layout on CPUs (a step takes two thirds of the time) and tensor cores.
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        return self.layers(as_channels_last(features))
