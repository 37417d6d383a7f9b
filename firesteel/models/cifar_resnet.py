"""Residual networks for pictures of 32x32: section 4.2 of the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.models.construction import META, allocate, as_channels_last, draw_he, picture_shape


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self._stride, self._new_maps = stride, width - channels

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        shortcut = maps
        if self._new_maps or self._stride > 1:  # option A: every second pixel, and maps of zeros on both sides
            before = self._new_maps // 2
            every = maps[:, :, :: self._stride, :: self._stride]
            shortcut = F.pad(every, (0, 0, 0, 0, before, self._new_maps - before))
        maps = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        maps = self.bn2(self.conv2(maps))
        maps += shortcut
        return F.relu(maps, inplace=True)


class CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, groups of n blocks with 16, 32 and 64 maps, a dense layer; made for 3x32x32.

    Names of its state dict are those of the widely used implementation of Y. Idelbayev
    (akamaster/pytorch_resnet_cifar10). Takes pictures of any size.

    Args:
        depth: 6n + 2.
        input_shape: (channels, height, width).
        num_classes: K.

    Raises:
        ConfigError: if the input is not a picture.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2, with
    shortcuts of option A and He's initial weights, as there.
    """

    def __init__(self, depth: int, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        channels, _, _ = picture_shape(f"resnet{depth}", input_shape)
        count = (depth - 2) // 6
        with META:
            self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(count)))
            self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(count - 1)))
            self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(count - 1)))
            self.linear = nn.Linear(64, num_classes)
        allocate(self, channels_last=True)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                draw_he(layer, mode="fan_in")

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = F.relu(self.bn1(self.conv1(as_channels_last(features))), inplace=True)
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


def resnet20(input_shape: tuple[int, ...], num_classes: int) -> CifarResNet:
    """269,722 parameters for 10 classes, 8.75 % error on CIFAR-10 in the paper; see :class:`CifarResNet`."""
    return CifarResNet(20, input_shape, num_classes)


def resnet32(input_shape: tuple[int, ...], num_classes: int) -> CifarResNet:
    """464,154 parameters for 10 classes, 7.51 % error on CIFAR-10 in the paper; see :class:`CifarResNet`."""
    return CifarResNet(32, input_shape, num_classes)


def resnet44(input_shape: tuple[int, ...], num_classes: int) -> CifarResNet:
    """658,586 parameters for 10 classes, 7.17 % error on CIFAR-10 in the paper; see :class:`CifarResNet`."""
    return CifarResNet(44, input_shape, num_classes)


def resnet56(input_shape: tuple[int, ...], num_classes: int) -> CifarResNet:
    """853,018 parameters for 10 classes, 6.97 % error on CIFAR-10 in the paper; see :class:`CifarResNet`."""
    return CifarResNet(56, input_shape, num_classes)


def resnet110(input_shape: tuple[int, ...], num_classes: int) -> CifarResNet:
    """1,727,962 parameters for 10 classes, 6.43 % error on CIFAR-10 in the paper; see :class:`CifarResNet`."""
    return CifarResNet(110, input_shape, num_classes)
