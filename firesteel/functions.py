"""Functions of the user's own: ``MODULE:FUNCTION`` or a callable, and how they travel to workers."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from firesteel.errors import ConfigError, FiresteelError
from firesteel.specs import did_you_mean


@dataclass(frozen=True)
class UserFunction:
    """A function and how it is named.

    Attributes:
        name: ``MODULE:FUNCTION``.
        function: set for a callable that no name leads to, or that travels by value.
    """

    name: str
    function: Callable[..., Any] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, function: Callable[..., Any], owner: str) -> UserFunction:
        """A callable: by its name where that leads to it, else by itself.

        Raises:
            ConfigError: if it is not callable.
        """
        if not callable(function):
            raise ConfigError(f"{owner} must be a name or a callable, got {type(function).__name__}.")
        module = getattr(function, "__module__", None) or "__main__"
        name = f"{module}:{getattr(function, '__qualname__', type(function).__qualname__)}"
        if module != "__main__" and "<" not in name:
            try:
                if load_function(name, owner) is function:
                    return cls(name)
            except ConfigError:
                pass
        return cls(name, function)

    def load(self, owner: str) -> Callable[..., Any]:
        """The function itself.

        Raises:
            ConfigError: if its name leads to none.
        """
        return self.function or load_function(self.name, owner)

    def travelling(self, owner: str) -> UserFunction:
        """The function as it can travel to workers elsewhere, which cannot import the user's own module."""
        function = self.load(owner)
        return replace(self, function=function) if travels_by_value(function) else self


def load_function(name: str, owner: str, error_type: type[FiresteelError] = ConfigError) -> Callable[..., Any]:
    """Import what ``MODULE:FUNCTION`` names; modules of the current folder are found.

    Args:
        name: of the function, or a class.
        owner: who wants it, for messages: ``model 'my_models:small'``.
        error_type: what is raised.

    Raises:
        FiresteelError: of ``error_type``, if the module cannot be imported, lacks it, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the console script's path begins with its own folder, not the user's
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise error_type(
            f"cannot import module {module_name!r} of {owner}: {error}.\n"
            f"It is looked for in the current folder ({os.getcwd()}) and on Python's path."
        ) from error
    except Exception as error:
        raise error_type(f"module {module_name!r} of {owner} raises {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = did_you_mean(part, [other for other in vars(value) if not other.startswith("_")])
            raise error_type(f"module {module_name!r} has no {attribute!r} (wanted by {owner}).{near}")
        value = getattr(value, part)
    if not callable(value):
        raise error_type(f"{owner} is a {type(value).__name__}; a function or a class is needed.")
    return value


def travels_by_value(function: Callable[..., Any]) -> bool:
    """Whether a function comes from the user's own module, which workers elsewhere cannot import.

    From then on cloudpickle sends whatever comes from that module by value.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or not _is_users_own(module):
        return False
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return True


def _is_users_own(module: ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    if path is None or module.__name__ == "__main__":  # cloudpickle sends that by value anyway
        return False
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ours = module.__name__.split(".")[0] == "firesteel" and os.path.abspath(path).startswith(here + os.sep)
    return not ours and not any(os.path.abspath(path).startswith(folder + os.sep) for folder in installed)
