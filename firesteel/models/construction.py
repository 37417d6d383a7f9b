"""What the networks of the zoo share while they are built: checks of their input, and memory for their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError

META = torch.device("meta")
"""Where a network's layers are made: there they draw no weights. The network draws its own, once, after
:func:`allocate`. (What torch's layers draw by themselves takes twice as long as all the rest of building ``vgg16``.)"""


def picture_shape(model: str, input_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """(channels, height, width) of the input.

    Args:
        model: its name, for messages.
        input_shape: of one row.
        smallest: height and width that the network takes, in pixels.

    Raises:
        ConfigError: if the input is not a picture, or smaller.
    """
    if len(input_shape) != 3:
        raise ConfigError(f"model {model} needs pictures of shape (channels, height, width), got {tuple(input_shape)}.")
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise ConfigError(
            f"model {model} takes pictures of {smallest}x{smallest} or more; {height}x{width} is too small.\n"
            f"Prepare them with --size {smallest}x{smallest}, or choose a network for small pictures: firesteel models"
        )
    return channels, height, width


def check_fraction(model: str, option: str, value: object) -> float:
    """A number from 0 up to, but not including, 1.

    Raises:
        ConfigError: if it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"model {model}: {option} must be a number from 0 to below 1, got {value!r}.")
    return float(value)


def check_choice(model: str, option: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of the allowed words; a number stands for the word that it is written as.

    Raises:
        ConfigError: if it is something else.
    """
    if str(value) not in allowed:
        raise ConfigError(f"model {model}: {option} must be {' or '.join(allowed)}, got {value!r}.")
    return str(value)


def check_flag(model: str, option: str, value: object) -> bool:
    """Yes or no.

    Raises:
        ConfigError: if it is something else.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"model {model}: {option} must be yes or no, got {value!r}.")
    return value


def check_count(model: str, option: str, value: object) -> int:
    """A whole number of 1 or more.

    Raises:
        ConfigError: if it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"model {model}: {option} must be a whole number of 1 or more, got {value!r}.")
    return value


def check_counts(model: str, option: str, value: object) -> tuple[int, ...]:
    """A list of whole numbers of 1 or more; it may be empty.

    Raises:
        ConfigError: if it is something else.
    """
    if not isinstance(value, tuple | list):
        raise ConfigError(
            f"model {model}: {option} must be a list, got {value!r}. For example {model}:{option}=[64,32]"
        )
    return tuple(check_count(model, option, each) for each in value)


def allocate(network: nn.Module, *, channels_last: bool = False) -> None:
    """Give a network that was made on the meta device memory on torch's default device.

    Normalisation layers begin as torch makes them (weight 1, bias 0, no statistics); all other weights are not set.

    Args:
        network: changed in place.
        channels_last: layout of the weights of convolutions.
    """
    network.to_empty(device=torch.get_default_device())
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            layer.reset_parameters()


def as_channels_last(features: Tensor) -> Tensor:
    """The same pictures (B, C, H, W), laid out as :func:`allocate` lays out weights.

    Where the networks do this, a step on a CPU takes 0.56 (lenet) to 0.96 (alexnet) of the time; the others gain
    nothing.
    """
    return features.contiguous(memory_format=torch.channels_last)


def draw_normal(layer: nn.Conv2d | nn.Linear, std: float) -> None:
    """Weights from a normal distribution around 0, biases 0."""
    nn.init.normal_(layer.weight, 0, std)
    zero_bias(layer)


def draw_he(layer: nn.Conv2d | nn.Linear, *, mode: str = "fan_out") -> None:
    """He et al. (arXiv 1502.01852), normal: variance 2 / fan; biases 0."""
    nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")  # type: ignore[arg-type]
    zero_bias(layer)


def draw_default(layer: nn.Conv2d | nn.Linear) -> None:
    """What torch draws for such a layer: weights and biases uniform in ±1 / sqrt(fan in)."""
    layer.reset_parameters()


def zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    """Biases 0, if the layer has any."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
