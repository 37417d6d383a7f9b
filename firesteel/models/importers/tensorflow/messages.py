"""Graphs of TensorFlow: the messages of a frozen graph and of a SavedModel that a network needs, read in place.

Read without TensorFlow: to it a SavedModel is a program, which may hold any operation; here only what is translated runs.

Source: tensorflow/core/framework/*.proto and tensorflow/core/protobuf/{meta_graph,saved_model}.proto
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firesteel.errors import FormatError
from firesteel.models.importers.wire_format import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Cursor,
    Span,
    float_of,
    packed_integers,
    signed,
    text_at,
)  # fmt: skip

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|b1", 19: "<f2"}
"""Types of tensors that are read."""
STRING = 7

MAX_NODES = 200_000
MAX_REPEATED = 1 << 24
"""Values of a tensor of which only the first are written, the last of them standing for the rest."""


@dataclass
class Node:
    """One operation.

    Attributes:
        name: in its graph.
        op: its kind.
        inputs: ``node``, ``node:1``; in functions ``node:output:0``.
        attributes: by name; texts, numbers, arrays, shapes (None for an open size), lists of them.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"


@dataclass
class Graph:
    """Operations by name; of a function also what goes in and comes out.

    Attributes:
        nodes: by name.
        arguments: names of what a function takes.
        returns: what a function gives, by the order of its outputs.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Names of values that go in and come out, by the names that people use."""

    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass
class Program:
    """A graph with its functions.

    Attributes:
        graph: where a run begins.
        functions: by name.
        signatures: by name.
        tags: of a SavedModel's graph.
    """

    graph: Graph = field(default_factory=Graph)
    functions: dict[str, Graph] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def read_graph_def(data: memoryview) -> Program:
    """A frozen graph.

    Raises:
        FormatError: if the bytes are none.
    """
    program = Program()
    _graph_def(Cursor(data), program)
    if not program.graph.nodes:
        raise FormatError("no operation in it")
    return program


def read_saved_model(data: memoryview) -> list[Program]:
    """The graphs of ``saved_model.pb``.

    Raises:
        FormatError: if the bytes are none.
    """
    programs: list[Program] = []

    def meta_graph(cursor: Cursor) -> None:
        program = Program()
        fields(cursor, {
            1: lambda inner: fields(inner, {4: lambda span: _append_tag(program, cursor.data, span)}, raw=(4,)),
            2: lambda inner: _graph_def(inner, program),
            5: lambda inner: _add_signature(inner, program),
        })  # fmt: skip
        programs.append(program)

    fields(Cursor(data), {2: meta_graph})
    if not programs:
        raise FormatError("no graph in it")
    return programs


Handler = Callable[[Any], None]


def fields(cursor: Cursor, handlers: dict[int, Handler], raw: tuple[int, ...] = ()) -> None:
    """Hand each field of a message to its handler: a message as a cursor, those in ``raw`` as a span, numbers as they are."""
    while cursor:
        number, wire_type = cursor.tag()
        handler = handlers.get(number)
        if handler is None:
            cursor.skip(wire_type)
        elif wire_type == BYTES:
            span = cursor.span()
            handler(span if number in raw else cursor.inside(span))
        elif wire_type == VARINT:
            handler(signed(cursor.varint()))
        elif wire_type in (FIXED32, FIXED64):
            handler(float_of(cursor.fixed(wire_type)))
        else:
            cursor.skip(wire_type)


def _append_tag(program: Program, data: memoryview, span: Span) -> None:
    program.tags = (*program.tags, text_at(data, _span(span)))


def _span(value: Any) -> Span:
    if not isinstance(value, Span):
        raise FormatError("a text is needed where a number stands")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise FormatError("a number is needed where something else stands")
    return value


def _cursor(value: Any) -> Cursor:
    if not isinstance(value, Cursor):
        raise FormatError("a message is needed where a number stands")
    return value


def _graph_def(cursor: Cursor, program: Program) -> None:
    fields(_cursor(cursor), {
        1: lambda inner: _add_node(program.graph, _node(_cursor(inner))),
        2: lambda inner: fields(_cursor(inner), {1: lambda each: _add_function(_cursor(each), program)}),
    })  # fmt: skip


