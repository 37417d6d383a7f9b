"""Residual networks for pictures of the size of ImageNet's; those for 32x32 are in ``cifar_resnet.py``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.models.construction import META, allocate, check_choice, draw_default, draw_he, picture_shape


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(channels, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        maps = self.bn2(self.conv2(maps))
        maps += shortcut
        return F.relu(maps, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(channels, 4 * width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 4 * width, H / stride, W / stride)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        maps = F.relu(self.bn2(self.conv2(maps)), inplace=True)
        maps = self.bn3(self.conv3(maps))
        maps += shortcut
        return F.relu(maps, inplace=True)


class ResNet(nn.Module):
    """Residual blocks in four groups, averaged over the picture, and one dense layer; made for 3x224x224.

    Names and shapes of its state dict are torchvision's. Takes pictures of any size; a group halves height and width,
    and the stem quarters them, so that little is left of small pictures: ``stem=cifar`` keeps their size there.

    Args:
        block: kind of the blocks.
        blocks: how many, of each group.
        input_shape: (channels, height, width).
        num_classes: K.
        stem: ``imagenet``, a 7x7 convolution of stride 2 and a max-pool; ``cifar``, for pictures up to about 64x64, a 3x3
            convolution of stride 1.

    Raises:
        ConfigError: if the input is not a picture.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", arXiv 1512.03385. As in torchvision
    the 3x3 convolution of a bottleneck has the stride, not the first 1x1 ("ResNet 1.5"); initial weights are He's by
    fan out.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        stem: str = "imagenet",
    ):
        super().__init__()
        channels, _, _ = picture_shape("resnet", input_shape)
        small = check_choice("resnet", "stem", stem, ("imagenet", "cifar")) == "cifar"
        with META:
            self.conv1 = (
                nn.Conv2d(channels, 64, 3, padding=1, bias=False)
                if small
                else nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            )
            self.bn1 = nn.BatchNorm2d(64)
            self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
            wide = block.expansion
            self.layer1 = _group(block, 64, 64, blocks[0], stride=1)
            self.layer2 = _group(block, 64 * wide, 128, blocks[1], stride=2)
            self.layer3 = _group(block, 128 * wide, 256, blocks[2], stride=2)
            self.layer4 = _group(block, 256 * wide, 512, blocks[3], stride=2)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(512 * wide, num_classes)
        allocate(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                draw_he(layer)
        draw_default(self.fc)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = self.maxpool(F.relu(self.bn1(self.conv1(features)), inplace=True))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(torch.flatten(self.avgpool(maps), 1))


def _group(
    block: type[BasicBlock | Bottleneck], channels: int, width: int, count: int, *, stride: int
) -> nn.Sequential:
    wide = width * block.expansion
    return nn.Sequential(block(channels, width, stride), *(block(wide, width, 1) for _ in range(count - 1)))


def _downsample(channels: int, width: int, stride: int) -> nn.Module | None:
    """The shortcut where its input has another shape (option B of the paper); None is the identity."""
    if stride == 1 and channels == width:
        return None
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))


def resnet18(input_shape: tuple[int, ...], num_classes: int, stem: str = "imagenet") -> ResNet:
    """11,689,512 parameters for 1,000 classes; see :class:`ResNet`."""
    return ResNet(BasicBlock, (2, 2, 2, 2), input_shape, num_classes, stem=stem)


def resnet34(input_shape: tuple[int, ...], num_classes: int, stem: str = "imagenet") -> ResNet:
    """21,797,672 parameters for 1,000 classes; see :class:`ResNet`."""
    return ResNet(BasicBlock, (3, 4, 6, 3), input_shape, num_classes, stem=stem)


def resnet50(input_shape: tuple[int, ...], num_classes: int, stem: str = "imagenet") -> ResNet:
    """25,557,032 parameters for 1,000 classes; see :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 4, 6, 3), input_shape, num_classes, stem=stem)


def resnet101(input_shape: tuple[int, ...], num_classes: int, stem: str = "imagenet") -> ResNet:
    """44,549,160 parameters for 1,000 classes; see :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 4, 23, 3), input_shape, num_classes, stem=stem)


def resnet152(input_shape: tuple[int, ...], num_classes: int, stem: str = "imagenet") -> ResNet:
    """60,192,808 parameters for 1,000 classes; see :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 8, 36, 3), input_shape, num_classes, stem=stem)
