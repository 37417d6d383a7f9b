"""What a worker takes over from a checkpoint: its own state, its part of a common one, or the weights alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from firesteel.errors import CheckpointError
from firesteel.models.description import load_state
from firesteel.storage import Place
from firesteel.training.checkpoint import Checkpoint, checkpoint_at
from firesteel.training.state import WorkerState, load_model_tensors
from firesteel.world import World


def state_for(checkpoint: Checkpoint, world: World) -> WorkerState:
    """The state that a worker goes on from.

    With as many workers as wrote the checkpoint each takes its own: the run goes on with the same bits. With another
    number each takes the common model; what the strategy kept for each worker (residuals, outer momentum) begins anew.
    """
    if checkpoint.info.workers == world.world_size:
        return checkpoint.state_of(world.rank)
    state = checkpoint.common_state()
    state.values["log"] = _added_up([values["log"] for values in checkpoint.values_of_all()], keep=world.rank == 0)
    if world.rank:
        state.values["control"] = state.values["control"] | {"loss": [0.0, 0]}
    return state


def load_initial(model: nn.Module, place: Place) -> None:
    """Begin with the weights of a checkpoint or of a model folder.

    Raises:
        CheckpointError: if they are of another network.
        ModelError: if they are damaged.
    """
    if (checkpoint := checkpoint_at(place)) is not None:
        tensors = checkpoint.common_state().tensors
        weights = {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    else:
        weights = load_state(place)
    try:
        load_model_tensors(model, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{place}: {error}") from error


def _added_up(logs: list[dict[str, Any]], *, keep: bool) -> dict[str, Any]:
    """The sums of all workers on one of them; zeros on the others."""
    first = logs[0]

    def pair(parts: list[Any]) -> list[Any]:
        return [sum(part[0] for part in parts), sum(part[1] for part in parts)] if keep else [0.0, 0]

    window = pair([log["window"] for log in logs])
    return first | {
        "epoch_sums": [pair(list(parts)) for parts in zip(*(log["epoch_sums"] for log in logs))],
        "epoch": pair([log["epoch"] for log in logs]),
        "window": [*window, first["window"][2]],
        "rows": sum(log["rows"] for log in logs) if keep else 0,
    }
