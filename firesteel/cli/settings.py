"""``--settings FILE`` for a command: the file holds what the command line may hold, and the command line goes before.

Whatever options and arguments a command declares are those of its settings file: nothing is listed twice.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from firesteel.cli.output import answering
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean

SettingsFile = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="YAML or TOML with any of these options and arguments; what is given here goes before it.",
    ),
]

_NOT_IN_A_FILE = ("settings", "help")


class SettingsCommand(TyperCommand):
    """A command that reads ``--settings``.

    ::

        @app.command(cls=SettingsCommand)
        def train(..., settings: SettingsFile = None):      # read already when the function is called
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        file = given.get("settings")
        if isinstance(file, str) and not given.get("help"):
            with answering("--debug" in args):
                values = self._read(ctx, file)
                args = [*self._leading(ctx, given, values, file), *args]
            ctx.default_map = {**(ctx.default_map or {}), **values}
        return super().parse_args(ctx, args)

    def _read(self, ctx: Any, file: str) -> dict[str, Any]:
        """Parameter name -> value as the command line would have it, which is a text, or for a flag a boolean."""
        from firesteel.training.settings_file import read_settings

        known = {_key(param): param for param in self.get_params(ctx) if param.name not in _NOT_IN_A_FILE}
        hints = typing.get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        values: dict[str, Any] = {}
        for key, value in read_settings(file).items():
            name = key.replace("-", "_")
            if name not in known:
                near = did_you_mean(name, known) or f" There are {', '.join(known)}."
                raise ConfigError(f"{file}: there is no setting {key!r}.{near}")
            param = known[name]
            if param.name in values:
                raise ConfigError(f"{file}: {key} is given twice, with - and with _.")
            try:
                converted = _typed(param, hints.get(param.name, str), value)
            except ConfigError as error:
                raise ConfigError(f"{file}: {key}: {error}") from error
            if converted is not None:
                values[param.name] = converted
        return values

    def _leading(self, ctx: Any, given: Mapping[str, Any], values: Mapping[str, Any], file: str) -> list[str]:
        """Arguments of the file that stand before those of the command line.

        ``train --settings FILE RUN`` is a run if the file names the dataset only: what is given fills what is missing.
        """
        arguments = [str(param.name) for param in self.get_params(ctx) if param.param_type_name == "argument"]
        held = [name for name in arguments if name in values]
        typed = sum(given.get(name) is not None for name in arguments)
        if not held or typed in (0, len(arguments)):
            return []
        if typed != len(arguments) - len(held):
            raise ConfigError(
                f"{file} names {' and '.join(held)} already: it is not clear what {typed} of the"
                f" {len(arguments)} arguments stands for. Give {' and '.join(map(str.upper, arguments))}, or none."
            )
        first_missing = next(number for number, name in enumerate(arguments) if name not in values)
        return [values[name] for name in arguments[:first_missing]]


def _key(param: Any) -> str:
    """The name of a parameter in a file: that of its long option, which need not be that of the Python parameter."""
    if param.param_type_name == "argument":
        return str(param.name)
    return max(param.opts, key=len).lstrip("-").replace("-", "_")


def _typed(param: Any, hint: Any, value: Any) -> Any:
    """A value, or those of an option that may be given several times, checked; None for none."""
    if value is None:
        if param.required or param.default is not None:
            raise ConfigError("expected a value, got nothing. Leave the line out for the default.")
        return None
    kinds = [each for each in (typing.get_args(hint) or (hint,)) if each is not type(None)]
    if typing.get_origin(hint) is list or typing.get_origin(kinds[0]) is list:
        kind = kinds[0] if typing.get_origin(hint) is list else typing.get_args(kinds[0])[0]
        return [_text(kind, each) for each in (value if isinstance(value, list) else [value])]
    return _text(kinds[0], value)


def _text(kind: Any, value: Any) -> str | bool:
    """The text of one value of a kind: bool, int, float, or anything that is a text in a file."""
    from firesteel.training.settings_file import spec_text

    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float):
        if _is_number(kind, value):
            return str(value)
    elif kind is not bool:
        if isinstance(value, dict):
            return spec_text(value)
        # A folder may be called 7; but yes or 1.50 would not come out as they stand there.
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    raise ConfigError(f"expected {_ALLOWED.get(kind, 'a text; quotation marks make it one')}, got {_shown(value)}.")


def _is_number(kind: type, value: Any) -> bool:
    if isinstance(value, str):
        try:
            kind(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)


_ALLOWED = {int: "a whole number", float: "a number", bool: "yes or no"}


def _shown(value: Any) -> str:
    """As one writes it in a file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value)


__all__ = ["SettingsCommand", "SettingsFile"]
