"""``firesteel.summary``: the layers of a network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError, ModelError, RunError
from firesteel.models.registry import ZOO, accepted_arguments, build_model, load_factory, resolve_model
from firesteel.models.zoo import ENTRIES
from firesteel.specs import Spec, did_you_mean, parse_spec
from firesteel.storage import Place

if TYPE_CHECKING:
    from torch import nn

    from firesteel.models.summary import ModelSummary

_DIMENSIONS = 8


def summary(
    model: str | os.PathLike[str] | Place | Spec | nn.Module | Callable[..., Any],
    *,
    input_shape: str | Sequence[int] | None = None,
    num_classes: int | None = None,
    factory: Any = None,
) -> ModelSummary:
    """The layers of a network with output shapes, parameters, multiply-adds and memory for one sample.

    Nothing is computed and no weights are held where the network can be run on torch's meta device, as those of the zoo
    can.

    Args:
        model: a name of the zoo or ``MODULE:FACTORY``, either with options behind; a callable that returns a module; a
            module, which is not changed; or a run or model folder. A folder with the name of a network is ``./NAME``.
        input_shape: of one sample without the dimension of the batch, (3, 224, 224) or ``3x224x224``. Default: what the
            network was made for; the network of a run has one, and no other can be given.
        num_classes: K, in the same way.
        factory: of a run or model folder whose own description may not be followed: the factory or its name.

    Raises:
        ConfigError: if the shape or the number of classes is missing, wrong, or given by the model itself.
        ModelError: if the network cannot be found or built, or does not take such an input.
        RunError: if there is no such run.
    """
    shape = None if input_shape is None else parse_shape(input_shape)
    if num_classes is not None and (isinstance(num_classes, bool) or num_classes < 1):
        raise ConfigError(f"classes must be 1 or more, got {num_classes!r}.")
    folder = _model_folder(model)
    if folder is not None:
        return _of_folder(folder, shape, num_classes, factory)
    if factory is not None:
        raise ConfigError("factory goes with a run or a model folder; here the model is given by itself.")
    return _of_network(model, shape, num_classes)


def parse_shape(given: str | Sequence[int]) -> tuple[int, ...]:
    """``3x224x224`` as (3, 224, 224).

    Raises:
        ConfigError: if it is something else.
    """
    parts = given.lower().split("x") if isinstance(given, str) else list(given)
    try:
        shape = tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        shape = ()
    if not 1 <= len(shape) <= _DIMENSIONS or min(shape) < 1:
        raise ConfigError(f"an input shape is numbers such as 3x224x224, 28x28 or 4, without the batch; got {given!r}.")
    return shape


def _model_folder(model: Any) -> Place | None:
    """The folder, if the model is the name of one."""
    if isinstance(model, str):
        with contextlib.suppress(ConfigError):
            if parse_spec(model).name in ZOO:
                return None
    elif not isinstance(model, os.PathLike | Place):
        return None
    from firesteel.models.description import find_model_folder

    try:
        return find_model_folder(Place.of(model))
    except RunError:
        if not isinstance(model, str) or "://" in model or os.path.exists(model):
            raise
        if ":" in model:
            return None
        near = did_you_mean(model, ZOO)
        raise ModelError(
            f"there is no network, run or model folder {model!r}.{near}\n"
            "`firesteel models` lists networks; one of your own is MODULE:FACTORY."
        ) from None


def _of_folder(folder: Place, shape: tuple[int, ...] | None, num_classes: int | None, factory: Any) -> ModelSummary:
    from firesteel.models.description import load_model, read_description
    from firesteel.models.measuring import measure

    if shape is not None or num_classes is not None:
        raise ConfigError(
            f"the model in {folder} has an input shape and classes; leave --input-shape and --classes out."
        )
    description = read_description(folder)
    network = load_model(folder, description, factory)
    return measure(network, tuple(description.feature.shape), str(description.model), len(description.labels))


def _of_network(model: Any, shape: tuple[int, ...] | None, num_classes: int | None) -> ModelSummary:
    import torch
    from torch import nn

    from firesteel.models.measuring import measure

    if isinstance(model, nn.Module):
        if num_classes is not None:
            raise ConfigError("a network that is built has its classes; leave num_classes out.")
        return measure(model, _needed(shape), type(model).__name__, None)
    source = resolve_model(model)
    entry = ENTRIES.get(source.spec.name) if source.factory is None else None
    if entry is not None:
        shape, num_classes = shape or entry.input_shape, num_classes or entry.num_classes
    shape = _needed(shape)
    accepted = accepted_arguments(source.factory or load_factory(source.spec.name))
    if num_classes is None and accepted is not None and "num_classes" in accepted:
        raise ConfigError(f"model {source.spec} is built for a number of classes. Say it: --classes 10")
    with torch.device("meta") if entry is not None else contextlib.nullcontext():
        network = build_model(source, input_shape=shape, num_classes=num_classes or 1)
    return measure(network, shape, str(source.spec), num_classes)


def _needed(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise ConfigError("the shape of an input is not known. Say it, without the batch: --input-shape 3x224x224")
    return shape
