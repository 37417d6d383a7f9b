"""Shapes as people read them, and how large a value of a network may be."""

from __future__ import annotations

from collections.abc import Iterable

MOST_ELEMENTS = 1 << 28
"""Numbers of one value for one row: 1 GiB in float32. What is more is an attack, or no network for this machine."""


def show_shape(shape: Iterable[object]) -> str:
    """``3x224x224``; a size that is open (None) is a question mark, and no size at all a single number."""
    return "x".join("?" if size is None else str(size) for size in shape) or "a single number"


__all__ = ["MOST_ELEMENTS", "show_shape"]
