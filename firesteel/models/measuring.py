"""Runs a network once, without data where it can, and writes down what each layer does.

torch's own counter knows the multiply-adds of every operation that has some, also of functions and of what a layer is
made of (a step of an LSTM, the products of an attention), so nothing is derived from the kinds of layers. On the meta
device a pass computes shapes alone: ``vgg16`` takes no memory and a twentieth of a second.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils.flop_counter import FlopCounterMode

from firesteel.errors import ModelError
from firesteel.models.summary import LayerSummary, ModelSummary


def measure(network: nn.Module, input_shape: tuple[int, ...], model: str, num_classes: int | None) -> ModelSummary:
    """Run a network on one sample and see what its layers do.

    Args:
        network: is not changed, whatever its device; a copy on the meta device is run where that is possible.
        input_shape: of one sample of float32.
        model: how the network is named.
        num_classes: K, or None.

    Raises:
        ModelError: if it does not take such an input.
    """
    copied = copy_to_meta(network)
    if copied is not None:
        with contextlib.suppress(Exception):  # it reads values, or has tensors of its own that stayed behind
            return _measure(copied, torch.device("meta"), input_shape, model, num_classes)
    device = next((tensor.device for tensor in _tensors_of(network)), torch.device("cpu"))
    with _unchanged(network):
        try:
            return _measure(network, device, input_shape, model, num_classes)
        except Exception as error:
            shape = "x".join(map(str, input_shape))
            first = (str(error).strip().splitlines() or [""])[0]
            raise ModelError(
                f"model {model} does not take an input of shape {shape}: {type(error).__name__}: {first}\n"
                "Say what it takes with --input-shape, as in --input-shape 3x224x224."
            ) from error


def copy_to_meta(network: nn.Module) -> nn.Module | None:
    """The same network on the meta device, without a copy of its values; None if it cannot be copied."""
    memo: dict[int, Any] = {}
    for tensor in _tensors_of(network):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    try:
        return copy.deepcopy(network, memo)
    except Exception:
        return None


def _tensors_of(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


@contextlib.contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Afterwards buffers, modes and torch's random numbers are as before."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    modes = [(module, module.training) for module in network.modules()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            for module, mode in modes:
                module.training = mode


def _measure(
    network: nn.Module, device: torch.device, input_shape: tuple[int, ...], model: str, num_classes: int | None
) -> ModelSummary:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the device; Python 3.10 has no action="ignore"
        with _countable(device):
            return _measure_quietly(network, device, input_shape, model, num_classes)


def _measure_quietly(
    network: nn.Module, device: torch.device, input_shape: tuple[int, ...], model: str, num_classes: int | None
) -> ModelSummary:
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.device(device):
        recorder = _Recorder(network, counter)
        with recorder.watching():
            sample = torch.zeros(1, *input_shape, device=device)
            recorder.know(sample)
            network(sample)
    held = _training_bytes(network, device, input_shape)
    return ModelSummary(model, tuple(input_shape), num_classes, tuple(recorder.layers()), held)


@contextlib.contextmanager
def _countable(device: torch.device) -> Iterator[None]:
    """Without kernels that do several operations at once, which the counter does not know."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            if device.type == "cpu":
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@dataclass
class _Record:
    """What is known of a module so far."""

    name: str
    calls: int = 0
    output_shape: tuple[int, ...] | None = None
    multiply_adds: int = 0
    activation_bytes: int = 0
    has_children: bool = False


class _Recorder:
    """Watches the modules of a network while it is called once."""

    def __init__(self, network: nn.Module, counter: FlopCounterMode):
        self._network = network
        self._counter = counter
        self._records = {module: _Record(name) for name, module in network.named_modules()}
        self._order: list[nn.Module] = []
        self._stack: list[list[int]] = []  # of each module that is running: floating point operations before, inside
        self._running: list[nn.Module] = []
        self._storages: dict[int, Any] = {}  # kept, so that no address is used twice

    def know(self, tensor: Tensor) -> int:
        """Bytes of the tensor's memory that no tensor before had."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._storages:
            return 0
        self._storages[storage._cdata] = storage
        return tensor.numel() * tensor.element_size()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the network is called."""
        for tensor in _tensors_of(self._network):
            self.know(tensor)
        hooks = []
        for module in self._records:
            hooks.append(module.register_forward_pre_hook(self._begin))
            hooks.append(module.register_forward_hook(self._end))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self, module: nn.Module, _: Any) -> None:
        if self._running:
            self._records[self._running[-1]].has_children = True
        self._running.append(module)
        self._stack.append([self._counter.get_total_flops(), 0])

    def _end(self, module: nn.Module, _: Any, output: Any) -> None:
        self._running.pop()
        before, inside = self._stack.pop()
        whole = self._counter.get_total_flops() - before
        if self._stack:
            self._stack[-1][1] += whole
        record = self._records[module]
        record.calls += 1
        record.multiply_adds += (whole - inside) // 2
        tensors = [each for each in _pytree.tree_leaves(output) if isinstance(each, Tensor)]
        record.activation_bytes += sum(self.know(tensor) for tensor in tensors)
        if record.output_shape is None and tensors:
            shape = tuple(tensors[0].shape)
            record.output_shape = shape[1:] if shape[:1] == (1,) else shape
        if record.calls == 1:
            self._order.append(module)

    def layers(self) -> Iterator[LayerSummary]:
        """The modules that did something themselves, have parameters or were called and have no modules in them."""
        counted: set[int] = set()
        owned = {module: _own_parameters(module, counted) for module in self._records}
        for parent in self._order:
            if _is_one_layer(parent):  # it uses the parameters of its parts without calling them
                for part in list(parent.modules())[1:]:
                    if not self._records[part].calls:
                        owned[parent] = [*owned[parent], *owned.pop(part, [])]
        for module in [*self._order, *(each for each in self._records if not self._records[each].calls)]:
            record, own = self._records[module], owned.get(module, [])
            leaf = record.calls and not record.has_children and not isinstance(module, nn.Sequential)
            if leaf or own or record.multiply_adds or record.activation_bytes:
                yield LayerSummary(
                    name=record.name, type=type(module).__name__, output_shape=record.output_shape, calls=record.calls,
                    parameters=sum(each.numel() for each in own),
                    trainable=sum(each.numel() for each in own if each.requires_grad),
                    multiply_adds=record.multiply_adds, activation_bytes=record.activation_bytes,
                )  # fmt: skip


def _own_parameters(module: nn.Module, counted: set[int]) -> list[nn.Parameter]:
    """Parameters of the module itself that were not counted before."""
    own = [each for each in module.parameters(recurse=False) if id(each) not in counted]
    counted.update(map(id, own))
    return own


def _is_one_layer(module: nn.Module) -> bool:
    """Whether a module of torch's holds others as parts, as attention does, not as a list of layers."""
    return type(module).__module__.startswith("torch.nn") and not isinstance(
        module, nn.Sequential | nn.ModuleList | nn.ModuleDict
    )


def _training_bytes(network: nn.Module, device: torch.device, input_shape: tuple[int, ...]) -> int | None:
    """Memory that autograd keeps of one sample for the backward pass; None if the network does not train so."""
    rows = 2  # a batch norm of one pixel does not train on one row
    known = {tensor.untyped_storage()._cdata for tensor in _tensors_of(network)}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    network.train()
    try:
        with (
            torch.enable_grad(),
            torch.device(device),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held),
        ):
            output = network(torch.zeros(rows, *input_shape, device=device))
    except Exception:
        return None
    del output
    return sum(storage.nbytes() for storage in kept.values()) // rows