def _add_node(graph: Graph, node: Node) -> None:
    if len(graph.nodes) >= MAX_NODES:
        raise FormatError(f"more than {MAX_NODES:,} operations")
    graph.nodes[node.name] = node


def _node(cursor: Cursor) -> Node:
    data = cursor.data
    found: dict[str, Any] = {"name": "", "op": "", "inputs": [], "attributes": {}}

    def attribute(inner: Any) -> None:
        key, value = _entry(_cursor(inner))
        if key:
            found["attributes"][key] = _attribute(value) if value is not None else None

    fields(cursor, {
        1: lambda span: found.update(name=text_at(data, _span(span))),
        2: lambda span: found.update(op=text_at(data, _span(span))),
        3: lambda span: found["inputs"].append(text_at(data, _span(span))),
        5: attribute,
    }, raw=(1, 2, 3))  # fmt: skip
    return Node(found["name"], found["op"], tuple(found["inputs"]), found["attributes"])


def _entry(cursor: Cursor) -> tuple[str, Cursor | None]:
    """Key and value of one entry of a map."""
    key, value = [""], [None]
    data = cursor.data

    def keep(inner: Any) -> None:
        value[0] = _cursor(inner)  # type: ignore[call-overload]

    fields(cursor, {1: lambda span: key.__setitem__(0, text_at(data, _span(span))), 2: keep}, raw=(1,))
    return key[0], value[0]


def _attribute(cursor: Cursor) -> Any:
    found: list[Any] = [None]
    data = cursor.data

    def put(value: Any) -> None:
        found[0] = value if not isinstance(value, Cursor) else None

    fields(cursor, {
        1: lambda inner: put(_list(_cursor(inner))),
        2: lambda span: put(text_at(data, _span(span), limit=1 << 24)),
        3: put, 4: put, 5: lambda value: put(bool(value)), 6: put,
        7: lambda inner: put(read_shape(_cursor(inner))),
        8: lambda inner: put(_tensor(_cursor(inner))),
        10: lambda inner: put(_function_name(_cursor(inner))),
    }, raw=(2,))  # fmt: skip
    return found[0]


def _function_name(cursor: Cursor) -> str:
    name = [""]
    data = cursor.data
    fields(cursor, {1: lambda span: name.__setitem__(0, text_at(data, _span(span)))}, raw=(1,))
    return name[0]


