"""Bytes of an ONNX file -> its nodes and tensors, with every size checked."""

from __future__ import annotations

import contextlib
import json
import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from firesteel.errors import FormatError, ModelError, ResourceError
from firesteel.models.importers.onnx.node import Node
from firesteel.storage import Place, safe_relative

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

_MOST_BYTES = (1 << 31) - 1
"""Of a protobuf message."""
_DOMAINS = ("", "ai.onnx")


@dataclass
class OnnxFile:
    """What an ONNX file holds.

    Attributes:
        nodes: in order.
        constants: initializers and the values of ``Constant`` nodes.
        weights: names of the initializers.
        input_name, input_shape: of the network's one input; sizes that are not fixed are None.
        outputs: names.
        integer_input: name of the type of whole numbers that the network computes with as they come in; None if it takes
            numbers with a fraction, or makes such of its input first, as networks for pictures of bytes do.
        labels: names of the classes, where the file has them as ``firesteel export`` writes them: the property ``labels``, a JSON list.
        notes: for people.
    """

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    weights: list[str]
    input_name: str
    input_shape: tuple[int | None, ...]
    outputs: list[str]
    integer_input: str | None = None
    labels: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)


def read_file(place: Place) -> OnnxFile:
    """Read and check a file; external data lies beside it.

    Raises:
        ResourceError: if the package onnx is missing.
        FormatError: if the bytes are no ONNX network, or cut.
        ModelError: if it holds what is not supported.
    """
    model = _parsed(place)
    if model.functions:
        raise ModelError(f"{place} holds functions of its own, which are not supported. Export it without them.")
    for found in model.graph.sparse_initializer:
        raise ModelError(f"{place} holds the sparse tensor {found.values.name!r}, which is not supported.")
    opset = _opset(place, model)
    constants = {tensor.name: to_array(tensor, place) for tensor in model.graph.initializer}
    weights = list(constants)
    nodes = []
    for number, proto in enumerate(model.graph.node):
        name = proto.name or f"{proto.op_type.lower()}_{number}"
        if proto.domain not in _DOMAINS:
            raise ModelError(
                f"ONNX node {name!r} has the operator {proto.domain}.{proto.op_type}, which is not supported."
            )
        attributes = {each.name: _attribute(each, name, place) for each in proto.attribute}
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(attributes, name)
        else:
            nodes.append(Node(proto.op_type, name, attributes, opset, list(proto.input), list(proto.output)))
    found = _input(place, model.graph, constants)
    return OnnxFile(
        nodes, constants, weights, found.name, _sizes(found), [each.name for each in model.graph.output],
        integer_input=_integers(found, nodes), labels=_labels(model),
    )  # fmt: skip


