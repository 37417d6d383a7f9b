"""What the options of the strategies may be, as a table that is checked without importing torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from firesteel.errors import ConfigError
from firesteel.specs import check_options, did_you_mean

GIVEN = object()
"""Stands for any value that is given, see :meth:`Option.only`."""


@dataclass(frozen=True)
class Option:
    """What one option may be.

    Attributes:
        allowed: in words, behind "must be".
        fits: whether a value is allowed.
        choices: the words to choose from, if it is a choice.
        beside: other options, with the values beside which this one has an effect.
    """

    allowed: str
    fits: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    beside: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def only(self, key: str, *values: Any) -> Option:
        """The same, of use only where option ``key`` is one of ``values``: None is "not given", GIVEN any value."""
        return replace(self, beside={**self.beside, key: values})


def whole(what: str, *, at_least: int = 1) -> Option:
    """A whole number of something."""
    return Option(f"a whole number of {what}, {at_least} or more", lambda value: _is_whole(value) and value >= at_least)


def number(
    what: str = "a number", *, above: float | None = None, at_least: float | None = None, below: float | None = None,
    at_most: float | None = None,
) -> Option:  # fmt: skip
    """A finite number in a range."""
    bounds = [
        (above, "above", lambda value: value > above),
        (at_least, "at least", lambda value: value >= at_least),
        (below, "below", lambda value: value < below),
        (at_most, "at most", lambda value: value <= at_most),
    ]
    given = [(f"{word} {bound:g}", fits) for bound, word, fits in bounds if bound is not None]
    words = " and ".join(text for text, _ in given)
    return Option(f"{what} {words}".rstrip(), lambda value: _is_number(value) and all(fits(value) for _, fits in given))


def choice(*words: str) -> Option:
    """One of some words."""
    listed = f"{', '.join(words[:-1])} or {words[-1]}"
    return Option(listed, lambda value: isinstance(value, str) and value in words, words)


def flag() -> Option:
    """Yes or no."""
    return Option("yes or no", lambda value: isinstance(value, bool))


def check_values(owner: str, given: Mapping[str, Any], options: Mapping[str, Option]) -> None:
    """Check every option that is given.

    Raises:
        ConfigError: naming the first that is not known, not allowed or without effect beside the others.
    """
    check_options(f"sync {owner}", given, options)
    for key, value in given.items():
        option = options[key]
        if not option.fits(value):
            hint = did_you_mean(str(value), option.choices)
            raise ConfigError(f"{owner}:{key} must be {option.allowed}, got {value!r}.{hint}")
    for key in given:
        for other, values in options[key].beside.items():
            if given.get(other) in values or (GIVEN in values and other in given):
                continue
            have = f"{other}={given[other]}" if other in given else f"no {other}"
            wanted = " or ".join(_in_words(other, value) for value in values)
            raise ConfigError(f"{owner}:{key} has an effect with {wanted} only, and there is {have}. Leave {key} out.")


def _in_words(key: str, value: Any) -> str:
    return f"no {key}" if value is None else f"{key}=..." if value is GIVEN else f"{key}={value}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
