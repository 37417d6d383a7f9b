"""From a name to a built network."""

from __future__ import annotations

import inspect
import reprlib
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from firesteel.errors import ConfigError, FiresteelError, ModelError
from firesteel.functions import load_function, travels_by_value
from firesteel.models.zoo import ENTRIES
from firesteel.specs import Spec, check_options, did_you_mean, parse_spec

if TYPE_CHECKING:
    from torch import nn

ZOO = {name: entry.factory for name, entry in ENTRIES.items()} | {"graph": "firesteel.models.graph:Graph"}
"""Names of the zoo and where each network lies. ``graph`` is for model folders: any network, as a list of layers."""

Factory = Callable[..., Any]


@dataclass(frozen=True)
class ModelSource:
    """How a model is made: its name, its options and, for a factory that no name leads to, the factory itself.

    Attributes:
        spec: name in the zoo or ``MODULE:FACTORY``, and options.
        factory: set for a callable that the caller passed; the name is then only for people.
    """

    spec: Spec
    factory: Factory | None = field(default=None, compare=False)

    @property
    def has_name(self) -> bool:
        """True if the name alone leads to the factory, where its module can be imported."""
        module, _, attribute = self.spec.name.partition(":")
        return self.factory is None or (module != "__main__" and "<" not in attribute)


def resolve_model(model: str | Spec | Factory) -> ModelSource:
    """Find out how a model is to be made, and that its factory exists; nothing is built, and options are not checked.

    Networks of the zoo are not imported for it: they need torch.

    Args:
        model: a name of the zoo, ``MODULE:FACTORY``, either with options behind, or a callable.

    Raises:
        ModelError: if there is no such model.
    """
    if not isinstance(model, str | Spec):
        return _source_of_callable(model)
    spec = parse_spec(model)
    source = ModelSource(spec)
    if spec.name in ZOO:
        return source
    if ":" not in spec.name:
        raise ModelError(
            f"there is no model {spec.name!r}.{did_you_mean(spec.name, ENTRIES)} The zoo has {', '.join(ENTRIES)}.\n"
            "`firesteel models` says what they are; a model of your own is MODULE:FACTORY."
        )
    load_factory(spec.name)
    return source


def load_factory(name: str) -> Factory:
    """Import the factory that ``name`` leads to; modules of the current folder are found.

    Raises:
        ModelError: if the module cannot be imported or has no such attribute.
    """
    return load_function(ZOO.get(name, name), f"model {name!r}", ModelError)


def build_model(
    source: ModelSource, *, input_shape: tuple[int, ...], num_classes: int, seed: int | None = None
) -> nn.Module:
    """Build the network, with the same weights for the same seed.

    Args:
        source: see :func:`resolve_model`.
        input_shape: of one row.
        num_classes: K.
        seed: of the weights; None leaves torch's generator as it is.

    Raises:
        ModelError: if the factory raises or returns something else than a module.
    """
    import torch
    from torch import nn

    factory = source.factory or load_factory(source.spec.name)
    given = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    accepted = accepted_arguments(factory)
    arguments = {name: value for name, value in given.items() if accepted is None or name in accepted}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in source.spec.options.items()}
    if accepted is not None:
        for name in given.keys() & options.keys():
            raise ConfigError(f"model {source.spec.name}: {name} comes from the dataset; leave it out.")
        check_options(f"model {source.spec.name}", options, set(accepted) - given.keys())
    if seed is not None:
        torch.manual_seed(seed)
    try:
        model = factory(**(arguments | options))
    except FiresteelError:
        raise
    except Exception as error:
        shown = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in (arguments | options).items())
        raise ModelError(f"model {source.spec.name}({shown}) raises {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {source.spec.name} returned a {type(model).__name__}; a torch.nn.Module is needed.")
    return model


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def is_trusted_factory(name: str) -> bool:
    """True if a model description that names this factory may be followed without asking.

    A description can come from anybody; following it calls a function by name. Networks of the zoo, subclasses of
    ``torch.nn.Module`` and functions that declare to return one do what a model factory does, and nothing else is called.
    """
    if name in ZOO:
        return True
    from torch import nn

    factory = load_factory(name)
    if inspect.isclass(factory):
        return issubclass(factory, nn.Module)
    try:
        returned = typing.get_type_hints(factory).get("return")
    except (NameError, TypeError):
        return False
    return inspect.isclass(returned) and issubclass(returned, nn.Module)


def travelling_source(source: ModelSource) -> ModelSource:
    """The source as it can travel: workers elsewhere cannot import the user's own module, so that goes by value."""
    if source.spec.name in ZOO and source.factory is None:
        return source
    factory = source.factory or load_factory(source.spec.name)
    return replace(source, factory=factory) if travels_by_value(factory) else source


def _source_of_callable(factory: Factory) -> ModelSource:
    from torch import nn

    if isinstance(factory, nn.Module):
        raise ModelError(
            "model must be a factory, got a built module: each worker builds its own.\n"
            "Pass a function or class that returns it, for example: model=lambda num_classes: MyNet(num_classes)"
        )
    if not callable(factory):
        raise ConfigError(f"model must be a name or a callable, got {type(factory).__name__}.")
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", type(factory).__qualname__)
    if module and module != "__main__" and "<" not in name:
        try:
            if load_factory(f"{module}:{name}") is factory:
                return ModelSource(Spec(name=f"{module}:{name}"))
        except ModelError:
            pass
    return ModelSource(Spec(name=f"{module or '__main__'}:{name}"), factory)


def accepted_arguments(factory: Factory) -> list[str] | None:
    """Names that a factory accepts by keyword; None if it accepts any, or does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