def _integers(input: ValueInfoProto, nodes: list[Node]) -> str | None:
    from onnx import TensorProto

    floats = (TensorProto.UNDEFINED, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    kind = input.type.tensor_type.elem_type
    takers = [node for node in nodes if input.name in node.inputs]
    if kind in floats or (takers and all(node.op == "Cast" and node.get("to") in floats for node in takers)):
        return None
    return str(TensorProto.DataType.Name(kind)).lower()


def _labels(model: ModelProto) -> tuple[str, ...] | None:
    for each in model.metadata_props:
        if each.key == "labels":
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(each.value)
                if isinstance(found, list) and all(isinstance(label, str) for label in found):
                    return tuple(found) if len(set(found)) == len(found) else None
    return None


def _parsed(place: Place) -> ModelProto:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ResourceError(
            f"reading {place} needs the package onnx, which is not installed: pip install 'firesteel[onnx]'"
        ) from error
    if place.size() > _MOST_BYTES:
        raise FormatError(f"{place} is larger than an ONNX file can be (2 GiB); larger networks have external data.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(place.read_bytes())
    except (DecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{place} is not an ONNX network, or is cut: {str(error)[:100]}") from error
    if not model.graph.node or not model.graph.output:
        raise FormatError(f"{place} is not an ONNX network: it has no nodes.")
    return model


def _opset(place: Place, model: ModelProto) -> int:
    found = [each.version for each in model.opset_import if each.domain in _DOMAINS]
    version = found[0] if found else 1
    if not 1 <= version <= 30:
        raise ModelError(f"{place} has operators of version {version}; 1 to 30 are read.")
    return version


def to_array(tensor: TensorProto, file: Place) -> np.ndarray:
    """A tensor's values, after its declared size was compared with the bytes that are there.

    Raises:
        FormatError: if they differ.
        ModelError: for types that are not supported.
    """
    import onnx
    from onnx import numpy_helper

    name = tensor.name[:80]
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > 1 << 33:
        raise FormatError(f"tensor {name!r} of {file} cannot have shape {list(tensor.dims)}.")
    if tensor.data_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        raise ModelError(f"tensor {name!r} of {file} holds no numbers.")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor = _with_external(tensor, file)
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        count = math.prod(tensor.dims)
        if tensor.HasField("raw_data") and len(tensor.raw_data) < count * dtype.itemsize // 2:
            raise ValueError(f"{len(tensor.raw_data)} bytes for {count} numbers")
        if not tensor.HasField("raw_data"):
            held = max(
                len(getattr(tensor, each))
                for each in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
            )
            if held < count // 2:
                raise ValueError(f"{held} numbers for {count}")
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormatError(f"tensor {name!r} of {file} is damaged: {str(error)[:120]}") from error


def _with_external(tensor: TensorProto, file: Place) -> TensorProto:
    """The tensor with its bytes, which lie in a file beside the network's, never outside its folder."""
    import onnx

    entries = {each.key: each.value for each in tensor.external_data}
    location = entries.get("location", "")
    if not safe_relative(location):
        raise FormatError(f"tensor {tensor.name[:80]!r} of {file} lies at {location!r}, outside the file's folder.")
    place = Place(file.uri.rpartition("/")[0]) / location
    if file.is_local and not _is_beside(file.uri, place.uri):
        raise FormatError(
            f"tensor {tensor.name[:80]!r} of {file} lies at {location!r}, a link that leads outside the file's folder."
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError as error:
        raise FormatError(f"tensor {tensor.name[:80]!r} of {file} has no sound place in {location}.") from error
    size = place.size()
    length = size - offset if length < 0 else length
    if offset < 0 or length < 0 or offset + length > size:
        raise FormatError(f"tensor {tensor.name[:80]!r} of {file} lies beyond the end of {place}.")
    with place.open() as stream:
        stream.seek(offset)
        data = stream.read(length)
    return onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=data)


def _is_beside(file: str, other: str) -> bool:
    """Whether a file lies in the folder of another, or in that to which the other is a link, as caches of downloads have them."""
    folders = {os.path.realpath(os.path.dirname(file)), os.path.dirname(os.path.realpath(file))}
    found = os.path.realpath(other)
    return any(os.path.commonpath([folder, found]) == folder for folder in folders)


def _attribute(proto: Any, node: str, file: Place) -> Any:
    from onnx import AttributeProto

    kind = proto.type
    if kind == AttributeProto.STRING:
        return proto.s.decode("utf-8", "replace")
    if kind == AttributeProto.STRINGS:
        return [each.decode("utf-8", "replace") for each in proto.strings]
    if kind == AttributeProto.TENSOR:
        return to_array(proto.t, file)
    plain = {
        AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints",
    }  # fmt: skip
    if kind not in plain:
        raise ModelError(
            f"ONNX node {node!r} has the attribute {proto.name!r} of a kind that is not supported (If, Loop, Scan)."
        )
    value = getattr(proto, plain[kind])
    return list(value) if kind in (AttributeProto.FLOATS, AttributeProto.INTS) else value


def _constant(attributes: dict[str, Any], name: str) -> np.ndarray:
    types = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, value in attributes.items():
        if key == "value":
            return np.asarray(value)
        if key in types:
            return np.asarray(value, dtype=types[key])
    raise ModelError(f"ONNX node {name!r} is a constant of a kind that is not supported.")


def _input(place: Place, graph: GraphProto, constants: dict[str, np.ndarray]) -> ValueInfoProto:
    """The one input; old files list their tensors among the inputs."""
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        shown = ", ".join(each.name for each in inputs[:5]) or "none"
        raise ModelError(f"{place} has {len(inputs)} inputs ({shown}); a network with one is needed.")
    return inputs[0]


def _sizes(value: ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(each.dim_value if each.dim_value > 0 else None for each in value.type.tensor_type.shape.dim)
