"""Which layer of ``torch.nn`` an operator of ATen is, and with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Recognized:
    """A layer that does what a call of an operator does.

    Attributes:
        type: its class in ``torch.nn``.
        options: of its constructor.
        inputs: arguments of the operator that are inputs of the layer.
        tensors: name in the layer -> argument of the operator. For lists of tensors ``weights.0``, ``weights.1``.
    """

    type: str
    options: dict[str, Any]
    inputs: tuple[str, ...] = ("input",)
    tensors: dict[str, str] = field(default_factory=dict)


Arguments = Mapping[str, Any]
"""Arguments by name: tensors as examples with the same shape, all else as it is."""


def recognize(operator: str, arguments: Arguments) -> Recognized | None:
    """The layer that an operator is; None if it is none, or has arguments that no layer has.

    Args:
        operator: ``conv2d.default``.
        arguments: all, with their defaults.
    """
    name = operator.partition(".")[0]
    found = _RECOGNIZERS.get(name)
    return None if found is None else found(name, arguments)


def _given(arguments: Arguments, **names: str) -> dict[str, str]:
    return {ours: theirs for ours, theirs in names.items() if arguments.get(theirs) is not None}


def _conv(name: str, a: Arguments) -> Recognized:
    weight = a["weight"]
    options = {
        "in_channels": weight.shape[1] * a["groups"], "out_channels": weight.shape[0], "kernel_size": list(weight.shape[2:]),
        "stride": a["stride"], "padding": a["padding"], "dilation": a["dilation"], "groups": a["groups"],
        "bias": a.get("bias") is not None,
    }  # fmt: skip
    return Recognized(f"Conv{weight.dim() - 2}d", options, tensors=_given(a, weight="weight", bias="bias"))


def _conv_transpose(name: str, a: Arguments) -> Recognized:
    weight = a["weight"]
    options = {
        "in_channels": weight.shape[0], "out_channels": weight.shape[1] * a["groups"], "kernel_size": list(weight.shape[2:]),
        "stride": a["stride"], "padding": a["padding"], "output_padding": a["output_padding"], "groups": a["groups"],
        "bias": a.get("bias") is not None, "dilation": a["dilation"],
    }  # fmt: skip
    return Recognized(f"ConvTranspose{weight.dim() - 2}d", options, tensors=_given(a, weight="weight", bias="bias"))


def _linear(name: str, a: Arguments) -> Recognized | None:
    weight = a["weight"]
    if weight.dim() != 2:
        return None
    options = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": a.get("bias") is not None}
    return Recognized("Linear", options, tensors=_given(a, weight="weight", bias="bias"))


def _batch_norm(name: str, a: Arguments) -> Recognized | None:
    dims = a["input"].dim()
    if (a.get("weight") is None) != (a.get("bias") is None) or not 2 <= dims <= 5:
        return None
    running = a.get("running_mean") is not None
    if a["training"] == running:  # a layer in evaluation mode uses its running statistics if it has some
        return None
    options = {
        "num_features": a["input"].shape[1], "eps": a["eps"], "momentum": a["momentum"],
        "affine": a.get("weight") is not None, "track_running_stats": running,
    }  # fmt: skip
    tensors = _given(a, weight="weight", bias="bias", running_mean="running_mean", running_var="running_var")
    return Recognized(f"BatchNorm{max(1, dims - 2)}d", options, tensors=tensors)


def _instance_norm(name: str, a: Arguments) -> Recognized | None:
    dims = a["input"].dim()
    running = a.get("running_mean") is not None
    if (a.get("weight") is None) != (a.get("bias") is None) or not 3 <= dims <= 5 or a["use_input_stats"] == running:
        return None
    options = {
        "num_features": a["input"].shape[1], "eps": a["eps"], "momentum": a["momentum"],
        "affine": a.get("weight") is not None, "track_running_stats": running,
    }  # fmt: skip
    tensors = _given(a, weight="weight", bias="bias", running_mean="running_mean", running_var="running_var")
    return Recognized(f"InstanceNorm{dims - 2}d", options, tensors=tensors)


def _layer_norm(name: str, a: Arguments) -> Recognized | None:
    if a.get("weight") is None and a.get("bias") is not None:
        return None
    options = {
        "normalized_shape": a["normalized_shape"], "eps": a["eps"], "elementwise_affine": a.get("weight") is not None,
        "bias": a.get("bias") is not None,
    }  # fmt: skip
    return Recognized("LayerNorm", options, tensors=_given(a, weight="weight", bias="bias"))


def _group_norm(name: str, a: Arguments) -> Recognized | None:
    if (a.get("weight") is None) != (a.get("bias") is None):
        return None
    options = {
        "num_groups": a["num_groups"], "num_channels": a["input"].shape[1], "eps": a["eps"],
        "affine": a.get("weight") is not None,
    }  # fmt: skip
    return Recognized("GroupNorm", options, tensors=_given(a, weight="weight", bias="bias"))


def _prelu(name: str, a: Arguments) -> Recognized:
    return Recognized("PReLU", {"num_parameters": a["weight"].numel()}, ("self",), {"weight": "weight"})


def _embedding(name: str, a: Arguments) -> Recognized | None:
    weight = a["weight"]
    if a["scale_grad_by_freq"] or a["sparse"]:
        return None
    options: dict[str, Any] = {"num_embeddings": weight.shape[0], "embedding_dim": weight.shape[1]}
    if a["padding_idx"] >= 0:
        options["padding_idx"] = a["padding_idx"]
    return Recognized("Embedding", options, ("indices",), {"weight": "weight"})


def _recurrent(name: str, a: Arguments) -> Recognized | None:
    """``lstm``, ``gru``, ``rnn_tanh``, ``rnn_relu`` with states that begin at zero, or are given."""
    weights: list[Tensor] = a["params"]
    layers, directions = a["num_layers"], 2 if a["bidirectional"] else 1
    each, rest = divmod(len(weights), layers * directions)
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    hidden = weights[0].shape[0] // gates
    if rest or each != (4 if a["has_biases"] else 2) or weights[1].shape[1] != hidden:
        return None  # an LSTM with projections has five
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[:each]
    names = [
        f"{kind}_l{layer}{suffix}"
        for layer in range(layers) for suffix in ("", "_reverse")[:directions] for kind in kinds
    ]  # fmt: skip
    options = {
        "input_size": weights[0].shape[1], "hidden_size": hidden, "num_layers": layers, "bias": a["has_biases"],
        "batch_first": a["batch_first"], "dropout": a["dropout"], "bidirectional": a["bidirectional"],
    }  # fmt: skip
    if name.startswith("rnn"):
        options["nonlinearity"] = name.removeprefix("rnn_")
    type_name = "RNN" if name.startswith("rnn") else name.upper()
    tensors = {ours: f"params.{number}" for number, ours in enumerate(names)}
    return Recognized(type_name, options, ("input", "hx"), tensors)


def _pool(type_name: str, *names: str) -> Callable[[str, Arguments], Recognized]:
    """A pooling layer; an empty stride is the size of the window."""

    def pool(name: str, a: Arguments) -> Recognized:
        options = {ours: a[ours] for ours in names if a.get(ours) not in (None, [])}
        return Recognized(type_name + name[-2:], options, ("self",))

    return pool


def _dropout(name: str, a: Arguments) -> Recognized | None:
    if a["train"]:
        return None
    dims = a["input"].dim()
    if name == "feature_dropout" and not 3 <= dims <= 5:
        return None
    plain = {"dropout": "Dropout", "alpha_dropout": "AlphaDropout", "feature_alpha_dropout": "FeatureAlphaDropout"}
    return Recognized(plain.get(name) or f"Dropout{dims - 2}d", {"p": a["p"]})


def _elu(name: str, a: Arguments) -> Recognized | None:
    if a["input_scale"] != 1 or a["scale"] != 1:
        return None
    return Recognized("ELU", {"alpha": float(a["alpha"])}, ("self",))


def _activation(type_name: str, **names: str) -> Callable[[str, Arguments], Recognized]:
    """An activation; option of the layer = argument of the operator."""

    def activation(name: str, a: Arguments) -> Recognized:
        return Recognized(type_name, {ours: a[theirs] for ours, theirs in names.items()}, ("self",))

    return activation


def _flatten(name: str, a: Arguments) -> Recognized:
    return Recognized("Flatten", {"start_dim": a["start_dim"], "end_dim": a["end_dim"]}, ("self",))


_WINDOW = ("kernel_size", "stride", "padding")
_RECOGNIZERS: dict[str, Callable[[str, Arguments], Recognized | None]] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv_transpose for n in (1, 2, 3)},
    "linear": _linear, "batch_norm": _batch_norm, "instance_norm": _instance_norm, "layer_norm": _layer_norm,
    "group_norm": _group_norm, "prelu": _prelu, "embedding": _embedding,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **{f"max_pool{n}d": _pool("MaxPool", *_WINDOW, "dilation", "ceil_mode") for n in (1, 2, 3)},
    "avg_pool1d": _pool("AvgPool", *_WINDOW, "ceil_mode", "count_include_pad"),
    **{f"avg_pool{n}d": _pool("AvgPool", *_WINDOW, "ceil_mode", "count_include_pad", "divisor_override") for n in (2, 3)},
    **{f"adaptive_avg_pool{n}d": _pool("AdaptiveAvgPool", "output_size") for n in (1, 2, 3)},
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
    "relu": _activation("ReLU"), "relu6": _activation("ReLU6"), "sigmoid": _activation("Sigmoid"), "tanh": _activation("Tanh"),
    "selu": _activation("SELU"), "silu": _activation("SiLU"), "mish": _activation("Mish"), "hardswish": _activation("Hardswish"),
    "hardsigmoid": _activation("Hardsigmoid"), "log_sigmoid": _activation("LogSigmoid"), "elu": _elu,
    "leaky_relu": _activation("LeakyReLU", negative_slope="negative_slope"),
    "gelu": _activation("GELU", approximate="approximate"), "celu": _activation("CELU", alpha="alpha"),
    "softplus": _activation("Softplus", beta="beta", threshold="threshold"),
    "hardtanh": _activation("Hardtanh", min_val="min_val", max_val="max_val"),
    "flatten": _flatten,
}  # fmt: skip

NEEDS_TRAINING_MODE = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
"""Operators that only a layer can do: they depend on the mode of the network."""

__all__ = ["NEEDS_TRAINING_MODE", "Recognized", "recognize"]
