"""GoogLeNet, the first of the inception networks, with batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.models.construction import META, allocate, as_channels_last, check_fraction, picture_shape, zero_bias

SMALLEST = 15


class Convolution(nn.Module):
    """A convolution without biases, batch normalisation and ReLU."""

    def __init__(self, channels: int, width: int, size: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        return F.relu(self.bn(self.conv(maps)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: (B, channels, H, W) -> (B, sum of their maps, H, W).

    Args:
        channels: of the input.
        one: maps of the 1x1 branch.
        three: of the 3x3 branch, in its middle and at its end.
        five: of the branch that is 5x5 in the paper.
        pooled: of the branch behind a pool.
    """

    def __init__(self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int):
        super().__init__()
        self.branch1 = Convolution(channels, one, 1)
        self.branch2 = nn.Sequential(Convolution(channels, three[0], 1), Convolution(*three, 3))
        self.branch3 = nn.Sequential(Convolution(channels, five[0], 1), Convolution(*five, 3))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), Convolution(channels, pooled, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, sum of the branches' maps, H, W)."""
        return torch.cat([self.branch1(maps), self.branch2(maps), self.branch3(maps), self.branch4(maps)], 1)


class GoogLeNet(nn.Module):
    """Nine inception modules, averaged over the picture, and one dense layer; made for 3x224x224.

    6,624,904 parameters for 1,000 classes. Names and shapes of its state dict are torchvision's.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        dropout: before the dense layer.

    Raises:
        ConfigError: if the input is not a picture, or too small (15x15).

    Source: Szegedy et al., "Going deeper with convolutions", arXiv 1409.4842. As in torchvision batch normalisation
    stands behind every convolution, and the 5x5 convolutions are 3x3. The paper's two auxiliary classifiers are left
    out: they only helped training, which batch normalisation does. Weights published for torchvision have them
    (``aux1.*``, ``aux2.*``); they find no layer here.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.2):
        super().__init__()
        channels, _, _ = picture_shape("googlenet", input_shape, SMALLEST)
        dropout = check_fraction("googlenet", "dropout", dropout)
        with META:
            self.conv1 = Convolution(channels, 64, 7, stride=2)
            self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.conv2 = Convolution(64, 64, 1)
            self.conv3 = Convolution(64, 192, 3)
            self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
            self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
            self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
            self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
            self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
            self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
            self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
            self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
            self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
            self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
            self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(1024, num_classes)
        allocate(self, channels_last=True)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # torchvision cuts this distribution at 200 standard deviations, which changes nothing but takes 1 s.
                nn.init.normal_(layer.weight, std=0.01)
                zero_bias(layer)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = self.maxpool1(self.conv1(as_channels_last(features)))
        maps = self.maxpool2(self.conv3(self.conv2(maps)))
        maps = self.maxpool3(self.inception3b(self.inception3a(maps)))
        maps = self.inception4c(self.inception4b(self.inception4a(maps)))
        maps = self.maxpool4(self.inception4e(self.inception4d(maps)))
        maps = self.inception5b(self.inception5a(maps))  # (B, 1024, height / 32, width / 32)
        return self.fc(self.dropout(torch.flatten(self.avgpool(maps), 1)))
