"""What an analysis gives to its caller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from firesteel.analysis.tables import ColumnSummary, TableSummary
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean


class Analysis(ABC):
    """Figures of a table (:class:`TableAnalysis`) or of pictures (:class:`ImageAnalysis`).

    Attributes:
        kind: ``table`` or ``images``.
        source: what was analysed, in words.
        notes: what a person should know, in sentences.
        seconds: that it took.
    """

    kind: str
    source: str
    notes: list[str]
    seconds: float

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The object that ``firesteel analyze --json`` prints. NaN and infinities may be in it."""

    @abstractmethod
    def to_html(self) -> str:
        """One page that needs nothing else: styles and charts are in it, no script, no network."""


@dataclass(frozen=True)
class ColumnAnalysis:
    """One column of a table.

    Attributes:
        name: of it.
        type: string, integer, long, double, categorical, time, boolean, bytes, array, map, struct or other.
        count: valid values, NaN and infinities among them.
        missing: nulls (and, with a schema, empty texts).
        invalid: values that are not of the type, or that the schema forbids.
        examples: of invalid values, as texts.
        figures: by name; which there are depends on the type.
    """

    name: str
    type: str
    count: int
    missing: int
    invalid: int
    examples: tuple[str, ...]
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, summary: ColumnSummary) -> ColumnAnalysis:
        """The figures of a summary."""
        kind = "time" if summary.column.kind in ("date", "local time") else summary.column.kind
        return cls(
            summary.column.name, kind, summary.count, summary.missing, summary.invalid, tuple(summary.examples),
            summary.content.figures(),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        counts = {"type": self.type, "count": self.count, "missing": self.missing, "invalid": self.invalid}
        examples = {"invalid_examples": list(self.examples)} if self.examples else {}
        return {**counts, **examples, **self.figures}


@dataclass(frozen=True)
class TableAnalysis(Analysis):
    """Figures of a table; ``analysis["price"].figures["mean"]`` is one of them.

    Attributes:
        source, notes, seconds: see :class:`Analysis`.
        rows: of the table.
        columns: in its order.
    """

    source: str
    rows: int
    columns: tuple[ColumnAnalysis, ...]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    kind = "table"

    @classmethod
    def of(cls, summary: TableSummary, source: str, notes: list[str], seconds: float) -> TableAnalysis:
        """The figures of a summary."""
        columns = tuple(ColumnAnalysis.of(column) for column in summary.columns)
        return cls(source, summary.rows, columns, notes, seconds)

    def __getitem__(self, name: str) -> ColumnAnalysis:
        """One column.

        Raises:
            ConfigError: if there is none of that name.
        """
        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise ConfigError(f"there is no column {name!r}. There are {', '.join(names)}.{did_you_mean(name, names)}")

    def __iter__(self) -> Iterator[ColumnAnalysis]:
        return iter(self.columns)

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "table", "rows":, "columns": {name: {"type":, "count":, "mean":, ...}}}``."""
        return {
            "kind": "table",
            "source": self.source,
            "rows": self.rows,
            "columns": {column.name: column.to_json() for column in self.columns},
            "notes": self.notes,
            "seconds": self.seconds,
        }

    def to_html(self) -> str:
        from firesteel.analysis.report.tables import table_page

        return table_page(self)
