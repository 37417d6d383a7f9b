"""``Resize`` and ``Upsample`` of ONNX, as far as torch interpolates alike."""

from __future__ import annotations

import math

import torch.nn.functional as F

from firesteel.models.importers.onnx.node import Call, Node


def resize(node: Node) -> Call:
    """``Resize`` and ``Upsample`` of maps: nearest by whole factors, and linear."""
    shape = node.example().shape
    target = _resized(node, list(shape))
    size = target[2:]
    if target[:2] != list(shape[:2]) or not 3 <= len(shape) <= 5 or node.get("axes") or node.get("antialias", 0):
        raise node.refusal("changes the number of channels, or has axes or antialias, which is not supported")
    mode, how = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        factors = [new / old for new, old in zip(size, shape[2:])]
        if not _is_plain_nearest(node, how, factors):
            raise node.refusal("takes nearest neighbours by a factor or a rounding that is not supported")
        return Call(lambda x: F.interpolate(x, size=size, mode="nearest"), [0])
    plain = how in ("half_pixel", "align_corners") or (how == "pytorch_half_pixel" and min(size) > 1)
    if mode not in ("linear", "cubic") or not plain or node.opset < 11:
        raise node.refusal(f"has mode {mode!r} with coordinates {how!r}, which is not supported")
    a, outside = node.get("cubic_coeff_a", -0.75), node.get("exclude_outside", 0)
    if mode == "cubic" and (len(shape) != 4 or not math.isclose(a, -0.75) or outside):
        raise node.refusal(
            "has cubic coefficients other than torch's, or is not of two dimensions, which is not supported"
        )
    name = "bicubic" if mode == "cubic" else ("linear", "bilinear", "trilinear")[len(shape) - 3]
    corners = how == "align_corners"
    return Call(lambda x: F.interpolate(x, size=size, mode=name, align_corners=corners), [0])


def _resized(node: Node, shape: list[int]) -> list[int]:
    """The shape that sizes or scales ask for; scales must lead to whole sizes, else coordinates are others than torch's."""
    if node.op == "Resize" and node.opset >= 11 and node.has(3):
        target = [int(size) for size in node.needed_constant(3, "list of sizes").reshape(-1)]
    else:
        at = 2 if node.op == "Resize" and node.opset >= 11 else 1
        scales = node.get("scales") or node.needed_constant(at, "list of scales").reshape(-1).tolist()
        exact = [size * scale for size, scale in zip(shape, scales)]
        if any(not math.isclose(each, round(each), rel_tol=1e-4) for each in exact[1:]):
            raise node.refusal(f"has scales {scales} that lead to no whole sizes, which is not supported")
        target = [round(each) for each in exact]
    if len(target) != len(shape):
        raise node.refusal(f"has {len(target)} sizes for {len(shape)} dimensions")
    return target


def _is_plain_nearest(node: Node, how: str, factors: list[float]) -> bool:
    """Whether nearest neighbours are torch's: each value repeated so many times."""
    if any(factor != int(factor) for factor in factors):
        return False
    rounding = node.get("nearest_mode", "round_prefer_floor")
    if node.opset < 11 or (how == "asymmetric" and rounding == "floor"):
        return True
    if how == "half_pixel":
        return rounding in ("round_prefer_floor", "round_prefer_ceil")
    return how == "asymmetric" and rounding == "round_prefer_floor" and max(factors) <= 2


__all__ = ["resize"]
