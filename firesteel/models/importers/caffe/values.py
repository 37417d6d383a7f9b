"""What becomes of a layer's blobs: tensors under torch's names and in torch's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.binary import Blob
from firesteel.models.importers.caffe.structure import Layer
from firesteel.models.importers.wire_format import forget_pages
from firesteel.models.shapes import show_shape


@dataclass(frozen=True)
class Value:
    """A tensor that can be written to its place.

    Attributes:
        shape: of the tensor.
        write: fills a contiguous float32 array of ``shape``.
        change: what was done to the file's, in words; None if nothing.
        blob: where the numbers lie in the file as they are; None if they are computed or moved.
    """

    shape: tuple[int, ...]
    write: Callable[[np.ndarray], None]
    change: str | None = None
    blob: Blob | None = None

    def tensor(self) -> Tensor:
        """A new float32 tensor of the values."""
        found = torch.empty(self.shape)
        self.write(found.numpy())
        return found


class LazyTensors(Mapping[str, Tensor]):
    """Tensors by name that are views of the file where they can be; made when they are asked for.

    They are there to be copied from: in the file they lie on odd addresses.
    """

    def __init__(self, values: Mapping[str, Value]):
        self._values = dict(values)
        self._mapped: Blob | None = None

    def __getitem__(self, name: str) -> Tensor:
        value = self._values[name]
        self._forget()
        if value.blob is None or len(value.blob.pieces) != 1 or value.blob.pieces[0][1:] != (4, 4):
            return value.tensor()
        self._mapped = value.blob
        array: np.ndarray = np.ndarray(value.shape, "<f4", value.blob.data, value.blob.pieces[0][0].start)
        array.flags.writeable = False
        return _tensor_of(array)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self) -> None:
        if self._mapped is not None:
            span = self._mapped.pieces[0][0]
            forget_pages(self._mapped.data, span.start, span.end)
            self._mapped = None


def _tensor_of(array: np.ndarray) -> Tensor:
    """A view; torch cannot say that a tensor is read-only, and warns. Nothing writes to what is only copied from."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def values_of(layer: Layer) -> dict[str, Value]:
    """The tensors of a layer, by the names that torch's modules give them.

    Convolutions have the same layout in both (out, in / group, height, width), and dense layers read channels first in both.

    Raises:
        ModelError: if the blobs are not those of such a layer.
    """
    blobs = layer.blobs
    if layer.type in _WEIGHT_AND_BIAS:
        names = ["weight", "bias"]
        if layer.type == "Bias":
            names = ["bias"]
        if len(blobs) > len(names):
            raise ModelError(f"{layer} has {len(blobs)} blobs in the file, {len(names)} are expected.")
        return {name: _of_weight(layer, name, blob) for name, blob in zip(names, blobs)}
    if layer.type == "BatchNorm" and blobs:
        return _of_batch_norm(layer)
    return {f"blob{number}": _plain(blob, blob.shape) for number, blob in enumerate(blobs)}


_WEIGHT_AND_BIAS = (
    "Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", "InnerProduct", "Scale", "Bias",
    "PReLU", "Normalize",
)  # fmt: skip


def _of_weight(layer: Layer, name: str, blob: Blob) -> Value:
    if layer.type == "InnerProduct" and name == "weight":
        return _of_dense(layer, blob)
    if name == "bias" or layer.type in ("PReLU", "Normalize"):
        return _plain(blob, blob.shape if layer.type in ("Scale", "Bias") and not _is_old(blob) else (blob.size,))
    return _plain(blob, (blob.size,) if layer.type == "Scale" and _is_old(blob) else blob.shape)


def _is_old(blob: Blob) -> bool:
    """Four dimensions that begin with ones: a vector as old files write it."""
    return len(blob.shape) == 4 and blob.shape[:3] == (1, 1, 1)


def _plain(blob: Blob, shape: tuple[int, ...]) -> Value:
    return Value(shape, blob.read_into, change_of_shape(blob.shape, shape), blob)


def change_of_shape(given: tuple[int, ...], shape: tuple[int, ...]) -> str | None:
    """``1x1x10x500 -> 10x500``; None if they are the same."""
    return None if given == shape else f"{show_shape(given)} -> {show_shape(shape)}"


def _of_dense(layer: Layer, blob: Blob) -> Value:
    shape = blob.shape[-2:]
    if len(shape) != 2 or math.prod(shape) != blob.size:
        raise ModelError(f"{layer}: its weight has shape {show_shape(blob.shape)}, two dimensions are needed.")
    if not layer.options("inner_product_param").get("transpose", False):
        return _plain(blob, shape)
    turned = (shape[1], shape[0])

    def write(target: np.ndarray) -> None:
        target[...] = blob.numbers().reshape(shape).T

    return Value(turned, write, f"{show_shape(shape)} -> {show_shape(turned)}, transposed")


def _of_batch_norm(layer: Layer) -> dict[str, Value]:
    """Caffe keeps sums of mean and variance, and in a third blob what to divide them by."""
    if len(layer.blobs) != 3 or layer.blobs[2].size != 1 or layer.blobs[0].size != layer.blobs[1].size:
        raise ModelError(
            f"{layer}: mean, variance and their scale factor are needed, the file has"
            f" {', '.join(show_shape(blob.shape) for blob in layer.blobs)}."
        )
    mean, variance, factor = layer.blobs
    divisor = float(factor.numbers().reshape(()))

    def scaled(blob: Blob) -> Value:
        def write(target: np.ndarray) -> None:
            blob.read_into(target)
            target *= 0.0 if divisor == 0 else np.float32(1 / divisor)

        return Value((blob.size,), write, None if divisor == 1 else f"divided by {divisor:g}")

    return {"running_mean": scaled(mean), "running_var": scaled(variance)}


__all__ = ["LazyTensors", "Value", "change_of_shape", "values_of"]
