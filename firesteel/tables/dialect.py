"""How a table's text is read: header, delimiter, quotes, charset, and what means a missing value."""

from __future__ import annotations

import codecs
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

RecordFormat = Literal["csv", "json", "parquet", "rows"]


class Dialect(BaseModel):
    """How the text of a table is read.

    Attributes:
        format: ``csv`` (also with other delimiters), ``json`` (an object a line), ``parquet``, or ``rows`` that come from no
            file.
        header: whether the first line of each CSV file names the columns.
        delimiter: between two fields of a line; one character.
        quote: around fields that hold delimiters; one character, or empty for none.
        escape: before a quote inside of quotes; the quote itself (``""``) as RFC 4180 has it.
        multiline: whether quoted fields of CSV may hold ends of lines, or JSON is one list of objects. Such files are read
            as a whole, each by one task.
        charset: of the text, as Python calls it.
        null_values: texts that mean a missing value, besides the empty one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: RecordFormat = "csv"
    header: bool = True
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    multiline: bool = False
    charset: str = "utf-8"
    null_values: tuple[str, ...] = ()

    @field_validator("delimiter", "quote", "escape", mode="before")
    @classmethod
    def _read_tab(cls, value: Any) -> Any:
        return "\t" if value in ("\\t", "tab") else value

    @field_validator("delimiter", "escape")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if len(value) != 1 or value in "\r\n":
            raise ValueError(f"must be one character that ends no line (for a tab write tab), got {value!r}")
        return value

    @field_validator("quote")
    @classmethod
    def _one_or_none(cls, value: str) -> str:
        return cls._one_character(value) if value else value

    @field_validator("charset")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "a".encode(codecs.lookup(value).name)
        except (LookupError, UnicodeError):
            raise ValueError(f"must be a charset such as utf-8, latin-1, cp1252 or utf-16, got {value!r}") from None
        return codecs.lookup(value).name

    @property
    def is_text(self) -> bool:
        """Whether records are pieces of text."""
        return self.format in ("csv", "json")

    @property
    def reads_whole_files(self) -> bool:
        """Whether a file cannot be cut at the ends of its lines: bytes that end a line are part of other signs, too."""
        return self.multiline or self.charset.startswith(("utf-16", "utf-32", "utf-7"))


__all__ = ["Dialect", "RecordFormat"]
