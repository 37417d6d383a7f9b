"""Initial weights by name, for every network: ``he``, ``xavier_uniform``, ``normal:std=0.01``.

What is initialised anew: weights and biases of dense layers (``Linear``), convolutions and transposed convolutions
(``Conv1d`` to ``ConvTranspose3d``) and recurrent layers (``RNN``, ``LSTM``, ``GRU`` and their cells; the matrix of each
gate by itself). Every other layer keeps what its constructor gave it: normalisation, embeddings, attention, parameters
of a module of one's own. ``default`` keeps everything.

================  =======================================================  ===============================
name              weights                                                  Deeplearning4j's WeightInit
================  =======================================================  ===============================
xavier            normal, variance 2 / (fan_in + fan_out), times gain²     XAVIER
xavier_uniform    uniform of that variance                                 XAVIER_UNIFORM
he                normal, variance 2 / (1 + slope²) / fan_in               RELU
he_uniform        uniform of that variance                                 RELU_UNIFORM
lecun             normal, variance 1 / fan_in                              LECUN_NORMAL, XAVIER_FAN_IN
lecun_uniform     uniform of that variance                                 LECUN_UNIFORM
normal            normal, mean ``mean``, deviation ``std``                 DISTRIBUTION (NormalDistribution)
uniform           from ``low`` to ``high``                                 DISTRIBUTION (UniformDistribution)
orthogonal        rows or columns orthonormal, times gain                  DISTRIBUTION (Orthogonal)
zero              0                                                        ZERO
================  =======================================================  ===============================

All take ``bias``, the value of every bias of these layers (0 by default).

Sources: Glorot and Bengio, AISTATS 2010 (xavier); He et al., arXiv 1502.01852 (he); LeCun et al., "Efficient BackProp",
1998 (lecun); Saxe et al., arXiv 1312.6120 (orthogonal).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from firesteel.errors import ConfigError
from firesteel.specs import Spec, check_options, did_you_mean

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

INITIALIZATIONS: dict[str, dict[str, float | None]] = {
    "default": {},
    "xavier": {"gain": 1.0, "bias": 0.0},
    "xavier_uniform": {"gain": 1.0, "bias": 0.0},
    "he": {"slope": 0.0, "bias": 0.0},
    "he_uniform": {"slope": 0.0, "bias": 0.0},
    "lecun": {"bias": 0.0},
    "lecun_uniform": {"bias": 0.0},
    "normal": {"std": None, "mean": 0.0, "bias": 0.0},
    "uniform": {"low": -0.05, "high": 0.05, "bias": 0.0},
    "orthogonal": {"gain": 1.0, "bias": 0.0},
    "zero": {"bias": 0.0},
}
"""Name -> options with their defaults; None has none and must be given."""


def check_init(spec: Spec) -> Spec:
    """Check a spec without importing torch.

    Raises:
        ConfigError: if there is no such initialisation or option, or a value is out of range.
    """
    _options(spec)
    return spec


def initialize(model: nn.Module, spec: Spec, seed: int) -> None:
    """Give a network new initial weights in place.

    Weights are drawn layer by layer from a generator of their own: they depend on the seed and on the layers, not on
    what was drawn before or on the layout in memory.

    Args:
        model: on the CPU, or on the "meta" device, where nothing is drawn but everything checked.
        spec: see the module.
        seed: of the weights.

    Raises:
        ConfigError: see :func:`check_init`; also if the network has no layer that would be initialised.
    """
    options = _options(spec)
    if spec.name == "default":
        return
    import torch

    generator = torch.Generator().manual_seed(seed)
    found = list(_matrices_and_biases(model))
    if not found:
        raise ConfigError(
            f"init {spec.name} has nothing to do: the model has no dense, convolutional or recurrent layer.\n"
            "Leave --init out, and initialise the network in its own constructor."
        )
    with torch.no_grad():
        for tensor, is_bias in found:
            if tensor.is_meta:
                continue
            if is_bias:
                tensor.fill_(options["bias"])
            else:
                drawn = torch.empty(tensor.shape, dtype=tensor.dtype)  # of plain layout, which orthogonal_ needs
                _draw(drawn, spec.name, options, generator)
                tensor.copy_(drawn)


def _draw(weight: Tensor, name: str, options: dict[str, float], generator: Generator) -> None:
    from torch.nn import init

    if name == "xavier":
        init.xavier_normal_(weight, options["gain"], generator=generator)
    elif name == "xavier_uniform":
        init.xavier_uniform_(weight, options["gain"], generator=generator)
    elif name == "he":
        init.kaiming_normal_(weight, options["slope"], generator=generator)
    elif name == "he_uniform":
        init.kaiming_uniform_(weight, options["slope"], generator=generator)
    elif name == "lecun":
        init.kaiming_normal_(weight, nonlinearity="linear", generator=generator)
    elif name == "lecun_uniform":
        init.kaiming_uniform_(weight, nonlinearity="linear", generator=generator)
    elif name == "normal":
        init.normal_(weight, options["mean"], options["std"], generator=generator)
    elif name == "uniform":
        init.uniform_(weight, options["low"], options["high"], generator=generator)
    elif name == "orthogonal":
        init.orthogonal_(weight, options["gain"], generator=generator)
    else:
        init.zeros_(weight)


def _matrices_and_biases(model: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Each tensor to initialise and whether it is a bias; weights of shape (out, in, ...), shared ones once."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    seen: set[int] = set()
    for module in model.modules():
        if not isinstance(module, nn.Linear | _ConvNd | nn.RNNBase | nn.RNNCellBase):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            value = parameter.data
            if name.startswith("bias"):
                yield value, True
            elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
                # weight_ih is (gates * hidden, in), weight_hh (gates * hidden, hidden), weight_hr (out, hidden).
                gates = 1 if name.startswith("weight_hr") else value.shape[0] // module.hidden_size
                for gate in value.chunk(gates):
                    yield gate, False
            elif isinstance(module, _ConvTransposeNd):
                yield value.transpose(0, 1), False  # (in, out / groups, ...)
            else:
                yield value, False


def _options(spec: Spec) -> dict[str, float]:
    if spec.name not in INITIALIZATIONS:
        raise ConfigError(
            f"there is no initialisation {spec.name!r}. There are {', '.join(INITIALIZATIONS)}."
            f"{did_you_mean(spec.name, INITIALIZATIONS)}"
        )
    defaults = INITIALIZATIONS[spec.name]
    check_options(f"init {spec.name}", spec.options, defaults)
    options = {**defaults, **spec.options}
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            example = " For example normal:std=0.01" if value is None else ""
            raise ConfigError(f"init {spec.name}: {name} must be a number, got {value!r}.{example}")
    if options.get("std", 0.0) < 0 or options.get("low", 0.0) > options.get("high", 0.0):
        raise ConfigError(f"init {spec}: std must not be negative, and low not above high.")
    return options


__all__ = ["INITIALIZATIONS", "check_init", "initialize"]
