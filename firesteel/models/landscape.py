"""The convolutional network that told beaches from deserts and forests on MareNostrum (UPC thesis, 2016)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from firesteel.models.construction import META, allocate, as_channels_last, check_fraction, picture_shape, zero_bias

SMALLEST = 66


class Landscape(nn.Module):
    """Three convolutions with ReLU and max-pools, a dense layer of 200, logits; made for 3x75x75.

    106,094 parameters for 4 classes. Xavier initialisation (Glorot, Bengio 2010), normal.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        dropout: behind the dense layer.

    Raises:
        ConfigError: if the input is not a picture, or too small (66x66).

    Source: the thesis's table of layers: convolution 4x4 of stride 2 with 20 maps, two of 5x5 with 40 and 70, each
    with a 2x2 max-pool, dense 200 with dropout 0.5, softmax output. The table does not say the activation of the
    dense layer: here ReLU. The softmax is part of the loss and of the predictor.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.5):
        super().__init__()
        channels, height, width = picture_shape("landscape", input_shape, SMALLEST)
        dropout = check_fraction("landscape", "dropout", dropout)
        places = _after_pools(height) * _after_pools(width)
        with META:
            self.features = nn.Sequential(
                OrderedDict(
                    conv1=nn.Conv2d(channels, 20, 4, stride=2), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
                    conv2=nn.Conv2d(20, 40, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
                    conv3=nn.Conv2d(40, 70, 5), relu3=nn.ReLU(), pool3=nn.MaxPool2d(2),
                )
            )  # fmt: skip
            self.classifier = nn.Sequential(
                OrderedDict(
                    dense=nn.Linear(70 * places, 200), relu=nn.ReLU(), dropout=nn.Dropout(dropout),
                    output=nn.Linear(200, num_classes),
                )
            )  # fmt: skip
        allocate(self, channels_last=True)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                zero_bias(layer)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        return self.classifier(self.features(as_channels_last(features)).flatten(1))


def _after_pools(size: int) -> int:
    size = ((size - 4) // 2 + 1) // 2
    return ((size - 4) // 2 - 4) // 2
