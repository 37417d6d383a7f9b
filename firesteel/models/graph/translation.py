"""From an exported program to layers and steps."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from firesteel.errors import ModelError
from firesteel.models.graph.ending import end_in_logits
from firesteel.models.graph.network import INPUT, Graph, LayerSpec, StepSpec, TensorSpec
from firesteel.models.graph.nodes import are_zeros, bound_arguments, needed_steps, node_of, single_output, tensor_names
from firesteel.models.graph.operators import ATEN, PLACED, PYTHON
from firesteel.models.graph.recognition import NEEDS_TRAINING_MODE, Recognized, recognize
from firesteel.models.graph.values import stored

_PYTHON_NAMES = {getattr(operator, name): name for name in PYTHON if name != "getitem"} | {operator.getitem: "getitem"}
_SAME = ("lift_fresh_copy", "lift_fresh", "lift", "alias", "detach_")
"""Operators that give their first input."""
_RENAMED = {"unsafe_chunk": "chunk", "_unsafe_view": "view", "_reshape_alias": "reshape"}
_SIZED = ("view", "reshape", "expand", "_unsafe_view", "zeros", "full", "ones", "new_zeros", "new_full", "new_ones", "repeat",
          "broadcast_to")  # fmt: skip
"""Operators into whose list of sizes that of the batch may be built."""
_LARGE = 64
"""Rows from which on multiples of them are no accident."""


class Translation:
    """An exported program, translated.

    Args:
        network: that was exported; its tensors get into the graph.
        program: the export, before any decomposition, so that its operators are still layers.
        generalize: a number of rows that stands for any number: where it is the first of a list of sizes; if it is large, so
            that it cannot be something else by chance, also its multiples anywhere in a list of sizes.

    Attributes:
        notes: what a person should know.
        restore: of the graph's logits, what the network gives; see :class:`firesteel.models.graph.ending.Ending`.
    """

    def __init__(self, network: nn.Module, program: torch.export.ExportedProgram, generalize: int | None = None):
        self._network, self._program, self._generalize = network, program, generalize
        self._modules = dict(network.named_modules(remove_duplicate=False))
        self._parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
        self._placeholders: dict[Node, str | None] = {}
        self._values: dict[Node, Any] = {}  # node -> what stands for it in the steps
        self._constants: dict[str, Tensor] = {}
        self._layers: dict[str, LayerSpec] = {}
        self._tensors: dict[str, TensorSpec] = {}
        self._steps: list[StepSpec] = []
        self._nodes: dict[str, Node] = {}  # step -> node
        self.notes: tuple[str, ...] = ()
        self.restore: Callable[[Tensor], Tensor] = lambda logits: logits
        self._read_placeholders()
        self._translate()

    def graph(self, example: Tensor, rows: int | None = None) -> Graph:
        """The graph, in evaluation mode. It shares the network's weights, except those of four dimensions, which it keeps
        with channels last: large networks would not fit twice.

        Raises:
            ModelError: if it gives no (B, K).
        """
        shapes = {name: tuple(self._example(node).shape) for name, node in self._nodes.items() if self._is_tensor(node)}
        ending = end_in_logits(self._steps, self._output, shapes, self._layers)
        self.notes, self.restore = ending.notes, ending.restore
        steps = needed_steps(ending.steps, ending.output)
        used = {step.layer for step in steps}
        named = {name for step in steps for name in tensor_names(step)}
        tensors = [spec for name, spec in self._tensors.items() if name in named]
        layers = [layer for name, layer in self._layers.items() if name in used]
        with torch.device("meta"):
            graph = Graph(tuple(example.shape[1:]), ending.num_classes, layers, tensors, steps, ending.output, rows)
        own = self._network.state_dict() | dict(self._network.named_buffers())  # also those that no state dict has
        state = {}
        for name, value in graph.state_dict().items():
            given = self._constants.get(name, own.get(name))
            if given is None:  # counters of batch norm that the network did not have
                given = torch.zeros(value.shape, dtype=value.dtype)
            state[name] = given.detach()
        graph.load_state_dict(state, assign=True)
        left = [name for name, _ in self._network.named_parameters() if name not in state]  # shared ones come once
        if left:
            self.notes += (f"{len(left)} parameters that no output needs are left out: {', '.join(left[:3])}",)
        return graph.eval()

    # -- reading the program -------------------------------------------------------------------------------------------

    def _read_placeholders(self) -> None:
        signature = self._program.graph_signature
        named = self._first_names(signature.inputs_to_parameters | signature.inputs_to_buffers)
        lifted = getattr(signature, "inputs_to_lifted_tensor_constants", {})
        inputs = []
        for node in self._program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in named:
                self._placeholders[node] = named[node.name]
            elif node.name in lifted:
                name = self._free_name(f"constant_{len(self._constants)}")
                constant = self._program.constants[lifted[node.name]]
                assert isinstance(constant, Tensor)
                self._constants[name] = constant
                self._placeholders[node] = name
            else:
                inputs.append(node)
        if len(inputs) != 1:
            raise ModelError(f"the network has {len(inputs)} inputs; one tensor is needed.")
        self._values[inputs[0]] = {"value": INPUT}
        self._input = inputs[0]

    def _first_names(self, named: dict[str, str]) -> dict[str, str]:
        """The names of tensors, of one with several names the first."""
        own = self._network.state_dict(keep_vars=True)
        firsts: dict[int, str] = {}
        for name, tensor in own.items():
            firsts.setdefault(id(tensor), name)
        return {key: firsts[id(own[name])] if name in own else name for key, name in named.items()}

    def _translate(self) -> None:
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._translate_node(node)
            elif node.op == "output":
                given = single_output(node.args[0])
                if not isinstance(given, Node):
                    raise ModelError("the network gives a constant.")
                self._output = self._reference(given)["value"]
            elif node.op != "placeholder":
                raise ModelError(f"the network holds {node.op} {str(node.target)[:60]}, which a graph cannot.")

    def _translate_node(self, node: Node) -> None:
        if node.target in _PYTHON_NAMES:
            inputs = [self._stored(each) for each in node.args]
            self._add(node, StepSpec(name=node.name, op=f"python.{_PYTHON_NAMES[node.target]}", inputs=inputs))
            return
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
            if not node.users:
                return
            raise ModelError(f"the network uses {str(node.target)[:80]}, which a graph cannot.")
        packet, overload = node.target._schema.name.removeprefix("aten::"), node.target._overloadname
        writes = node.target._schema.is_mutable
        if not node.users and not writes:  # assertions of the trace, and results that nobody takes
            return
        if packet in _SAME:
            self._values[node] = self._reference(node_of(node.args[0]))
            return
        if writes:
            packet = packet.removesuffix("_")
        packet = _RENAMED.get(packet, packet)
        if packet == "to":
            self._convert(node)
        elif packet not in ATEN:
            raise ModelError(f"the network uses the operator {packet}.{overload}, which a graph cannot.")
        elif not self._as_layer(node, packet, overload):
            self._as_operator(node, packet, overload)
        if writes:
            self._values[node_of(node.args[0])] = self._values[node]

    def _convert(self, node: Node) -> None:
        """Another dtype; where a tensor lies is not the network's to say."""
        of, to = self._example(node_of(node.args[0])).dtype, self._example(node).dtype
        if of == to:
            self._values[node] = self._reference(node_of(node.args[0]))
            return
        inputs = [self._reference(node_of(node.args[0])), stored(to)]
        self._add(node, StepSpec(name=node.name, op="aten.to.dtype", inputs=inputs))

    def _as_operator(self, node: Node, packet: str, overload: str) -> None:
        if packet in NEEDS_TRAINING_MODE:
            raise ModelError(f"{packet} in the network is on in evaluation mode, which a graph cannot.")
        function = getattr(getattr(torch.ops.aten, packet), overload, None)
        if function is None or function._schema.is_mutable:
            raise ModelError(f"the network changes a tensor in place by {packet}_, which a graph cannot.")
        inputs = [self._stored(each) for each in self._with_any_rows(node, packet)]
        options = {name: self._stored(each) for name, each in node.kwargs.items() if name not in PLACED}
        self._add(node, StepSpec(name=node.name, op=f"aten.{packet}.{overload}", inputs=inputs, options=options))

    def _with_any_rows(self, node: Node, packet: str) -> list[Any]:
        """The arguments, with the number of rows of the batch in place of a size that is built in."""
        given = list(node.args)
        position = 0 if packet in ("zeros", "ones", "full") else 1
        if self._generalize is None or packet not in _SIZED or len(given) <= position:
            return given
        sizes = given[position]
        if isinstance(sizes, list | tuple):
            given[position] = [self._any_rows(size, place) for place, size in enumerate(sizes)]
        return given

    def _any_rows(self, size: Any, place: int) -> Any:
        rows = self._generalize
        assert rows is not None
        if isinstance(size, int) and size > 0 and (size == rows if rows < _LARGE else size % rows == 0):
            return _Rows(size // rows) if place == 0 or rows >= _LARGE else size
        return size

    # -- layers --------------------------------------------------------------------------------------------------------

    def _as_layer(self, node: Node, packet: str, overload: str) -> bool:
        """Whether a node is a layer; if so it is one now."""
        bound = bound_arguments(node)
        examples = {name: self._examples(value) for name, value in bound.items()}
        found = recognize(f"{packet}.{overload}", examples)
        if found is None:
            return False
        name = self._layer_name(node, packet, found, bound)
        if name is None:
            return False
        spec = LayerSpec(name=name, type=found.type, options={k: stored(v) for k, v in found.options.items()})
        if self._layers.setdefault(name, spec) != spec:
            return False
        inputs = [self._stored(bound[each]) for each in found.inputs if each != "hx"]
        if "hx" in found.inputs and not are_zeros(bound["hx"]):
            states = bound["hx"] if isinstance(bound["hx"], list | tuple) else [bound["hx"]]
            inputs += [self._stored(each) for each in states]
        self._add(node, StepSpec(name=node.name, layer=name, inputs=inputs))
        return True

    def _layer_name(self, node: Node, packet: str, found: Recognized, bound: dict[str, Any]) -> str | None:
        """The name under which a layer's tensors stand; for a layer without tensors that of its module."""
        if found.tensors:
            return self._name_by_tensors(found, bound)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        if path not in self._modules:
            path = path.rpartition("@")[0]
        module = self._modules.get(path)
        if path and type(module).__name__ == found.type:
            return path
        return self._free_name(node.name) if packet in NEEDS_TRAINING_MODE else None

    def _name_by_tensors(self, found: Recognized, bound: dict[str, Any]) -> str | None:
        names = set()
        for ours, theirs in found.tensors.items():
            argument, _, number = theirs.partition(".")
            given = bound[argument][int(number)] if number else bound[argument]
            whole = self._placeholders.get(given)
            if whole is None or not whole.endswith(f".{ours}"):
                return None
            names.add(whole.removesuffix(f".{ours}"))
        return names.pop() if len(names) == 1 else None

    # -- values --------------------------------------------------------------------------------------------------------

    def _stored(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._reference(value)
        if isinstance(value, _Rows):
            return self._rows_of_batch(value.times)
        if isinstance(value, list | tuple):
            return [self._stored(each) for each in value]
        return stored(value)

    def _reference(self, node: Node) -> Any:
        if node in self._values:
            return self._values[node]
        name = self._placeholders.get(node)
        if name is None:
            raise ModelError(f"the network uses the result of {node.name} in a way that a graph cannot.")
        if name not in self._tensors:
            example = self._constants.get(name)
            example = self._example(node) if example is None else example
            trainable = name in self._parameters
            dtype = str(example.dtype).removeprefix("torch.")
            self._tensors[name] = TensorSpec(name=name, shape=list(example.shape), dtype=dtype, trainable=trainable)
        return {"tensor": name}

    def _rows_of_batch(self, times: int) -> dict[str, str]:
        known = {step.name for step in self._steps}
        if "rows" not in known:
            self._steps.append(StepSpec(name="rows", op="aten.sym_size.int", inputs=[{"value": INPUT}, 0]))
        if times == 1:
            return {"value": "rows"}
        name = f"rows_times_{times}"
        if name not in known:
            self._steps.append(StepSpec(name=name, op="python.mul", inputs=[{"value": "rows"}, times]))
        return {"value": name}

    def _add(self, node: Node, step: StepSpec) -> None:
        self._steps.append(step)
        self._nodes[step.name] = node
        self._values[node] = {"value": step.name}

    def _free_name(self, name: str) -> str:
        taken = self._modules.keys() | self._network.state_dict().keys() | self._constants.keys() | self._layers.keys()
        while name in taken or hasattr(nn.Module, name):
            name += "_"
        return name

    def _examples(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._example(value)
        if isinstance(value, list | tuple):
            return [self._examples(each) for each in value]
        return value

    @staticmethod
    def _example(node: Node) -> Any:
        return node.meta["val"]

    @staticmethod
    def _is_tensor(node: Node) -> bool:
        return isinstance(node.meta.get("val"), Tensor)


@dataclass(frozen=True)
class _Rows:
    """A size that is so many times the number of rows."""

    times: int


__all__ = ["Translation"]
