"""Which value of a checkpoint belongs to which variable: read from the operations that would restore them."""

from __future__ import annotations

from firesteel.models.importers.tensorflow.messages import Graph, Node, Program
from firesteel.models.importers.tensorflow.tracing import reference

_ASSIGNS = ("AssignVariableOp", "Assign")


def checkpoint_names(program: Program) -> dict[str, str]:
    """Variable -> its name in the checkpoint. A variable that is not restored is not in it."""
    found = _of_graph(program.graph, {})
    for node in program.graph.nodes.values():
        function = program.functions.get(str(node.attributes.get("f") or node.op))
        if function is not None:
            inputs = [name for name in node.inputs if not name.startswith("^")]
            found |= _of_graph(
                function, dict(zip(function.arguments, (_variable(program.graph, name, {}) for name in inputs)))
            )
    return found


def _of_graph(graph: Graph, arguments: dict[str, str | None]) -> dict[str, str]:
    found = {}
    for node in graph.nodes.values():
        if node.op in _ASSIGNS and len(node.inputs) >= 2:
            variable = _variable(graph, node.inputs[0], arguments)
            key = _restored(graph, node.inputs[1])
            if variable and key:
                found[variable] = key
    return found


def _variable(graph: Graph, name: str, arguments: dict[str, str | None]) -> str | None:
    node = graph.nodes.get(reference(name)[0])
    if node is None:
        return arguments.get(name)
    return str(node.attributes.get("shared_name") or node.name) if node.op in ("VarHandleOp", "VariableV2") else None


def _restored(graph: Graph, name: str) -> str | None:
    """The name in the checkpoint that a value comes from, through operations that leave it as it is."""
    for _ in range(8):
        source, number = reference(name)
        node = graph.nodes.get(source)
        if node is None:
            return None
        if node.op == "RestoreV2":
            return _name_at(graph, node, number)
        if node.op not in ("Identity", "Cast") or not node.inputs:
            return None
        name = node.inputs[0]
    return None


def _name_at(graph: Graph, node: Node, number: int) -> str | None:
    names = graph.nodes.get(reference(node.inputs[1])[0]) if len(node.inputs) > 1 else None
    value = None if names is None else names.attributes.get("value")
    return str(value[number]) if isinstance(value, list) and number < len(value) else None


__all__ = ["checkpoint_names"]