def _list(cursor: Cursor) -> list[Any]:
    found: list[Any] = []
    data = cursor.data

    def numbers(value: Any) -> None:
        found.extend(packed_integers(cursor, value) if isinstance(value, Span) else [value])

    def floats(value: Any) -> None:
        found.extend(
            np.frombuffer(data, "<f4", value.size // 4, value.start).tolist() if isinstance(value, Span) else [value]
        )

    fields(
        cursor,
        {2: lambda span: found.append(text_at(data, _span(span))), 3: numbers, 4: floats, 5: numbers, 6: numbers},
        raw=(2, 3, 4, 5, 6),
    )
    return found


def read_shape(cursor: Cursor) -> tuple[int | None, ...] | None:
    """Sizes, None for one that is open; None if not even their number is known."""
    sizes: list[int | None] = []
    unknown = [False]

    def dimension(inner: Any) -> None:
        size = [0]
        fields(_cursor(inner), {1: lambda value: size.__setitem__(0, _integer(value))})
        sizes.append(None if size[0] < 0 else size[0])

    fields(cursor, {2: dimension, 3: lambda value: unknown.__setitem__(0, bool(value))})
    if len(sizes) > 32:
        raise FormatError(f"a tensor of {len(sizes)} dimensions")
    return None if unknown[0] else tuple(sizes)


_VALUE_FIELDS = {5: "<f4", 6: "<f8", 7: "<i8", 10: "<i8", 11: "<i8", 13: "<i8"}


def _tensor(cursor: Cursor) -> np.ndarray | list[str] | None:
    """The values of a TensorProto, as a view of the file where they lie there; None for a type that is not read."""
    state: dict[str, Any] = {"dtype": 0, "shape": (), "content": None, "strings": []}
    values: list[np.ndarray] = []
    data = cursor.data

    def add(number: int) -> Handler:
        def handler(value: Any) -> None:
            if not isinstance(value, Span):
                values.append(np.array([value]))
            elif number in (5, 6):
                width = 4 if number == 5 else 8
                values.append(np.frombuffer(data, _VALUE_FIELDS[number], value.size // width, value.start))
            else:
                values.append(np.array(packed_integers(cursor, value), "<i8"))

        return handler

    fields(cursor, {
        1: lambda value: state.update(dtype=_integer(value)),
        2: lambda inner: state.update(shape=read_shape(_cursor(inner))),
        4: lambda span: state.update(content=_span(span)),
        8: lambda span: state["strings"].append(text_at(data, _span(span), limit=1 << 24)),
        **{number: add(number) for number in _VALUE_FIELDS},
    }, raw=(4, 5, 6, 7, 8, 10, 11, 13))  # fmt: skip
    if state["dtype"] == STRING:
        return list(state["strings"])
    return _array(state, values, data)


def _array(state: dict[str, Any], values: list[np.ndarray], data: memoryview) -> np.ndarray | None:
    dtype, shape = DTYPES.get(state["dtype"]), state["shape"]
    if dtype is None or shape is None or None in shape:
        return None
    count = math.prod(shape)
    width = np.dtype(dtype).itemsize
    span: Span | None = state["content"]
    if span is not None:
        if span.size != count * width:
            raise FormatError(f"a tensor of {count:,} values in {span.size:,} bytes")
        return np.ndarray(shape, dtype, data, span.start)
    given = np.concatenate(values) if values else np.zeros(1)
    if dtype == "<f2":
        given = given.astype("<u2").view("<f2")
    if len(given) > max(count, 1):
        raise FormatError(f"a tensor of {count:,} values that has {len(given):,}")
    if count > MAX_REPEATED and len(given) < count:
        raise FormatError(f"a tensor of {count:,} values that has {len(given):,}")
    full = np.concatenate([given, np.repeat(given[-1:], count - len(given))]) if len(given) < count else given[:count]
    with np.errstate(all="ignore"):  # numbers that the type cannot hold become what they become
        return full.astype(dtype).reshape(shape)


def _add_function(cursor: Cursor, program: Program) -> None:
    graph = Graph()
    name = [""]
    arguments: list[str] = []
    outputs: list[str] = []
    returns: dict[str, str] = {}
    data = cursor.data

    def argument(into: list[str]) -> Handler:
        return lambda inner: into.append(_function_name(_cursor(inner)))

    def returned(inner: Any) -> None:
        entry: dict[int, str] = {}
        fields(_cursor(inner), {
            1: lambda span: entry.update({1: text_at(data, _span(span))}),
            2: lambda span: entry.update({2: text_at(data, _span(span))}),
        }, raw=(1, 2))  # fmt: skip
        returns[entry.get(1, "")] = entry.get(2, "")

    fields(cursor, {
        1: lambda inner: fields(_cursor(inner), {
            1: lambda span: name.__setitem__(0, text_at(data, _span(span))), 2: argument(arguments), 3: argument(outputs),
        }, raw=(1,)),
        3: lambda inner: _add_node(graph, _node(_cursor(inner))),
        4: returned,
    })  # fmt: skip
    graph.arguments = tuple(arguments)
    graph.returns = tuple(returns.get(output, "") for output in outputs)
    program.functions[name[0]] = graph


def _add_signature(cursor: Cursor, program: Program) -> None:
    key, value = _entry(_cursor(cursor))
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}

    def info(into: dict[str, str]) -> Handler:
        def handler(inner: Any) -> None:
            name, tensor = _entry(_cursor(inner))
            if tensor is not None:
                into[name] = _function_name(tensor)  # the first field of a TensorInfo is its name

        return handler

    if value is not None:
        fields(value, {1: info(inputs), 2: info(outputs)})
        program.signatures[key] = Signature(inputs, outputs)


__all__ = [
    "DTYPES",
    "Graph",
    "Handler",
    "Node",
    "Program",
    "Signature",
    "fields",
    "read_graph_def",
    "read_saved_model",
    "read_shape",
]
