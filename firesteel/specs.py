"""The small language of options that name a thing and set it up: ``NAME:key=value,key=value``.

``average:every=5,optimizer_state=yes``, ``sgd:momentum=0.9``, ``mlp:hidden=[64,32]`` and ``my_models:resnet:depth=18``
are all read by :func:`parse_spec`. A ``MODULE:FACTORY`` name may hold a colon; the options begin after the last colon
before the first ``=``. What ``str(spec)`` gives is read as the same spec.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from firesteel.errors import ConfigError


class Spec(BaseModel):
    """A name and its options, as the caller wrote them.

    Attributes:
        name: what is chosen, for example ``average`` or ``my_models:resnet``.
        options: its options; values are JSON values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}:" + ",".join(f"{key}={_format_value(value)}" for key, value in self.options.items())

    @property
    def shown(self) -> str:
        """For people: the same, or the name alone where the options fill more than a line."""
        text = str(self)
        return text if len(text) <= 120 else self.name


def parse_spec(text: str | Spec) -> Spec:
    """Read ``NAME`` or ``NAME:key=value,...``.

    Values are JSON where they can be (numbers, lists, quoted strings), ``yes``/``no``/``true``/``false`` are booleans,
    everything else is a string.

    Raises:
        ConfigError: if the text is empty or an option has no ``=``.
    """
    if isinstance(text, Spec):
        return text
    name, options_text = text.strip(), ""
    before, equals, _ = name.partition(
        "="
    )  # a value may hold colons and equals signs, what stands before may hold colons only
    head, colon, _ = before.rpartition(":")
    if equals and colon:
        name, options_text = head.strip(), name[len(head) + 1 :]
    if not name or name.endswith(":"):
        raise ConfigError(f"expected NAME or NAME:key=value,key=value, got {text!r}.")
    options: dict[str, Any] = {}
    while options_text.strip():
        key, equals, rest = options_text.partition("=")
        if not equals or not key.strip() or "," in key:
            part = options_text.partition(",")[0]
            last = next(reversed(options), None)
            hint = f"A list stands in brackets: {last}=[{options[last]},{part}]" if last else "Example: average:every=5"
            raise ConfigError(f"expected key=value in {text!r}, got {part!r}. {hint}")
        options[key.strip()], options_text = _take_value(rest)
    return Spec(name=name, options=options)


def check_options(owner: str, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Raise ConfigError, with a suggestion, if an option is given that ``owner`` does not have."""
    allowed = sorted(allowed)
    for key in given:
        if key not in allowed:
            have = ", ".join(allowed) if allowed else "none"
            raise ConfigError(f"{owner} has no option {key!r}. It has: {have}.{did_you_mean(key, allowed)}")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for a near miss, else an empty string."""
    near = difflib.get_close_matches(given, list(allowed), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _take_value(text: str) -> tuple[Any, str]:
    """The value at the beginning of the text, and what follows behind the comma."""
    text = text.lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        rest = text[end:].lstrip()
        if not rest or rest[0] == ",":
            return value, rest[1:]
    end = _end_of_word(text)
    word = text[:end].strip()
    lowered = word.lower()
    return (lowered in ("yes", "true") if lowered in ("yes", "true", "no", "false") else word), text[end + 1 :]


def _end_of_word(text: str) -> int:
    """Where the first comma outside of brackets is, or the end."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "[{(") - (character in ")}]")
        if character == "," and depth == 0:
            return position
    return len(text)


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and _take_value(f"{value},next") == (value, "next"):
        return value
    return json.dumps(value, separators=(",", ":"))
