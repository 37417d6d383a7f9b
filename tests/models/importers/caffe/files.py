"""Writes Caffe's files: what the importer reads is made by another hand than its own."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from firesteel.models.importers.caffe.schema import BY_NAME, ENUMS, Message


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, value: bytes | int | float | str) -> bytes:
    """A field: bytes and texts with their length, whole numbers as varints, others as float32."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 5) + struct.pack("<f", value)


def blob(values: np.ndarray, style: str = "packed") -> bytes:
    """A BlobProto: ``packed`` as of today, ``old`` with four dimensions, ``tagged`` with a tag each, ``double``."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if style == "old":
        sizes = (1,) * (4 - values.ndim) + values.shape
        head = b"".join(field(number + 1, int(size)) for number, size in enumerate(sizes))
        return head + field(5, flat.tobytes())
    head = field(7, field(1, b"".join(varint(size) for size in values.shape)))
    if style == "tagged":
        return head + b"".join(b"\x2d" + struct.pack("<f", value) for value in flat)
    return head + (field(8, flat.astype("<f8").tobytes()) if style == "double" else field(5, flat.tobytes()))


def weights_layer(name: str, kind: str, blobs: Sequence[np.ndarray], style: str = "packed") -> bytes:
    """A layer of a .caffemodel that holds weights alone."""
    return field(100, field(1, name) + field(2, kind) + b"".join(field(7, blob(each, style)) for each in blobs))


def write_weights(
    path: Path, layers: Mapping[str, Sequence[np.ndarray]], kinds: Mapping[str, str], style: str = "packed"
) -> Path:
    """A .caffemodel of weights; ``kinds`` are the types of its layers."""
    path.write_bytes(
        field(1, "net") + b"".join(weights_layer(name, kinds[name], blobs, style) for name, blobs in layers.items())
    )
    return path


def encode(message: Message, blobs: Mapping[str, Sequence[np.ndarray]] | None = None) -> bytes:
    """A message with its structure, and the blobs of its layers: what Caffe's solver saves."""
    out = b"".join(
        _encoded(BY_NAME[message.kind][name].number, BY_NAME[message.kind][name].kind, value, blobs)
        for name, values in message.values.items()
        for value in values
    )
    if blobs and message.kind in ("LayerParameter", "V1LayerParameter"):
        number = BY_NAME[message.kind]["blobs"].number
        out += b"".join(field(number, blob(each)) for each in blobs.get(str(message.get("name")), ()))
    return out


def _encoded(number: int, kind: str, value: object, blobs: Mapping[str, Sequence[np.ndarray]] | None) -> bytes:
    if isinstance(value, Message):
        return field(number, encode(value, blobs))
    if kind in ENUMS:
        return field(number, ENUMS[kind].index(str(value)))
    assert isinstance(value, bytes | int | float | str)
    return field(number, int(value) if isinstance(value, bool) else value)


def vgg16_prototxt(side: int = 224, width: int = 4096, classes: int = 1000) -> str:
    """The deploy.prototxt of VGG16 (Simonyan and Zisserman, arXiv 1409.1556)."""
    return "\n".join(_vgg16(side, width, classes))


def _vgg16(side: int, width: int, classes: int) -> Iterator[str]:
    yield f'name: "VGG16" input: "data" input_dim: 10 input_dim: 3 input_dim: {side} input_dim: {side}'
    last = "data"

    def layer(name: str, kind: str, options: str, *, inplace: bool = False) -> str:
        nonlocal last
        top = last if inplace else name
        text = f'layer {{ name: "{name}" type: "{kind}" bottom: "{last}" top: "{top}" {options} }}'
        last = top
        return text

    for block, (count, maps) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            yield layer(
                f"conv{block}_{number}",
                "Convolution",
                f"convolution_param {{ num_output: {maps} pad: 1 kernel_size: 3 }}",
            )
            yield layer(f"relu{block}_{number}", "ReLU", "", inplace=True)
        yield layer(f"pool{block}", "Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    for name, outputs in (("fc6", width), ("fc7", width), ("fc8", classes)):
        yield layer(name, "InnerProduct", f"inner_product_param {{ num_output: {outputs} }}")
        if name != "fc8":
            yield layer(f"relu{name[2:]}", "ReLU", "", inplace=True)
            yield layer(f"drop{name[2:]}", "Dropout", "dropout_param { dropout_ratio: 0.5 }", inplace=True)
    yield layer("prob", "Softmax", "")


def vgg16_weights(
    side: int = 224, width: int = 4096, classes: int = 1000
) -> Iterable[tuple[str, str, list[np.ndarray]]]:
    """Name, type and random blobs of each layer of VGG16, one after the other."""
    generator = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)

    inputs = 3
    for block, (count, maps) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            yield f"conv{block}_{number}", "Convolution", [random(maps, inputs, 3, 3), np.zeros(maps, np.float32)]
            inputs = maps
    inputs = 512 * (side // 32) ** 2
    for name, outputs in (("fc6", width), ("fc7", width), ("fc8", classes)):
        yield name, "InnerProduct", [random(outputs, inputs), np.zeros(outputs, np.float32)]
        inputs = outputs
