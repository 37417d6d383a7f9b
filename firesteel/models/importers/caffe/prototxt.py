"""Protocol Buffers' text format, as ``.prototxt`` files are written.

Google's parser needs compiled descriptors of ``caffe.proto``; this one reads by :mod:`firesteel.models.importers.caffe.schema`.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from firesteel.errors import ModelError
from firesteel.models.importers.caffe.schema import ENUMS, MESSAGES, Message, field_named
from firesteel.models.importers.wire_format import MAX_DEPTH

MAX_BYTES = 32 << 20
"""Of a prototxt; the largest of published networks have less than a megabyte."""

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f\v]+|\#[^\n]*)+)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[fF]?|(?:inf|infinity|nan)\b))
      | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<sign>[{}<>\[\]:,;])""",
    re.VERBOSE | re.IGNORECASE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_prototxt(data: bytes, name: str) -> Message:
    """The NetParameter that a text describes.

    Args:
        data: of the file.
        name: of the file, for messages.

    Raises:
        ModelError: if it is no text of that format; with the line.
    """
    if len(data) > MAX_BYTES:
        raise ModelError(f"{name} has {len(data):,} bytes; a prototxt of more than {MAX_BYTES:,} is not read.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{name} is no text: byte {error.start} is not UTF-8.\nThe network's text is needed here (deploy.prototxt),"
            " not its weights."
        ) from error
    return _Parser(text, name).net()


class _Parser:
    def __init__(self, text: str, name: str):
        self.name = name
        self.text = text
        self.position = 0
        self.line = 1
        self.token = self._next()

    def net(self) -> Message:
        found = self._message("NetParameter", None, 0)
        if not found.values:
            raise ModelError(f"{self.name} describes no network: it is empty.")
        return found

    # -- tokens --------------------------------------------------------------------------------------------------

    def _next(self) -> _Token:
        while True:
            match = _TOKEN.match(self.text, self.position)
            if match is None:
                if self.position < len(self.text):
                    raise self._error(f"{self.text[self.position]!r} has no meaning here")
                return _Token("end", "the end of the file", self.line)
            line = self.line
            self.position = match.end()
            self.line += match.group().count("\n")
            if match.lastgroup != "space":
                return _Token(match.lastgroup or "", match.group(), line)

    def _take(self) -> _Token:
        taken, self.token = self.token, self._next()
        return taken

    def _accept(self, *signs: str) -> str | None:
        return self._take().text if self.token.kind == "sign" and self.token.text in signs else None

    def _error(self, what: str) -> ModelError:
        return ModelError(f"{self.name}, line {self.line}: {what}. A line such as  kernel_size: 3  is expected.")

    # -- grammar -------------------------------------------------------------------------------------------------

    def _message(self, kind: str | None, closing: str | None, depth: int) -> Message:
        """Fields up to ``closing``, or to the end of the file; ``kind`` None keeps nothing."""
        if depth > MAX_DEPTH:
            raise self._error(f"messages within messages, more than {MAX_DEPTH} deep")
        message = Message(kind or "")
        while True:
            if self.token.kind == "end":
                if closing is None:
                    return message
                raise self._error(f"the file ends, {closing!r} is missing")
            if closing is not None and self._accept(closing):
                return message
            self._field(message, kind, depth)
            self._accept(",", ";")

    def _field(self, message: Message, kind: str | None, depth: int) -> None:
        if self.token.kind != "name":
            raise self._error(f"a name is needed, got {self.token.text!r}")
        where = f"{self.name}, line {self.token.line}"
        name = self._take().text
        field = field_named(kind, name, where) if kind else None
        if kind and field is None:
            message.ignored.add(name)
        value_kind = None if field is None or field.kind == "any" else field.kind
        colon = self._accept(":")
        if colon and self._accept("["):
            while not self._accept("]"):
                self._value(message, name, value_kind, where, depth, required=True)
                if not self._accept(",") and self.token.text != "]":
                    raise self._error(f"',' or ']' is needed, got {self.token.text!r}")
            return
        self._value(message, name, value_kind, where, depth, required=bool(colon))

    def _value(self, message: Message, name: str, kind: str | None, where: str, depth: int, *, required: bool) -> None:
        opening = self._accept("{", "<")
        if opening:
            if kind is not None and kind not in MESSAGES:
                raise ModelError(
                    f"{where}: {name} is a value of kind {'text' if kind == 'string' else kind}, got a message."
                    + (" Blobs are read from a .caffemodel alone." if kind == "BlobProto" else "")
                )
            inside = self._message(kind, "}" if opening == "{" else ">", depth + 1)
            if kind is not None:
                message.add(name, inside)
            return
        if not required:
            raise self._error(f"':' or '{{' is needed behind {name}, got {self.token.text!r}")
        token = self._take()
        if token.kind in ("end", "sign"):
            raise self._error(f"a value is needed for {name}, got {token.text!r}")
        text = token.text
        if token.kind == "string":
            text = _unquoted(text)
            while self.token.kind == "string":
                text += _unquoted(self._take().text)
        if kind is not None:
            message.add(name, _converted(token.kind, text, kind, f"{where}: {name}"))


def _unquoted(token: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        found = match.group(1)
        if found[0] == "x":
            return chr(int(found[1:], 16))
        return chr(int(found, 8)) if found[0] in "01234567" else _ESCAPES.get(found, found)

    return re.sub(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", replaced, token[1:-1])


def _converted(token: str, text: str, kind: str, where: str) -> Any:
    """A value of the schema's kind."""
    if kind in MESSAGES or kind == "BlobProto":
        raise ModelError(f"{where} is a message, got {text!r}. Write it as  {{ ... }}.")
    if kind in ENUMS:
        return _enum(token, text, kind, where)
    try:
        if kind == "string" and token == "string":
            return text
        if kind == "bool" and token != "string":
            return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[text.lower()]
        if kind == "int" and token == "number":
            return _integer(text)
        if kind == "float" and token != "string":
            return float(text.rstrip("fF") if text[-3:].lower() != "inf" else text)
    except (KeyError, ValueError):
        pass
    wanted = {"string": "a text in quotes", "bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
    raise ModelError(f"{where} must be {wanted}, got {text!r}.")


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    value = int(text, 8 if octal else 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(text)
    return value


def _enum(token: str, text: str, kind: str, where: str) -> str:
    names = ENUMS[kind]
    if token == "number" and text.isdigit() and len(text) < 4 and int(text) < len(names):
        return names[int(text)]
    if token == "name" and text in names:
        return text
    quoted = f' Version 1 of the format ("layers") has no quotes: {text.upper()}.' if kind == "V1LayerType" else ""
    raise ModelError(f"{where} must be one of {', '.join(filter(None, names))}, got {text!r}.{quoted}")


__all__ = ["parse_prototxt"]
