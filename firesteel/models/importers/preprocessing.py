"""What is done to pictures before an imported network sees them: files do not say it, their authors do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ConfigError
from firesteel.models.shapes import show_shape

Numbers = float | Sequence[float]


@dataclass(frozen=True)
class Preprocessing:
    """``(pixel - mean) * scale / std``, channel by channel; pixels are 0 to 255.

    Attributes:
        mean: in pixels, as Caffe's networks have it; one number, or one a channel in the order of ``channel_order``.
        scale: what a difference from the mean is multiplied by.
        std: what it is divided by after that.
        channel_order: in which the network takes the channels: ``rgb`` or ``bgr``.
    """

    mean: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    std: tuple[float, ...] = (1.0,)
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @classmethod
    def of(cls, mean: Numbers | None, scale: float | None, std: Numbers | None, channel_order: str) -> Preprocessing:
        """From what a user gave.

        Raises:
            ConfigError: for numbers that are none to compute with, or another order.
        """
        if channel_order not in ("rgb", "bgr"):
            raise ConfigError(f"channel_order must be rgb or bgr, got {channel_order!r}.")
        scale = 1.0 if scale is None else scale
        means, deviations = _numbers("mean", mean, 0.0), _numbers("std", std, 1.0)
        if not math.isfinite(scale) or scale == 0:
            raise ConfigError(
                f"scale must be a number other than 0, got {scale}. For pixels from 0 to 1: 0.00392156862745"
            )
        if min(deviations) <= 1e-12:
            raise ConfigError(f"std must be above 0, got {', '.join(map(str, deviations))}.")
        return cls(means, scale, deviations, channel_order)  # type: ignore[arg-type]

    def statistics(self, shape: tuple[int, ...]) -> Statistics:
        """As a model folder holds it: ``(value * scale - mean) / std``, channels in the order of datasets.

        Args:
            shape: of one row.

        Raises:
            ConfigError: if there are other numbers of means than of channels.
        """
        if self.channel_order == "bgr" and (len(shape) != 3 or shape[0] != 3):
            raise ConfigError(f"channel order bgr needs pictures of 3 channels; the network takes {show_shape(shape)}.")
        mean = [value * self.scale for value in _each_channel("mean", self.mean, shape)]
        std = _each_channel("std", self.std, shape)
        if self.channel_order == "bgr":
            mean, std = mean[::-1], std[::-1]
        return Statistics(mean=mean, std=std, scale=self.scale)

    def warnings(self) -> list[str]:
        """What looks like a mistake."""
        if any(self.mean) and max(map(abs, self.mean)) <= 1 and self.scale < 0.1:
            pixels = ",".join(f"{value / self.scale:.6g}" for value in self.mean)
            return [
                f"--mean is in pixels from 0 to 255; if {self.mean} was meant for scaled ones, give --mean {pixels}"
            ]
        return []


def feature_of(shape: tuple[int, ...]) -> Feature:
    """What a raw row of an imported network is: a picture, if it has one or three channels, else an array."""
    if len(shape) == 3 and shape[0] in (1, 3):
        return Feature(dtype="uint8", shape=shape, kind="image")
    return Feature(dtype="float32", shape=shape, kind="array")


def _numbers(name: str, given: Numbers | None, default: float) -> tuple[float, ...]:
    values = (default,) if given is None else tuple(given) if isinstance(given, Sequence) else (given,)
    if not values or not all(isinstance(each, int | float) and math.isfinite(each) for each in values):
        raise ConfigError(f"{name} must be one number or one a channel, got {given!r}. Example: 104,117,123")
    return tuple(float(each) for each in values)


def _each_channel(name: str, values: tuple[float, ...], shape: tuple[int, ...]) -> list[float]:
    channels = shape[0]
    if len(values) not in (1, channels):
        raise ConfigError(
            f"{name} has {len(values)} numbers; the network takes {show_shape(shape)}: give 1 or {channels}."
        )
    return list(values) if len(values) == channels else list(values) * channels


__all__ = ["Preprocessing", "feature_of"]
