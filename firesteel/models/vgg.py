"""The VGG networks, with and without batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from firesteel.models.construction import (
    META,
    allocate,
    check_flag,
    check_fraction,
    draw_he,
    draw_normal,
    picture_shape,
)

SMALLEST = 32
_WIDTHS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class Vgg(nn.Module):
    """3x3 convolutions in five groups, each followed by a 2x2 max-pool, and three dense layers; made for 3x224x224.

    Names and shapes of its state dict are torchvision's. Pictures of 32x32 and more end in the same 7x7 by adaptive
    pooling.

    Args:
        depth: layers with weights: 11, 13, 16 or 19 (configurations A, B, D, E of the paper).
        input_shape: (channels, height, width).
        num_classes: K.
        batch_norm: one after each convolution.
        dropout: after the first two dense layers.

    Raises:
        ConfigError: if the input is not a picture, or too small.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", arXiv
    1409.1556. The paper has no batch normalisation. Initial weights are torchvision's (He, and normal with a standard
    deviation of 0.01 for the dense layers), where the paper takes those of a trained shallower network.
    """

    def __init__(
        self,
        depth: int,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        name = f"vgg{depth}"
        channels, _, _ = picture_shape(name, input_shape, SMALLEST)
        batch_norm = check_flag(name, "batch_norm", batch_norm)
        dropout = check_fraction(name, "dropout", dropout)
        with META:
            self.features = _features(channels, _CONVOLUTIONS[depth], batch_norm)
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        allocate(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                draw_he(layer)
            elif isinstance(layer, nn.Linear):
                draw_normal(layer, 0.01)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = self.avgpool(self.features(features))  # (B, 512, 7, 7)
        return self.classifier(torch.flatten(maps, 1))


def _features(channels: int, convolutions: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, count in zip(_WIDTHS, convolutions):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg11(input_shape: tuple[int, ...], num_classes: int, batch_norm: bool = False, dropout: float = 0.5) -> Vgg:
    """Configuration A, 132,863,336 parameters for 1,000 classes; see :class:`Vgg`."""
    return Vgg(11, input_shape, num_classes, batch_norm=batch_norm, dropout=dropout)


def vgg13(input_shape: tuple[int, ...], num_classes: int, batch_norm: bool = False, dropout: float = 0.5) -> Vgg:
    """Configuration B, 133,047,848 parameters for 1,000 classes; see :class:`Vgg`."""
    return Vgg(13, input_shape, num_classes, batch_norm=batch_norm, dropout=dropout)


def vgg16(input_shape: tuple[int, ...], num_classes: int, batch_norm: bool = False, dropout: float = 0.5) -> Vgg:
    """Configuration D, 138,357,544 parameters for 1,000 classes; see :class:`Vgg`."""
    return Vgg(16, input_shape, num_classes, batch_norm=batch_norm, dropout=dropout)


def vgg19(input_shape: tuple[int, ...], num_classes: int, batch_norm: bool = False, dropout: float = 0.5) -> Vgg:
    """Configuration E, 143,667,240 parameters for 1,000 classes; see :class:`Vgg`."""
    return Vgg(19, input_shape, num_classes, batch_norm=batch_norm, dropout=dropout)
