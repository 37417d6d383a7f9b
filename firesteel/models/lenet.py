"""LeNet for handwritten digits, in the two forms that trained files are in circulation of."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from firesteel.models.construction import META, allocate, as_channels_last, check_choice, picture_shape, zero_bias


class CaffeLeNet(nn.Module):
    """Two convolutions with max-pools and two dense layers: (B, *input_shape) -> logits (B, num_classes)."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        channels, height, width = picture_shape("lenet", input_shape, 16)
        places = _after_two_pools(height) * _after_two_pools(width)
        with META:
            self.conv1 = nn.Conv2d(channels, 20, 5)
            self.conv2 = nn.Conv2d(20, 50, 5)
            self.ip1 = nn.Linear(50 * places, 500)
            self.ip2 = nn.Linear(500, num_classes)
        allocate(self, channels_last=True)
        _draw_weights(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        maps = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(as_channels_last(features)), 2)), 2)
        return self.ip2(F.relu(self.ip1(maps.flatten(1))))


class LeNet5(nn.Module):
    """Three convolutions with two max-pools and two dense layers: (B, *input_shape) -> logits (B, num_classes)."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        channels, height, width = picture_shape("lenet:variant=lenet5", input_shape, 28)
        padding = 2 if min(height, width) < 32 else 0
        places = (_after_two_pools(height + 2 * padding) - 4) * (_after_two_pools(width + 2 * padding) - 4)
        with META:
            self.convnet = nn.Sequential(
                OrderedDict(
                    c1=nn.Conv2d(channels, 6, 5, padding=padding), relu1=nn.ReLU(), s2=nn.MaxPool2d(2),
                    c3=nn.Conv2d(6, 16, 5), relu3=nn.ReLU(), s4=nn.MaxPool2d(2),
                    c5=nn.Conv2d(16, 120, 5), relu5=nn.ReLU(),
                )
            )  # fmt: skip
            self.fc = nn.Sequential(
                OrderedDict(f6=nn.Linear(120 * places, 84), relu6=nn.ReLU(), f7=nn.Linear(84, num_classes))
            )
        allocate(self, channels_last=True)
        _draw_weights(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, height, width) -> logits (B, K)."""
        return self.fc(self.convnet(as_channels_last(features)).flatten(1))


def lenet(input_shape: tuple[int, ...], num_classes: int, variant: str = "caffe") -> CaffeLeNet | LeNet5:
    """LeNet, made for 1x28x28.

    Args:
        input_shape: (channels, height, width).
        num_classes: K.
        variant: ``caffe`` is the network of Caffe's MNIST example, 431,080 parameters for 10 classes; its layers are called as
            there (conv1, conv2, ip1, ip2), and pictures have 16x16 or more. ``lenet5`` is nearer to the paper, 61,706
            parameters, layers c1, c3, c5, f6 and f7; pictures of less than 32x32 are padded by 2 on every side, as the
            paper's were, and must have 28x28 or more.

    Raises:
        ConfigError: if the input is not a picture, or too small, or there is no such variant.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86
    (1998). Both have max-pools, full connections between maps and a softmax, where the paper has trainable
    sub-sampling, a table of connections and radial basis functions. Like the prototxt, ``caffe`` has no activation
    behind its convolutions. Initial weights: uniform with a variance of 1 / fan in, Caffe's "xavier".
    """
    kind = check_choice("lenet", "variant", variant, ("caffe", "lenet5"))
    return (CaffeLeNet if kind == "caffe" else LeNet5)(input_shape, num_classes)


def _after_two_pools(size: int) -> int:
    return ((size - 4) // 2 - 4) // 2


def _draw_weights(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            zero_bias(layer)
