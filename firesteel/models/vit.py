"""The vision transformer."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError
from firesteel.models.construction import META, allocate, check_count, check_fraction, picture_shape


class EncoderBlock(nn.Module):
    """Attention over all places, then two dense layers for each place, both with a shortcut."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, dim) -> (B, S, dim)."""
        normal = self.ln_1(tokens)
        attended, _ = self.self_attention(normal, normal, normal, need_weights=False)
        tokens = tokens + self.dropout(attended)
        return tokens + self.mlp(self.ln_2(tokens))

    def draw_weights(self) -> None:
        """Xavier, uniform; the attention's output as torch's dense layers."""
        self.self_attention.out_proj.reset_parameters()
        self.self_attention._reset_parameters()
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)


class Encoder(nn.Module):
    """Embeddings of the places are added, then come the blocks."""

    def __init__(self, places: int, layers: int, dim: int, heads: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, places, dim))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", EncoderBlock(dim, heads, mlp_dim, dropout)) for i in range(layers))
        )
        self.ln = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, dim) -> (B, S, dim)."""
        return self.ln(self.layers(self.dropout(tokens + self.pos_embedding)))


class Vit(nn.Module):
    """A picture as a sequence of patches through a transformer; the class token's output through one dense layer.

    The defaults are a small network for 3x32x32, of the sizes of ViT-Lite-7/4 (3,722,250 parameters for 10 classes);
    ``patch=16,dim=768,layers=12,heads=12,mlp_dim=3072`` on 3x224x224 is ViT-B/16 with 86,567,656 parameters for
    1,000. Names and shapes of its state dict are those of torchvision's ``vit_b_16``.

    Args:
        input_shape: (channels, height, width), height and width multiples of ``patch``.
        num_classes: K.
        patch: height and width of a patch, in pixels.
        dim: values of a token, a multiple of ``heads``.
        layers: blocks of attention and dense layers.
        heads: of each attention.
        mlp_dim: neurons between the two dense layers of a block.
        dropout: after the embeddings, the attentions and the dense layers.

    Raises:
        ConfigError: if the input is not a picture, the patches do not cover it, or an option is out of range.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", arXiv 2010.11929; default sizes of Hassani et al.,
    "Escaping the big data paradigm with compact transformers", arXiv 2104.05704, table 2 (there without biases of
    queries, keys and values). Initial weights are torchvision's: the last layer begins with 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        patch: int = 4,
        dim: int = 256,
        layers: int = 7,
        heads: int = 4,
        mlp_dim: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__()
        channels, height, width = picture_shape("vit", input_shape)
        sizes = {"patch": patch, "dim": dim, "layers": layers, "heads": heads, "mlp_dim": mlp_dim}
        for option, value in sizes.items():
            check_count("vit", option, value)
        dropout = check_fraction("vit", "dropout", dropout)
        if height % patch or width % patch:
            near = [max(patch, size // patch * patch) for size in (height, width)]
            divisor = max(size for size in range(1, patch + 1) if height % size == 0 and width % size == 0)
            raise ConfigError(
                f"model vit: patches of {patch}x{patch} do not cover pictures of {height}x{width}.\n"
                f"Prepare them with --size {near[0]}x{near[1]}, or take vit:patch={divisor}, which divides both."
            )
        if dim % heads:
            raise ConfigError(f"model vit: dim must be a multiple of heads, got dim={dim} and heads={heads}.")
        places = (height // patch) * (width // patch) + 1
        with META:
            self.conv_proj = nn.Conv2d(channels, dim, patch, stride=patch)
            self.class_token = nn.Parameter(torch.empty(1, 1, dim))
            self.encoder = Encoder(places, layers, dim, heads, mlp_dim, dropout)
            head = nn.Linear(dim, num_classes)
            self.heads = nn.Sequential(OrderedDict(head=head))
        allocate(self)
        self._draw_weights(head)

    def _draw_weights(self, head: nn.Linear) -> None:
        fan_in = self.conv_proj.weight[0].numel()
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / fan_in))
        nn.init.normal_(self.encoder.pos_embedding, std=0.02)
        for block in self.encoder.layers:
            block.draw_weights()  # type: ignore[operator]
        for zero in (self.conv_proj.bias, self.class_token, head.weight, head.bias):
            assert zero is not None
            nn.init.zeros_(zero)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        patches = self.conv_proj(features).flatten(2).transpose(1, 2)  # (B, dim, H/p, W/p) -> (B, H/p * W/p, dim)
        tokens = torch.cat([self.class_token.expand(len(features), -1, -1), patches], dim=1)
        return self.heads(self.encoder(tokens)[:, 0])
