"""Augmentation: pictures changed at random, when a dataset is prepared (on the CPU) or at every step of a training.

::

    policy = Policy.of("default")                           names of operations, probabilities, ranges
    stages = draw(policy, keys, (channels, height, width))  what happens to each row: numbers only, a function of its key
    images = apply(stages, images)                          on any device

Importing this package needs no torch; only :mod:`firesteel.data.augmentation.apply` does.
"""

from __future__ import annotations

from firesteel.data.augmentation.policy import BUILT_IN, Policy
from firesteel.data.augmentation.stages import Change, Stage, Warp, draw
from firesteel.data.augmentation.streams import copy_keys, step_keys

__all__ = ["BUILT_IN", "Change", "Policy", "Stage", "Warp", "copy_keys", "draw", "step_keys"]
