"""Clipping and renormalisation of gradients, between the backward pass and the optimizer.

==============================  =====================================  ==========================================
option                          what happens                           Deeplearning4j's GradientNormalization
==============================  =====================================  ==========================================
none                            nothing                                None
value:max=M                     every element into [-M, M]             ClipElementWiseAbsoluteValue
norm:max=M                      the L2 norm of all gradients to M      (none; ``clip_grad_norm_`` of torch)
norm:max=M,per=layer            the L2 norm of each layer's to M       ClipL2PerLayer
norm:max=M,per=parameter        the L2 norm of each parameter's to M   ClipL2PerParamType
renormalize:per=layer           each layer's gradient to L2 norm 1     RenormalizeL2PerLayer
renormalize:per=parameter       each parameter's gradient to norm 1    RenormalizeL2PerParamType
renormalize:per=global          the gradient as a whole to norm 1      (none)
==============================  =====================================  ==========================================

A layer is the module that owns a parameter: weight and bias of one convolution are one layer. Clipping to a norm never
makes a gradient longer; renormalisation does, and leaves one that is zero as it is.

Source: Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013 (norm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean

if TYPE_CHECKING:
    from torch import nn

CLIPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "value": ("max",),
    "norm": ("max", "per"),
    "renormalize": ("per",),
}
"""Name -> options."""

PARTS = ("global", "layer", "parameter")


def check_clip(spec: Spec) -> Spec:
    """Check a spec without importing torch.

    Raises:
        ConfigError: if there is no such name or option, or a value is out of range.
    """
    if spec.name not in CLIPS:
        raise ConfigError(
            f"there is no gradient clipping {spec.name!r}. There are {', '.join(CLIPS)}; for example norm:max=1,per=layer."
            f"{did_you_mean(spec.name, CLIPS)}"
        )
    check_options(f"clip {spec.name}", spec.options, CLIPS[spec.name])
    if "max" in CLIPS[spec.name]:
        limit = spec.options.get("max")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
            raise ConfigError(
                f"clip {spec.name} needs max, a number above 0, for example {spec.name}:max=1, got {limit!r}."
            )
    if "per" in CLIPS[spec.name] and _part(spec) not in PARTS:
        raise ConfigError(f"clip {spec.name}: per must be {', '.join(PARTS)}, got {spec.options['per']!r}.")
    return spec


def make_clip(spec: Spec, parameters: Mapping[str, nn.Parameter]) -> Callable[[], None] | None:
    """A function that clips the gradients of these parameters in place; None where there is nothing to do.

    Args:
        spec: see the module.
        parameters: by their name in the model, from which their layers follow.

    Raises:
        ConfigError: see :func:`check_clip`.
    """
    check_clip(spec)
    if spec.name == "none":
        return None
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    everything = list(parameters.values())
    if spec.name == "value":
        return lambda: clip_grad_value_(everything, spec.options["max"])
    parts = _parts(_part(spec), parameters)
    if spec.name == "renormalize":
        return lambda: _renormalize(parts)

    def clip() -> None:
        for part in parts:
            clip_grad_norm_(part, spec.options["max"])

    return clip


def _part(spec: Spec) -> Any:
    return spec.options.get("per", "global" if spec.name == "norm" else "layer")


def _parts(per: str, parameters: Mapping[str, nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters in parts that share one norm."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        key = {"global": "", "layer": name.rpartition(".")[0], "parameter": name}[per]
        found.setdefault(key, []).append(parameter)
    return list(found.values())


def _renormalize(parts: list[list[nn.Parameter]]) -> None:
    import torch
    from torch.nn.utils import get_total_norm

    for part in parts:
        gradients = [parameter.grad for parameter in part if parameter.grad is not None]
        if not gradients:
            continue
        norm = get_total_norm(gradients)
        torch._foreach_div_(gradients, torch.where(norm == 0, torch.ones_like(norm), norm))
