"""File names for labels and rows: safe on every file system, readable, and the same however the work is shared.

Names are percent-encoded where they have to be, so that ``urllib.parse.unquote`` gives back what they were; the index of
the export has every name in full, also where one was cut or two would have collided.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable

from firesteel.data.sources.base import SPLIT_NAMES, is_hidden
from firesteel.data.sources.labels import class_name
from firesteel.formats.images import EXTENSIONS

MAX_NAME_BYTES = 150
"""Of a name in UTF-8: file systems allow 255, and temporary names, extensions and suffixes come on top."""

_UNSAFE = frozenset('%/\\<>:"|?*')
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10)))
)
"""Names that Windows takes for devices, with any extension."""

_KNOWN_EXTENSIONS = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)


def safe_name(text: str) -> str:
    """A name for a file or folder; others are percent-encoded, too long ones end with ``~`` and a digest.

    Encoded are separators, characters that Windows refuses or that cannot be seen, dots and blanks at the ends, and the
    first character of names that systems keep for themselves.
    """
    name = "".join(_encoded(character) if _is_unsafe(character) else character for character in text)
    if name[:1] in (" ", ".") or name.partition(".")[0].lower() in _RESERVED or is_hidden(name):
        name = _encoded(name[0]) + name[1:]
    if name[-1:] in (" ", "."):
        name = name[:-1] + _encoded(name[-1])
    if len(name.encode()) > MAX_NAME_BYTES:
        name = f"{_cut(name)}~{digest(text)}"
    return name or "_"


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A folder for each label; no two differ in nothing but upper and lower case."""
    ordered = sorted(set(labels))
    safe = {label: safe_name(label) for label in ordered}
    if safe and all(name.lower() in SPLIT_NAMES for name in safe.values()):
        # A folder of nothing but these would be read as splits.
        safe = {label: _encoded(name[0]) + name[1:] for label, name in safe.items()}
    folded = Counter(_folded(name) for name in safe.values())
    return {label: f"{name}~{digest(label)}" if folded[_folded(name)] > 1 else name for label, name in safe.items()}


def stem_and_extension(row_id: str, label: str, split: str | None) -> tuple[str, str]:
    """The name of a row's file without its extension, and the extension that its id has, if that is one of pictures.

    The folders of split and class are left out where the id begins with them: ``train/cat/1.jpg`` gives ``1``, ``.jpg``.
    """
    parts = row_id.split("/")
    if split and len(parts) > 1 and SPLIT_NAMES.get(parts[0].lower(), parts[0]) == split:
        parts = parts[1:]
    if len(parts) > 1 and class_name(parts[0]) == label:
        parts = parts[1:]
    name = "/".join(parts)
    stem, dot, extension = name.rpartition(".")
    if stem and f".{extension.lower()}" in _KNOWN_EXTENSIONS:
        return safe_name(stem), dot + extension
    return safe_name(name), ""


def collision_key(row_id: str, label: str, split: str | None, *, with_splits: bool) -> int:
    """A number that is the same for rows whose files might get the same name, on any file system.

    Extensions are left out, because only the content tells which is the right one: ``1.jpg`` and ``1.png`` share a key.
    """
    stem, extension = stem_and_extension(row_id, label, split)
    while extension:
        bare = stem
        stem, _, extension = bare.rpartition(".")
        if not stem or f".{extension.lower()}" not in _KNOWN_EXTENSIONS:
            stem, extension = bare, ""
    place = f"{split if with_splits else ''}\n{label}\n{_folded(stem)}".encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(place, digest_size=8).digest(), "big") >> 1  # fits into int64


def file_name(stem: str, extension: str, format: str, suffix: str = "") -> str:
    """The name of a file that holds a picture of this format.

    Args:
        stem, extension: of :func:`stem_and_extension`.
        format: Pillow's name. An extension that does not go with it is replaced by the right one.
        suffix: what tells it from others that would be called so.
    """
    right = EXTENSIONS.get(format, (f".{format.lower()}",))
    return f"{stem}{suffix}{extension if extension.lower() in right else right[0]}"


def digest(text: str) -> str:
    """Ten hexadecimal digits that tell names apart."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:10]


def _is_unsafe(character: str) -> bool:
    return character in _UNSAFE or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "backslashreplace"))


def _folded(name: str) -> str:
    """As a file system sees it that tells neither case nor the ways to write an accent apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _cut(name: str) -> str:
    cut = name.encode()[: MAX_NAME_BYTES - 11].decode("utf-8", "ignore")
    escape = cut.rfind("%", len(cut) - 2)
    return cut if escape == -1 else cut[:escape]
