"""HTML as a tree: what comes from data is escaped by construction, and every page is well-formed."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterable

Element = ET.Element
Child = Element | str | None
"""None is left out."""


def element(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """An element with attributes and children.

    Args:
        tag: its name.
        children: elements and texts, also in lists.
        attributes: underscores in their names become hyphens, one at the end is left out (``class_``); None leaves the
            attribute out.
    """
    made = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), visible(str(value)))
    for child in children:
        for each in [child] if child is None or isinstance(child, str | Element) else child:
            _append(made, each)
    return made


def _append(parent: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        parent.append(child)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + visible(child)
    else:
        parent.text = (parent.text or "") + visible(child)


def visible(text: str) -> str:
    """Text without control characters and lone surrogates, which no page may hold: they are written as ``\\x00``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if unicodedata.category(each)[0] != "C" or each == "\n" else repr(each)[1:-1] for each in text)


def html(root: Element) -> str:
    """The tree as text, ``<!doctype html>`` before it."""
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"
