"""MobileNetV2: few parameters and little computation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.errors import ConfigError
from firesteel.models.construction import (
    META,
    allocate,
    as_channels_last,
    check_fraction,
    draw_he,
    draw_normal,
    picture_shape,
)

_GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, maps, blocks and stride of each group: table 2 of the paper."""


class InvertedResidual(nn.Module):
    """1x1 up to ``expansion`` times as many maps, 3x3 on each map by itself, 1x1 down."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int):
        super().__init__()
        hidden = channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_normalized(channels, hidden, 1)]
        layers += [
            _normalized(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        self.conv = nn.Sequential(*layers)
        self._has_shortcut = stride == 1 and channels == width

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        return maps + self.conv(maps) if self._has_shortcut else self.conv(maps)


class MobileNet(nn.Module):
    """Inverted residual blocks in seven groups, averaged over the picture, and one dense layer; made for 3x224x224.

    3,504,872 parameters for 1,000 classes. Names and shapes of its state dict are those of torchvision's
    ``mobilenet_v2``. Takes pictures of any size; 32x32 ends in 1x1.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        width: factor on the maps of every layer, which become multiples of 8; above 0, at most 10.
        dropout: before the dense layer.

    Raises:
        ConfigError: if the input is not a picture, or an option out of range.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", arXiv 1801.04381. Initial
    weights are torchvision's: He's by fan out, and normal with a standard deviation of 0.01 for the dense layer.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, width: float = 1.0, dropout: float = 0.2):
        super().__init__()
        channels, _, _ = picture_shape("mobilenet", input_shape)
        dropout = check_fraction("mobilenet", "dropout", dropout)
        if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 10:
            raise ConfigError(f"model mobilenet: width must be a number above 0 and at most 10, got {width!r}.")
        maps = _multiple_of_8(32 * width)
        last = _multiple_of_8(1280 * max(1.0, width))
        with META:
            layers: list[nn.Module] = [_normalized(channels, maps, 3, stride=2)]
            for expansion, group_maps, count, group_stride in _GROUPS:
                wide = _multiple_of_8(group_maps * width)
                for number in range(count):
                    layers.append(InvertedResidual(maps, wide, group_stride if number == 0 else 1, expansion))
                    maps = wide
            self.features = nn.Sequential(*layers, _normalized(maps, last, 1))
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        allocate(self, channels_last=True)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                draw_he(layer)
            elif isinstance(layer, nn.Linear):
                draw_normal(layer, 0.01)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = self.features(as_channels_last(features))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


def _normalized(channels: int, width: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(inplace=True),
    )


def _multiple_of_8(maps: float) -> int:
    """The nearest, at least 8, but not below nine tenths of ``maps``."""
    nearest = max(8, int(maps + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * maps else nearest + 8
