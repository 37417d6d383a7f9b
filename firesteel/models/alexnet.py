"""AlexNet in the form that torchvision has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from firesteel.models.construction import (
    META,
    allocate,
    as_channels_last,
    check_fraction,
    draw_default,
    picture_shape,
)

SMALLEST = 63


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, made for 3x224x224; 61,100,840 parameters for 1,000 classes.

    Names and shapes of its state dict are torchvision's. Larger pictures than 224x224, and smaller ones down to
    63x63, end in the same 6x6 by adaptive pooling.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        dropout: before the first two dense layers.

    Raises:
        ConfigError: if the input is not a picture, or too small.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997, the
    one-column form of Krizhevsky, Sutskever, Hinton (NIPS 2012). Without the local response normalisation; initial
    weights are torch's.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.5):
        super().__init__()
        channels, _, _ = picture_shape("alexnet", input_shape, SMALLEST)
        dropout = check_fraction("alexnet", "dropout", dropout)
        with META:
            self.features = nn.Sequential(
                nn.Conv2d(channels, 64, 11, stride=4, padding=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, 256, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(3, stride=2),
            )
            self.avgpool = nn.AdaptiveAvgPool2d(6)
            self.classifier = nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(256 * 6 * 6, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Linear(4096, num_classes),
            )
        allocate(self, channels_last=True)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                draw_default(layer)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = self.avgpool(self.features(as_channels_last(features)))  # (B, 256, 6, 6)
        return self.classifier(torch.flatten(maps, 1))
