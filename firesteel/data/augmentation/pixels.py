"""Operations that change pixels where they are: (B, C, H, W) of 0 to 255 in, the same out, parameters a row.

Only sums and products of elements and of neighbours: no function whose bits depend on the number of rows. Colours are
weighted as in ITU-R BT.601, as Pillow and torchvision do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """factor: of shape (B,)."""
    return images * _each(factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """factor: of shape (B,)."""
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _each(factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """factor: of shape (B,)."""
    if images.shape[1] == 1:
        return images.clone()
    own = _grey(images)
    return own + (images - own) * _each(factor)


def hue(images: Tensor, degrees: Tensor) -> Tensor:
    """degrees: of shape (B,). Value and saturation of the HSV model stay as they are."""
    if images.shape[1] == 1:
        return images.clone()
    value, least = images.amax(dim=1), images.amin(dim=1)
    chroma = value - least
    red, green, blue = images.unbind(dim=1)
    scale = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sector = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2.0 + (blue - red) / scale, 4.0 + (red - green) / scale),
    )
    turned = sector + (degrees / 60.0)[:, None, None]
    # A channel n is value - chroma * clip(min(k, 4 - k), 0, 1), k = (n + sector) mod 6, n = 5, 3, 1 for red, green, blue.
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = torch.remainder(turned + offset, 6.0)
        channels.append(value - chroma * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
    return torch.stack(channels, dim=1)


def color_jitter(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Each of shape (B,)."""
    for name, amount in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue)):
        images = PIXELS[name](images, amount).clamp_(0, 255)
    return images


def blur(images: Tensor, kernel: Tensor) -> Tensor:
    """kernel: of shape (B, 2 * radius + 1); adds up to 1."""
    radius = kernel.shape[1] // 2
    for dim in (2, 3):
        # Reflecting a picture that is smaller than the kernel is not defined; the edge always is.
        padding = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
        mode = "reflect" if radius < images.shape[dim] else "replicate"
        padded, size = F.pad(images, padding, mode=mode), images.shape[dim]
        images = torch.zeros_like(images)
        for tap in range(2 * radius + 1):
            images += padded.narrow(dim, tap, size) * _each(kernel[:, tap])
    return images


def noise(images: Tensor, noise: Tensor) -> Tensor:
    """noise: of the shape of the pictures."""
    return images + noise


def erase(images: Tensor, box: Tensor, fill: Tensor) -> Tensor:
    """box: int64 of shape (B, 4): top, bottom, left, right; fill: (B, C, H, W) or (B, 1, 1, 1)."""
    y = torch.arange(images.shape[2], device=images.device)[None, :, None]
    x = torch.arange(images.shape[3], device=images.device)[None, None, :]
    top, bottom, left, right = (edge[:, None, None] for edge in box.unbind(dim=1))
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(inside[:, None], fill, images)


def _each(amount: Tensor) -> Tensor:
    return amount[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


PIXELS: dict[str, Callable[..., Tensor]] = {
    "brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue, "color_jitter": color_jitter,
    "grey": saturation, "blur": blur, "noise": noise, "erase": erase,
}  # fmt: skip
"""Operation -> what it does."""
