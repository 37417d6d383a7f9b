"""The operators that a stored graph may use: functions of ATen without side effects, and arithmetic on sizes.

The list is what keeps a graph from being a program: no operator here writes to its inputs, reads memory that nobody has
written (``empty``) or that is out of bounds (``_unsafe_index``, ``as_strided``), opens a file (``from_file``) or gives a result
whose size depends on values (``nonzero``). Some can give huge results from small inputs (``expand``, ``pad``, ``zeros``):
the sizes of all results are computed before the first real one (see :mod:`firesteel.models.graph.network`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from firesteel.errors import ModelError
from firesteel.specs import did_you_mean

_ELEMENTWISE = """
abs acos acosh add addcdiv addcmul alias asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu
clamp clamp_max clamp_min clip clone contiguous copy copysign cos cosh deg2rad detach div divide elu eq erf erfc erfinv exp exp2
expm1 fill floor floor_divide fmax fmin fmod frac ge gelu glu greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh
isfinite isinf isnan le leaky_relu lerp less less_equal lgamma log log10 log1p log2 log_sigmoid logaddexp logical_and
logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply ne neg negative nan_to_num not_equal
positive pow prelu rad2deg reciprocal relu relu6 remainder round rsqrt rsub selu sgn sigmoid sign silu sin sinc sinh
_weight_norm softplus softshrink sqrt square sub subtract tan tanh threshold to true_divide trunc type_as where xlogy _to_copy
"""
_SHAPE = """
broadcast_to cat chunk channel_shuffle concat concatenate constant_pad_nd diagonal dropout expand expand_as feature_dropout
alpha_dropout feature_alpha_dropout flatten flip gather hstack im2col col2im index index_select masked_scatter matrix_H mT mH
meshgrid movedim narrow native_channel_shuffle numpy_T pad permute pixel_shuffle pixel_unshuffle reflection_pad1d
reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape
reshape_as roll rot90 scatter scatter_add select select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes
swapdims t take_along_dim tensor_split tile transpose tril triu unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze
view view_as vstack one_hot sym_size
"""
_REDUCING = """
all amax amin any argmax argmin argsort cumprod cumsum log_softmax logsumexp max mean min norm prod softmax sort std sum topk var
var_mean std_mean linalg_vector_norm count_nonzero _softmax _log_softmax frobenius_norm cosine_similarity
pairwise_distance cdist
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d addbmm
addmm addmv avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bilinear bmm conv1d conv2d conv3d conv_transpose1d
conv_transpose2d conv_transpose3d convolution dot einsum embedding group_norm gru
instance_norm layer_norm linear lstm matmul max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d
max_pool3d_with_indices mm mv native_batch_norm native_group_norm native_layer_norm outer rms_norm rnn_relu rnn_tanh
scaled_dot_product_attention tensordot upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
upsample_nearest2d upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact2d kron
"""
_FACTORIES = """
arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like
"""
ATEN = frozenset(f"{_ELEMENTWISE} {_SHAPE} {_REDUCING} {_LAYERS} {_FACTORIES}".split())
"""Names of the operators, all their overloads that write to none of their inputs."""

PLACED = ("device", "pin_memory", "layout")
"""Arguments that say where a result lies; it lies where the batch is."""

_SPLITTING = ("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split")
_MOST_PARTS = 1 << 16
_LARGEST = 1 << 62


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """On whole numbers and sizes, whose results stay of a size that a computer word holds."""

    def compute(*numbers: Any) -> Any:
        result = function(*numbers)
        if isinstance(result, int) and abs(result) > _LARGEST:
            raise ModelError(f"a size in the graph becomes {str(result)[:30]}, beyond what a network needs.")
        return result

    return compute


def _item(values: Any, index: Any) -> Any:
    if not isinstance(values, list | tuple) or not isinstance(index, int):
        raise ModelError("getitem takes one of several results by its number.")
    return values[index]


PYTHON: dict[str, Callable[..., Any]] = {
    "getitem": _item,
    **{name: _bounded(getattr(operator, name)) for name in ("add", "sub", "mul", "floordiv", "mod", "neg")},
}
"""On what is no tensor: sizes, and operators with several results."""


@lru_cache(maxsize=4096)
def find_operator(name: str) -> Callable[..., Any]:
    """The function that ``aten.NAME.OVERLOAD`` or ``python.NAME`` stands for.

    Raises:
        ModelError: if it is none that a graph may use.
    """
    family, _, rest = name.partition(".")
    if family == "python" and rest in PYTHON:
        return PYTHON[rest]
    packet, _, overload = rest.partition(".")
    if family != "aten" or packet not in ATEN:
        raise ModelError(f"the operator {name[:80]!r} is none that a graph may use.{did_you_mean(packet, ATEN)}")
    found = getattr(torch.ops.aten, packet, None)
    if found is None or overload not in found.overloads():
        raise ModelError(f"torch {torch.__version__} has no operator {name[:80]!r}: another version has written this.")
    function = getattr(found, overload)
    if function._schema.is_mutable:
        raise ModelError(f"the operator {name!r} writes to its inputs; a graph may not use it.")
    if packet != "sym_size" and not all("Tensor" in str(each.real_type) for each in function._schema.returns):
        raise ModelError(f"the operator {name!r} gives no tensors; a graph may not use it.")
    return function


def check_arguments(name: str, inputs: Sequence[Any], options: Mapping[str, Any], where: str) -> None:
    """Look at the arguments that torch takes on trust: a dtype that is a number beyond its list reads memory that is not its own.

    Raises:
        ModelError: if one is not what it must be.
    """
    schema = getattr(find_operator(name), "_schema", None)
    if schema is None:
        return
    given = dict(zip((argument.name for argument in schema.arguments), inputs)) | dict(options)
    for argument in schema.arguments:
        value, kind = given.get(argument.name), str(argument.real_type)
        if value is None:
            continue
        is_dtype = "ScalarType" in kind or argument.name in ("dtype", "out_dtype")
        wanted = "dtype" if is_dtype else "layout" if "MemoryFormat" in kind else None
        if argument.name in PLACED or "Device" in kind or "Layout" in kind:
            raise ModelError(f"{where} says where its result lies, which a graph may not.")
        if wanted is not None and not (isinstance(value, dict) and wanted in value):
            raise ModelError(f"{where} has the {wanted} {str(value)[:40]}, which is none.")


def check_parts(name: str, given: Sequence[Any], where: str) -> None:
    """Look at what is to be split, before: each part costs memory even without data.

    Raises:
        ModelError: if it could become more parts than a network needs.
    """
    if name.split(".")[1] not in _SPLITTING:
        return
    sizes = [size for value in given if isinstance(value, torch.Tensor) for size in value.shape]
    sizes += [value for value in given if isinstance(value, int)]
    if max(sizes, default=0) > _MOST_PARTS:
        raise ModelError(f"{where} splits into more than {_MOST_PARTS:,} parts.")


@lru_cache(maxsize=4096)
def is_placed(name: str) -> bool:
    """Whether an operator must be told where its result shall lie."""
    function = find_operator(name)
    schema = getattr(function, "_schema", None)
    packet = name.split(".")[1]
    return (
        packet in _FACTORIES.split() and any(argument.name == "device" for argument in schema.arguments)
        if schema
        else False
    )
