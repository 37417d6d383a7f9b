"""Networks of many kinds, for round trips; each takes (B, 3, 8, 8) and gives 5 classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firesteel.models.cnn import Cnn
from firesteel.models.lstm import Lstm
from firesteel.models.mlp import Mlp

SHAPE, CLASSES = (3, 8, 8), 5


class Residual(nn.Module):
    """Batch norm, additions, depthwise and grouped convolutions, one in-place activation that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8))
        self.act = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.drop = nn.Dropout2d(0.2)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        x = self.act(x + self.drop(self.grouped(self.depthwise(x))))
        return self.fc(x.mean((2, 3)))


class Branches(nn.Module):
    """Concatenation, transposed convolution, pools of all kinds, group and instance norm, up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.norm, self.other = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.prelu, self.elu = nn.PReLU(4), nn.ELU()
        self.pool, self.mean = nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2, count_include_pad=False)
        self.head = nn.Conv2d(11, CLASSES, 1)
        self.last = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.up(self.prelu(self.down(x))))
        y = torch.cat([x, F.leaky_relu(y, 0.2), self.other(self.elu(y))], 1)
        y = F.interpolate(self.mean(y), scale_factor=2.0, mode="nearest") + F.pad(self.pool(y), (0, 3, 3, 0))
        return self.last(self.head(y)).flatten(1)


class Attention(nn.Module):
    """A vision transformer's parts: patches, class token, positions, attention, layer norm, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.register_buffer("positions", torch.randn(1, 5, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm(x))
        q, k, v = x.chunk(1, -1) * 3
        return self.head(F.scaled_dot_product_attention(q, k, v)[:, 0])


class Recurrent(nn.Module):
    """GRU and RNN, two layers, both directions, an own initial state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(24, 6, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.rnn = nn.RNN(12, 6, nonlinearity="relu")
        self.lstm = nn.LSTM(6, 6)
        self.start = nn.Parameter(torch.randn(1, 1, 6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 1, 3).reshape(x.shape[0], 8, 24)
        x, _ = self.gru(x)
        start = self.start.expand(-1, x.shape[0], -1).contiguous()
        x, _ = self.lstm(self.rnn(x.transpose(0, 1))[0], (start, start))
        return self.head(x[-1])


class Odd(nn.Module):
    """What is no layer: own arithmetic, weights that are computed, tied weights, sequences by an embedding, 1d convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(24, 6, 3, padding=1))
        self.embedding = nn.Embedding(4, 6)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.norm = nn.BatchNorm1d(6, affine=False)
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x.flatten(1, 2)))
        codes = (x.sum((1, 2)) > 0).long()
        x = F.hardswish(x).amax(-1) * self.scale + self.embedding(codes)
        x = self.two(torch.where(self.one(x) > 0, x, -x) / torch.tensor([1.0, 2, 3, 4, 5, 6]))
        return self.head(F.dropout(x, 0.1, self.training))


ALL = {
    "cnn": lambda: Cnn(SHAPE, CLASSES, maps=(4, 6), dense=(10,)),
    "mlp": lambda: Mlp(SHAPE, CLASSES, hidden=(7,)),
    "lstm": lambda: Lstm(SHAPE, CLASSES, hidden=6, layers=2),
    "residual": Residual,
    "branches": Branches,
    "attention": Attention,
    "recurrent": Recurrent,
    "odd": Odd,
}
"""Name -> what makes it."""
