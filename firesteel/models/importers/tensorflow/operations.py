"""From an operation of TensorFlow to a layer of torch, channels first.

Source: https://www.tensorflow.org/api_docs/python/tf/raw_ops
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from firesteel.models.importers import windows
from firesteel.models.importers.tensorflow import modules as own
from firesteel.models.importers.tensorflow.arranging import Answer, Arranging
from firesteel.models.importers.tensorflow.building import Weight
from firesteel.models.importers.tensorflow.inputs import (
    Unfit,
    constant_of,
    is_nchw,
    layer_name,
    scope,
    signal_of,
    spatial,
)
from firesteel.models.importers.tensorflow.messages import Node
from firesteel.models.importers.tensorflow.values import Constant, Nothing, Shape, Signal, Value, torch_axis


class Translation(Arranging):
    """Makes layers of nodes.

    Args:
        building: gets the layers.
        batch: rows for which the graph was made, if it was made for a number of them; None else.
    """

    def __call__(self, node: Node, inputs: list[Value], used_once: bool) -> Answer:
        """What a node gives; :class:`Nothing`, with the reason, for one that cannot be translated."""
        method = _METHODS.get(node.op)
        if method is None:
            return Nothing(
                f"{node} cannot be read: there is no such operation here. These are read: {', '.join(sorted(_METHODS))}."
            )
        try:
            return method(self, node, inputs, used_once)
        except Unfit as error:
            return Nothing(f"{node}: {error}")
        except (
            TypeError,
            ValueError,
            IndexError,
            OverflowError,
            ZeroDivisionError,
        ) as error:  # of options of other types
            return Nothing(f"{node}: its options or inputs are not those of such an operation ({error})")

    # -- layers with weights -------------------------------------------------------------------------------------

    def _convolution(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x, kernel = signal_of(inputs, 0), constant_of(inputs, 1)
        x = self._nhwc(node, x)
        if kernel.array.ndim != 4 or not x.is_picture:
            raise Unfit("a convolution over pictures is read")
        depthwise = node.op.startswith("Depthwise")
        height, width, taken, given = kernel.array.shape
        inputs_, outputs = x.shape[3], taken * given if depthwise else given
        groups = inputs_ if depthwise else inputs_ // taken if taken and inputs_ % taken == 0 else 0
        if not groups or outputs % groups or (depthwise and taken != inputs_):
            raise Unfit(f"a kernel for {taken} channels does not go with {inputs_}")
        stride, dilation = spatial(node, "strides"), spatial(node, "dilations")
        pads = self._pads(node, x, (height, width), stride, dilation)
        if depthwise:
            weight = Weight(kernel, lambda a: a.transpose(2, 3, 0, 1).reshape(-1, 1, height, width), "HWIM -> (IM)1HW")
        else:
            weight = Weight(kernel, lambda a: a.transpose(3, 2, 0, 1), "HWIO -> OIHW")
        name = layer_name(kernel, node)
        if not windows.is_even(pads):
            x = self._building.add(f"{name}_pad", lambda: windows.Pad(pads), [x])
            pads = windows.no_padding(2)
        padded = tuple(before for before, _ in pads)
        kind: Callable[..., nn.Module] = nn.Conv2d
        make = lambda: kind(inputs_, outputs, (height, width), stride, padded, dilation, groups, bias=False)  # noqa: E731
        return self._back(node, self._building.add(name, make, [x], {"weight": weight}, once=once))

    def _pads(self, node: Node, x: Signal, kernel: Shape, stride: Shape, dilation: Shape) -> windows.Pads:
        padding = node.attributes.get("padding")
        if padding == "SAME":
            return windows.same_padding(x.shape[1:3], kernel, stride, dilation)
        if padding == "EXPLICIT":
            given = node.attributes.get("explicit_paddings") or []
            if len(given) != 8:
                raise Unfit("explicit_paddings must be eight numbers")
            first = 4 if is_nchw(node) else 2
            return ((given[first], given[first + 1]), (given[first + 2], given[first + 3]))
        return windows.no_padding(2)

    def _matmul(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        if isinstance(inputs[0], Signal) and isinstance(inputs[1], Signal):
            first, second = inputs[0], inputs[1]
            if len(first.shape) == 4 or len(first.shape) != len(second.shape) or len(first.shape) < 3:
                raise Unfit("products of two values are read of rows of matrices")
            turns = bool(node.attributes.get("adj_x")), bool(node.attributes.get("adj_y"))
            return self._building.add(scope(node), lambda: own.MatMul(*turns), [first, second])
        x, kernel = signal_of(inputs, 0), constant_of(inputs, 1)
        turned = bool(node.attributes.get("transpose_b") or node.attributes.get("adj_y"))
        if kernel.array.ndim != 2 or node.attributes.get("transpose_a") or node.attributes.get("adj_x"):
            raise Unfit("a product with a matrix of the file is read, its input not turned")
        weight = Weight(kernel) if turned else Weight(kernel, lambda a: a.T, "IO -> OI")
        outputs, taken = kernel.array.shape if turned else kernel.array.shape[::-1]
        if taken != x.shape[-1]:
            raise Unfit(f"a matrix for {taken} values does not go with {x.shape[-1]}")
        if x.is_picture:
            weight = Weight(kernel, lambda a: (a if turned else a.T)[:, :, None, None], "IO -> OI11")
            return self._building.add(
                layer_name(kernel, node),
                lambda: nn.Conv2d(taken, outputs, 1, bias=False),
                [x],
                {"weight": weight},
                once=once,
            )
        return self._building.add(
            layer_name(kernel, node), lambda: nn.Linear(taken, outputs, bias=False), [x], {"weight": weight}, once=once
        )

    def _batch_norm(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = self._nhwc(node, signal_of(inputs, 0))
        scale, offset, mean, variance = (constant_of(inputs, number) for number in range(1, 5))
        if node.attributes.get("is_training") or not x.is_picture or mean.array.shape != (x.shape[3],):
            raise Unfit("a batch norm of pictures is read, as it predicts")
        epsilon = float(node.attributes.get("epsilon") or 1e-4)
        weights = {"weight": scale, "bias": offset, "running_mean": mean, "running_var": variance}
        found = self._building.add(
            layer_name(scale, node),
            lambda: nn.BatchNorm2d(x.shape[3], eps=epsilon),
            [x],
            {name: Weight(constant) for name, constant in weights.items()},
        )
        return self._back(node, found)

    # -- element by element --------------------------------------------------------------------------------------

    def _binary(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        first, second = inputs
        if isinstance(first, Signal) and isinstance(second, Signal):
            if len(first.shape) != len(second.shape):
                raise Unfit(f"values of {len(first.shape)} and {len(second.shape)} dimensions are not read together")
            return self._building.add(scope(node), lambda: own.Binary(node.op), [first, second])
        x, constant = (first, second) if isinstance(first, Signal) else (second, first)
        if not isinstance(x, Signal) or not isinstance(constant, Constant):
            raise Unfit("numbers are needed")
        fused = self._as_bias(node, x, constant)
        return fused or self._with_constant(node, x, constant, constant_first=x is second)

    def _as_bias(self, node: Node, x: Signal, constant: Constant) -> Signal | None:
        """What is added to each output of a layer that has no bias becomes its bias."""
        layer = self._building.producer(x)
        if node.op not in ("Add", "AddV2", "BiasAdd") or layer is None or x.name not in self._building.once:
            return None
        if not isinstance(layer.module, nn.Conv2d | nn.Linear) or layer.module.bias is not None or is_nchw(node):
            return None
        outputs = x.shape[-1]
        if constant.array.size != outputs or constant.array.shape[-1:] != (outputs,):
            return None
        import torch

        layer.module.bias = nn.Parameter(torch.empty(outputs, device="meta"))
        layer.weights["bias"] = Weight(constant, lambda array: array.reshape(-1))
        self._building.once.discard(x.name)
        return x

    def _with_constant(self, node: Node, x: Signal, constant: Constant, *, constant_first: bool) -> Signal:
        rank = len(x.shape)
        if constant.array.dtype.kind not in "fiub":
            raise Unfit("numbers are needed")
        if constant.array.ndim > rank:
            raise Unfit(f"numbers of {constant.array.ndim} dimensions beside a value of {rank}")

        def beside(array: np.ndarray) -> np.ndarray:
            if node.op == "BiasAdd" and is_nchw(node):
                array = array.reshape(-1, *[1] * (rank - 2))
            array = array.reshape((1,) * (rank - array.ndim) + array.shape)
            return array.transpose(0, 3, 1, 2) if rank == 4 else array

        shape = beside(constant.array).shape
        wide = [size for size, own_size in zip(shape, x.torch_shape) if size not in (1, own_size)]
        if wide or shape[0] != 1:
            raise Unfit(f"numbers of shape {constant.array.shape} do not go with rows of {x.shape[1:]}")
        weight = Weight(constant, beside, None if shape == constant.array.shape else "beside its input")
        learnt = bool(constant.name) and constant.array.size > 1
        make = lambda: own.WithConstant(node.op, shape, learnt=learnt, first=constant_first)  # noqa: E731
        return self._building.add(scope(node), make, [x], {"value": weight})

    def _unary(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        return self._building.add(node.name, lambda: own.Unary(node.op), [signal_of(inputs, 0)])

    def _activation(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = signal_of(inputs, 0)
        if node.op == "LeakyRelu":
            slope = node.attributes.get("alpha")
            return self._building.add(node.name, lambda: nn.LeakyReLU(0.2 if slope is None else float(slope)), [x])
        if node.op in ("Softmax", "LogSoftmax"):
            kind = nn.Softmax if node.op == "Softmax" else nn.LogSoftmax
            return self._building.add(node.name, lambda: kind(torch_axis(-1, len(x.shape))), [x])
        return self._building.add(node.name, _ACTIVATIONS[node.op], [x])

    def _cast(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        if int(node.attributes.get("DstT") or 0) not in (1, 2, 14, 19):
            raise Unfit("values become whole numbers")
        return inputs[0]

    # -- windows -------------------------------------------------------------------------------------------------

    def _pool(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x = self._nhwc(node, signal_of(inputs, 0))
        if not x.is_picture:
            raise Unfit("pooling of pictures is read")
        kernel, stride = spatial(node, "ksize"), spatial(node, "strides")
        pads = self._pads(node, x, kernel, stride, (1, 1))
        modules = (windows.max_pool if node.op == "MaxPool" else windows.average_pool)(kernel, stride, pads)
        for number in range(len(modules)):
            name = node.name if number == len(modules) - 1 else f"{node.name}_pad"
            x = self._building.add(name, lambda number=number: _again(node.op, kernel, stride, pads)[number], [x])  # type: ignore[misc]
        return self._back(node, x)

    def _pad(self, node: Node, inputs: list[Value], once: bool) -> Answer:
        x, pads = signal_of(inputs, 0), constant_of(inputs, 1).array
        value = float(constant_of(inputs, 2).array.reshape(())) if node.op == "PadV2" else 0.0
        if pads.shape != (len(x.shape), 2) or pads[0].any() or (pads < 0).any() or pads.max() > 1 << 16:
            raise Unfit(f"paddings {pads.tolist()[:8]} are not read")
        order = (0, 3, 1, 2) if x.is_picture else range(len(x.shape))
        pairs = tuple((int(pads[axis][0]), int(pads[axis][1])) for axis in order)[1:]
        return self._building.add(node.name, lambda: windows.Pad(pairs, value), [x])


def _again(op: str, kernel: Shape, stride: Shape, pads: windows.Pads) -> list[nn.Module]:
    return (windows.max_pool if op == "MaxPool" else windows.average_pool)(kernel, stride, pads)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Relu": nn.ReLU, "Relu6": nn.ReLU6, "Elu": nn.ELU, "Selu": nn.SELU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh,
    "Softplus": nn.Softplus, "Softsign": nn.Softsign,
}  # fmt: skip

_METHODS: dict[str, Callable[[Translation, Node, list[Value], bool], Answer]] = {
    "Conv2D": Translation._convolution, "DepthwiseConv2dNative": Translation._convolution,
    "Cast": Translation._cast, "ConcatV2": Translation._concat, "ExpandDims": Translation._expand,
    "Reshape": Translation._reshape, "Shape": Translation._shape, "Squeeze": Translation._squeeze,
    "StridedSlice": Translation._slice, "Transpose": Translation._transpose,
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), Translation._matmul),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), Translation._batch_norm),
    **dict.fromkeys(("MaxPool", "AvgPool"), Translation._pool),
    **dict.fromkeys(("Pad", "PadV2"), Translation._pad),
    **dict.fromkeys(("Mean", "Max", "Sum"), Translation._reduce),
    **dict.fromkeys(own.BINARY, Translation._binary),
    **dict.fromkeys(own.UNARY, Translation._unary),
    **dict.fromkeys((*_ACTIVATIONS, "LeakyRelu", "Softmax", "LogSoftmax"), Translation._activation),
}  # fmt: skip


__all__ = ["Translation"]
