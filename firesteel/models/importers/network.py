"""A network made of named layers and the order in which they run: what the importers build."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from firesteel.errors import ModelError


@dataclass(frozen=True)
class Step:
    """One call of a layer.

    Attributes:
        layer: its qualified name in the network.
        inputs: values that it takes, in order.
        outputs: values that it gives; a layer of several outputs returns a tuple.
    """

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class LayerNetwork(nn.Module):
    """Runs layers in the order of a file, (B, *input_shape) -> what the last one gives.

    Layers are plain modules under the names of the file, so that weights have names to freeze, share and replace by.

    Args:
        layers: qualified name -> module; parents are made.
        steps: in the order in which they run.
        input: name of the value that the network is given.
        output: name of the value that it gives.
    """

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], steps: Sequence[Step], input: str, output: str):
        super().__init__()
        for name, module in layers:
            put_module(self, name, module)
        self.input, self.output = input, output
        self.steps = tuple(steps)
        self._last = _last_uses(self.steps, output)

    def forward(self, x: Tensor) -> Tensor:
        values = {self.input: x}
        for number, step in enumerate(self.steps):
            found = self.get_submodule(step.layer)(*[values[name] for name in step.inputs])
            values.update(zip(step.outputs, found if isinstance(found, tuple) else (found,)))
            for name in self._last[number]:
                values.pop(name, None)
        return values[self.output]


def layer_names(names: Iterable[str]) -> dict[str, str]:
    """Names of layers in a file -> qualified names in a network.

    A slash becomes a dot, so that ``fire2/squeeze1x1`` is the layer ``squeeze1x1`` of ``fire2``; where a layer has the name
    of such a group, an underscore. What a module cannot be called gets an underscore behind.
    """
    given = list(dict.fromkeys(names))
    taken: set[str] = set()
    whole = {_clean(name) for name in given}
    found = {}
    for name in given:
        parts = [part for part in _clean(name).split("/") if part] or ["layer"]
        groups = {"/".join(parts[:count]) for count in range(1, len(parts))}
        clash = bool(groups & whole) or any(hasattr(nn.Module, part) for part in parts[1:])
        qualified = "_".join(parts) if clash else ".".join(parts)
        if hasattr(nn.Module(), qualified.partition(".")[0]) or qualified.partition(".")[0] in _RESERVED:
            first, dot, rest = qualified.partition(".")
            qualified = f"{first}_{dot}{rest}"
        while qualified in taken:
            qualified += "_"
        taken.add(qualified)
        found[name] = qualified
    return found


_RESERVED = ("input", "output", "steps")


def _clean(name: str) -> str:
    return name.replace(".", "_").strip("/")


def put_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Give a module its place in the tree by its qualified name; those above it are made.

    Raises:
        ModelError: if the place is taken.
    """
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    if last in root._modules:
        raise ModelError(f"two layers of the file would be called {name!r} in the network.")
    root.add_module(last, module)


def _last_uses(steps: Sequence[Step], output: str) -> list[tuple[str, ...]]:
    """For each step, the values that nothing needs after it."""
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        for name in (*step.inputs, *step.outputs):
            last[name] = number
    last.pop(output, None)
    found: list[list[str]] = [[] for _ in steps]
    for name, number in last.items():
        found[number].append(name)
    return [tuple(names) for names in found]


__all__ = ["LayerNetwork", "Step", "layer_names", "put_module"]
