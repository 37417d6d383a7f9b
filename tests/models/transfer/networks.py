"""A network with everything that matters when layers are frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Blocks(nn.Module):
    """Convolutions with batch norm in two blocks, the second with a shortcut, dropout, and a head."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, width: int = 6):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(input_shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        first = nn.functional.max_pool2d(self.first(features), 2)
        second = torch.relu(self.norm(self.second(first)) + first)
        return self.head(torch.relu(self.fc(self.drop(second.mean((2, 3))))))


class Fixed(nn.Module):
    """Knows nothing of the number of classes."""

    def __init__(self, input_shape: tuple[int, ...]):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 10, 3))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)
