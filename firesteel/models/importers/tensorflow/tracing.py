"""Runs a graph from its output back to its input: functions are entered, constants computed, the rest is translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from firesteel.errors import FormatError, ModelError
from firesteel.models.importers.tensorflow.folding import fold
from firesteel.models.importers.tensorflow.messages import Graph, Node, Program
from firesteel.models.importers.tensorflow.values import MAX_FOLDED, Constant, Nothing, Signal, Texts, Value, Variable

MAX_DEPTH = 24
MAX_CALLS = 500_000
_SAME = (
    "Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics", "PlaceholderWithDefault", "EnsureShape", "Enter", "Exit",
)  # fmt: skip
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

Translator = Callable[[Node, list[Value], bool], Value | tuple[Value, ...]]
"""Node, inputs, and whether its value is used once only -> what it gives."""


def reference(name: str) -> tuple[str, int]:
    """``conv:y:0``, ``conv:1``, ``conv`` -> node and number of its output."""
    parts = name.split(":")
    return parts[0], int(parts[-1]) if len(parts) > 1 and parts[-1].isdigit() and len(parts[-1]) < 7 else 0


class Tracer:
    """Values of a program.

    Args:
        program: with its functions.
        translate: makes layers of nodes whose inputs are not all constant.
        read: values of a variable.
        given: values of nodes of the outermost graph: the input.
    """

    def __init__(self, program: Program, translate: Translator, read: Callable[[str], Value], given: dict[str, Value]):
        self._program, self._translate, self._read, self._given = program, translate, read, given
        self._left = MAX_CALLS
        self._held: dict[object, int] = {}  # constants of the file -> how many numbers they are
        self._folded = 0

    def run(self, output: str) -> Value:
        """The value of an output of the outermost graph."""
        return self._run(self._program.graph, [output], dict(self._given), 0)[0]

    def _run(self, graph: Graph, outputs: Sequence[str], known: dict[str, Value], depth: int) -> list[Value]:
        if depth > MAX_DEPTH:
            raise FormatError(f"functions within functions, more than {MAX_DEPTH} deep")
        values: dict[str, tuple[Value, ...]] = {name: (value,) for name, value in known.items()}
        order = needed(graph, outputs, set(known))
        uses = Counter(reference(name)[0] for node in order for name in node.inputs)
        for name in outputs:
            uses[reference(name)[0]] += 1 if depth == 0 else 2  # who takes what a function gives is not seen here
        for node in order:
            self._left -= 1
            if self._left < 0:
                raise FormatError(f"more than {MAX_CALLS:,} operations to run")
            inputs = [_value(values, name) for name in node.inputs if not name.startswith("^")]
            values[node.name] = self._evaluate(node, inputs, depth, used_once=uses[node.name] <= 1)
        return [_value(values, name) for name in outputs]

    def _evaluate(self, node: Node, inputs: list[Value], depth: int, *, used_once: bool) -> tuple[Value, ...]:
        function = node.attributes.get("f") if node.op in _CALLS else node.op
        if function in self._program.functions:
            graph = self._program.functions[str(function)]
            if len(graph.arguments) != len(inputs):
                raise FormatError(f"{node} hands {len(inputs)} values to a function of {len(graph.arguments)}")
            return tuple(self._run(graph, graph.returns, dict(zip(graph.arguments, inputs)), depth + 1))
        if node.op in _SAME and inputs:
            return (inputs[0],)
        if node.op == "IdentityN":
            return tuple(inputs)
        if node.op == "Const":
            return (self._hold(id(node), _constant(node)),)
        if node.op in ("VarHandleOp", "VariableV2", "Variable"):
            name = str(node.attributes.get("shared_name") or node.name)
            return (Variable(name) if node.op == "VarHandleOp" else self._hold(name, self._read(name)),)
        if node.op == "ReadVariableOp" and inputs and isinstance(inputs[0], Variable):
            return (self._hold(inputs[0].name, self._read(inputs[0].name)),)
        bad = next((value for value in inputs if isinstance(value, Nothing)), None)
        if bad is not None:
            return (bad,)
        return self._computed(node, inputs, used_once=used_once)

    def _computed(self, node: Node, inputs: list[Value], *, used_once: bool) -> tuple[Value, ...]:
        arrays = [value.array for value in inputs if isinstance(value, Constant)]
        if len(arrays) == len(inputs) and inputs:
            found = fold(node, arrays, max(MAX_FOLDED, 4 * sum(self._held.values())) - self._folded)
            if found is not None:
                self._folded += found.size
                return (Constant(found),)
        if not any(isinstance(value, Signal) for value in inputs):
            return (Nothing(f"{node} is not computed here"),)
        given = self._translate(node, inputs, used_once)
        return given if isinstance(given, tuple) else (given,)

    def _hold(self, key: object, value: Value) -> Value:
        if isinstance(value, Constant):
            self._held[key] = value.array.size
        return value


def _constant(node: Node) -> Value:
    value = node.attributes.get("value")
    if isinstance(value, list):
        return Texts(tuple(value))
    return Nothing(f"{node} holds values of a type that is not read") if value is None else Constant(value, node.name)


def _value(values: dict[str, tuple[Value, ...]], name: str) -> Value:
    node, number = reference(name)
    found = values.get(node)
    if found is None:
        raise FormatError(f"a value {name!r} is asked for that nothing gives")
    if number >= len(found):
        return Nothing(f"output {number} of {node!r}")
    return found[number]


def needed(graph: Graph, outputs: Sequence[str], known: set[str]) -> list[Node]:
    """The nodes that outputs are computed from, each after those that it takes.

    Raises:
        FormatError: if one is missing, or they take each other's values.
        ModelError: if there is a loop of TensorFlow's.
    """
    order: list[Node] = []
    done, open_ = set(known), set()
    waiting = [(reference(name)[0], False) for name in reversed(outputs)]
    while waiting:
        name, ready = waiting.pop()
        if name in done:
            continue
        node = graph.nodes.get(name)
        if node is None:
            raise FormatError(f"there is no operation {name!r}")
        if ready:
            done.add(name)
            open_.discard(name)
            order.append(node)
            continue
        if node.op in ("While", "StatelessWhile", "NextIteration", "Merge", "Switch"):
            raise ModelError(
                f"{node}: loops and branches are not read. Export the network with its loops unrolled, or as ONNX."
            )
        if name in open_:
            raise FormatError(f"{node} takes its own value")
        open_.add(name)
        waiting.append((name, True))
        for each in node.inputs:
            source = reference(each)[0]
            if not each.startswith("^") and source not in done:
                if source in open_:
                    raise FormatError(f"{node} takes its own value")
                waiting.append((source, False))
    return order


__all__ = ["Tracer", "needed", "reference"]
