"""Graphs of TensorFlow: the messages of a frozen graph and of a SavedModel that a network needs, read in place.

Read without TensorFlow: to it a SavedModel is a program, which may hold any operation; here only what is translated runs.

Source: tensorflow/core/framework/*.proto and tensorflow/core/protobuf/{meta_graph,saved_model}.proto
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firesteel.errors import FormatError
from firesteel.models.importers.tensorflow.tensors import (
    Handler,
    as_cursor,
    as_span,
    fields,
    read_shape,
    read_tensor,
)  # fmt: skip
from firesteel.models.importers.wire_format import Cursor, Span, packed_integers, text_at

MAX_NODES = 200_000


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


def _append_tag(program: Program, data: memoryview, span: Span) -> None:
    program.tags = (*program.tags, text_at(data, as_span(span)))


def _graph_def(cursor: Cursor, program: Program) -> None:
    fields(as_cursor(cursor), {
        1: lambda inner: _add_node(program.graph, _node(as_cursor(inner))),
        2: lambda inner: fields(as_cursor(inner), {1: lambda each: _add_function(as_cursor(each), program)}),
    })  # fmt: skip


def _add_node(graph: Graph, node: Node) -> None:
    if len(graph.nodes) >= MAX_NODES:
        raise FormatError(f"more than {MAX_NODES:,} operations")
    graph.nodes[node.name] = node


def _node(cursor: Cursor) -> Node:
    data = cursor.data
    found: dict[str, Any] = {"name": "", "op": "", "inputs": [], "attributes": {}}

    def attribute(inner: Any) -> None:
        key, value = _entry(as_cursor(inner))
        if key:
            found["attributes"][key] = _attribute(value) if value is not None else None

    fields(cursor, {
        1: lambda span: found.update(name=text_at(data, as_span(span))),
        2: lambda span: found.update(op=text_at(data, as_span(span))),
        3: lambda span: found["inputs"].append(text_at(data, as_span(span))),
        5: attribute,
    }, raw=(1, 2, 3))  # fmt: skip
    return Node(found["name"], found["op"], tuple(found["inputs"]), found["attributes"])


def _entry(cursor: Cursor) -> tuple[str, Cursor | None]:
    """Key and value of one entry of a map."""
    key, value = [""], [None]
    data = cursor.data

    def keep(inner: Any) -> None:
        value[0] = as_cursor(inner)  # type: ignore[call-overload]

    fields(cursor, {1: lambda span: key.__setitem__(0, text_at(data, as_span(span))), 2: keep}, raw=(1,))
    return key[0], value[0]


def _attribute(cursor: Cursor) -> Any:
    found: list[Any] = [None]
    data = cursor.data

    def put(value: Any) -> None:
        found[0] = value if not isinstance(value, Cursor) else None

    fields(cursor, {
        1: lambda inner: put(_list(as_cursor(inner))),
        2: lambda span: put(text_at(data, as_span(span), limit=1 << 24)),
        3: put, 4: put, 5: lambda value: put(bool(value)), 6: put,
        7: lambda inner: put(read_shape(as_cursor(inner))),
        8: lambda inner: put(read_tensor(as_cursor(inner))),
        10: lambda inner: put(_function_name(as_cursor(inner))),
    }, raw=(2,))  # fmt: skip
    return found[0]


def _function_name(cursor: Cursor) -> str:
    name = [""]
    data = cursor.data
    fields(cursor, {1: lambda span: name.__setitem__(0, text_at(data, as_span(span)))}, raw=(1,))
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
        {2: lambda span: found.append(text_at(data, as_span(span))), 3: numbers, 4: floats, 5: numbers, 6: numbers},
        raw=(2, 3, 4, 5, 6),
    )
    return found


def _add_function(cursor: Cursor, program: Program) -> None:
    graph = Graph()
    name = [""]
    arguments: list[str] = []
    outputs: list[str] = []
    returns: dict[str, str] = {}
    data = cursor.data

    def argument(into: list[str]) -> Handler:
        return lambda inner: into.append(_function_name(as_cursor(inner)))

    def returned(inner: Any) -> None:
        entry: dict[int, str] = {}
        fields(as_cursor(inner), {
            1: lambda span: entry.update({1: text_at(data, as_span(span))}),
            2: lambda span: entry.update({2: text_at(data, as_span(span))}),
        }, raw=(1, 2))  # fmt: skip
        returns[entry.get(1, "")] = entry.get(2, "")

    fields(cursor, {
        1: lambda inner: fields(as_cursor(inner), {
            1: lambda span: name.__setitem__(0, text_at(data, as_span(span))), 2: argument(arguments), 3: argument(outputs),
        }, raw=(1,)),
        3: lambda inner: _add_node(graph, _node(as_cursor(inner))),
        4: returned,
    })  # fmt: skip
    graph.arguments = tuple(arguments)
    graph.returns = tuple(returns.get(output, "") for output in outputs)
    program.functions[name[0]] = graph


def _add_signature(cursor: Cursor, program: Program) -> None:
    key, value = _entry(as_cursor(cursor))
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}

    def info(into: dict[str, str]) -> Handler:
        def handler(inner: Any) -> None:
            name, tensor = _entry(as_cursor(inner))
            if tensor is not None:
                into[name] = _function_name(tensor)  # the first field of a TensorInfo is its name

        return handler

    if value is not None:
        fields(value, {1: info(inputs), 2: info(outputs)})
        program.signatures[key] = Signature(inputs, outputs)


__all__ = ["Graph", "Node", "Program", "Signature", "read_graph_def", "read_saved_model"]
