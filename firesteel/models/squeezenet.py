"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from firesteel.models.construction import (
    META,
    allocate,
    as_channels_last,
    check_choice,
    check_fraction,
    draw_normal,
    picture_shape,
    zero_bias,
)

SMALLEST = {"1.0": 21, "1.1": 17}


class Fire(nn.Module):
    """A 1x1 convolution to few maps, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, narrow: int, wide: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 2 * wide, H, W)."""
        few = self.squeeze_activation(self.squeeze(maps))
        return torch.cat(
            [self.expand1x1_activation(self.expand1x1(few)), self.expand3x3_activation(self.expand3x3(few))], 1
        )


class SqueezeNet(nn.Module):
    """Eight fire modules and a 1x1 convolution that is averaged over the picture; made for 3x224x224.

    1,248,424 parameters for 1,000 classes (version 1.1: 1,235,496). Names and shapes of its state dict are
    torchvision's.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        version: 1.0 is the paper's; 1.1 of the same authors takes 2.4 times less computation.
        dropout: before the last convolution.

    Raises:
        ConfigError: if the input is not a picture, or too small (21x21; version 1.1: 17x17).

    Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
    arXiv 1602.07360. Initial weights are torchvision's: He, uniform; the last convolution normal with a standard
    deviation of 0.01. As there, and in the paper's Caffe model, a ReLU stands behind the last convolution: no logit
    is below 0.
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_classes: int, version: str | float = "1.0", dropout: float = 0.5
    ):
        super().__init__()
        version = check_choice("squeezenet", "version", version, ("1.0", "1.1"))
        channels, _, _ = picture_shape("squeezenet", input_shape, SMALLEST[version])
        dropout = check_fraction("squeezenet", "dropout", dropout)
        with META:
            self.features = _version_1_0(channels) if version == "1.0" else _version_1_1(channels)
            last = nn.Conv2d(512, num_classes, 1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
        allocate(self, channels_last=True)
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight)
                zero_bias(layer)
        draw_normal(last, 0.01)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        return torch.flatten(self.classifier(self.features(as_channels_last(features))), 1)


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _version_1_0(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 96, 7, stride=2), nn.ReLU(inplace=True), _pool(),
        Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), _pool(),
        Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), _pool(),
        Fire(512, 64, 256),
    )  # fmt: skip


def _version_1_1(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, stride=2), nn.ReLU(inplace=True), _pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), _pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), _pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip
