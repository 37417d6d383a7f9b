"""Everything that one worker needs to go on with the same bits, as tensors and JSON values by name.

=====================  ============================================================================================
``model/NAME``         parameters and buffers, as in the state dict
``optimizer/NAME/KEY`` what the optimizer keeps of parameter NAME (moments, steps)
``sync/NAME``          of the strategy: residuals, outer momentum, ...
``random/DEVICE``      state of torch's generators
values                 progress, sums of the event log, update (schedule, loss scaler), control (clocks, evaluations, best
                       score), Python's and NumPy's random state
=====================  ============================================================================================

A worker whose parameters and optimizer state are those of rank 0 leaves them out.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from firesteel.errors import CheckpointError
from firesteel.models.description import shared_names
from firesteel.sync.base import SyncStrategy


class Stateful(Protocol):
    """Something with a state of JSON values."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


@dataclass
class WorkerState:
    """The state of one worker.

    Attributes:
        tensors: by name; those of a living worker are its own, not copies.
        values: JSON values.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """What the state of a worker is made of.

    Attributes:
        model: the network itself, not what a strategy wraps around it.
        optimizer: of its parameters.
        sync: the strategy.
        others: by name: progress, log, update, control.
        rank: of this worker.
        device: of the model.
    """

    model: nn.Module
    optimizer: Optimizer
    sync: SyncStrategy
    others: Mapping[str, Stateful]
    rank: int
    device: torch.device


def capture(parts: Parts) -> WorkerState:
    """The state of this worker as it is now; its tensors change with the next step."""
    sync_state = parts.sync.state()
    whole = parts.rank == 0 or not parts.sync.ranks_agree
    state = WorkerState()
    state.tensors = {f"model/{name}": tensor for name, tensor in _model_tensors(parts.model, whole=whole)}
    if whole:
        state.tensors |= _optimizer_tensors(parts.model, parts.optimizer)
    state.tensors |= {f"sync/{name}": value for name, value in sync_state.items() if isinstance(value, Tensor)}
    state.tensors |= _generators(parts.device)
    state.values = {
        "whole": whole,
        "weight": parts.sync.weight,
        "sync": {name: value for name, value in sync_state.items() if not isinstance(value, Tensor)},
        "random": _python_generators(),
        **{name: part.state() for name, part in parts.others.items()},
    }
    return state


def restore(parts: Parts, state: WorkerState) -> None:
    """Put a worker into a state, after the strategy's ``on_start``.

    Raises:
        CheckpointError: if the state is of another network or another kind of optimizer.
    """
    load_model_tensors(parts.model, _under(state.tensors, "model/"))
    _load_optimizer(parts.model, parts.optimizer, _under(state.tensors, "optimizer/"))
    if "sync" in state.values:
        parts.sync.load_state(state.values["sync"] | _under(state.tensors, "sync/"))
    for name, part in parts.others.items():
        if name in state.values:
            part.load_state(state.values[name])
    _load_generators(state, parts.device)


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load parameters and buffers by name.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape.
    """
    try:
        missing, unknown = model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:  # shapes
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise CheckpointError(f"the saved weights do not fit this network: {' '.join(lines)}") from error
    missing = sorted(set(missing) - shared_names(model))
    if missing or unknown:
        raise CheckpointError(
            f"the saved weights are of another network: {len(missing)} tensors missing {missing[:3]}, {len(unknown)} not"
            f" known {unknown[:3]}."
        )


def _model_tensors(model: nn.Module, *, whole: bool) -> list[tuple[str, Tensor]]:
    left_out = shared_names(model)
    if not whole:  # floating buffers differ between ranks also where parameters do not
        left_out = left_out | {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return [(name, tensor.detach()) for name, tensor in model.state_dict().items() if name not in left_out]


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"optimizer/{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, kept in optimizer.state.items()
        for key, value in kept.items()
        if value is not None
    }


def _load_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = dict(model.named_parameters())
    kept: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        if name in parameters and parameters[name].shape == tensor.shape:
            # In the memory layout of its parameter: a fused step goes through both as they lie in memory.
            tensor = torch.empty_like(parameters[name], dtype=tensor.dtype, requires_grad=False).copy_(tensor)
        kept.setdefault(name, {})[key] = tensor
    described = optimizer.state_dict()
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    if unknown := sorted(kept.keys() - set(order)):
        raise CheckpointError(
            f"the saved optimizer state is of parameters that are not trained here: {', '.join(unknown[:3])}."
        )
    described["state"] = {number: kept[name] for number, name in enumerate(order) if name in kept}
    optimizer.load_state_dict(described)


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"random/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random/cuda"] = torch.cuda.get_rng_state(device)
    return states


def _python_generators() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert kind == "MT19937"
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }


@contextlib.contextmanager
def generators_restored(device: torch.device) -> Iterator[None]:
    """Let random numbers that are drawn inside the block be as if they had not been drawn."""
    before = WorkerState(_generators(device), {"random": _python_generators()})
    try:
        yield
    finally:
        _load_generators(before, device)


def _load_generators(state: WorkerState, device: torch.device) -> None:
    if (cpu := state.tensors.get("random/cpu")) is not None:
        torch.set_rng_state(cpu)
    if device.type == "cuda" and (cuda := state.tensors.get("random/cuda")) is not None:
        torch.cuda.set_rng_state(cuda, device)
    if saved := state.values.get("random"):
        version, numbers, gauss = saved["python"]
        random.setstate((version, tuple(numbers), gauss))
        keys, position, has_gauss, cached = saved["numpy"]
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
