"""Rows of tables as the vectors that a model takes, with the transform process that its dataset was prepared with."""

from __future__ import annotations

import weakref
from functools import cached_property
from typing import TYPE_CHECKING

from firesteel.tables.encoding import Encoded, TableEncoding
from firesteel.tables.records import Records

if TYPE_CHECKING:
    from firesteel.spark.transform_rows import RowTransformer


class TableVectors:
    """Makes vectors of rows.

    Args:
        table: how a row becomes a vector.
    """

    def __init__(self, table: TableEncoding):
        self._table = table

    @property
    def read_as(self) -> TableEncoding:
        """Which columns come in, and how their text is read."""
        return self._table if self._transformer is None else self._table.of_source(self._transformer.columns)

    def of(self, records: Records) -> Encoded:
        """The vectors of records, and what is wrong with those that have none."""
        if self._transformer is None:
            return self._table.vectors(records.columns)
        columns, problems = self._transformer(records.columns)
        encoded = self._table.vectors(columns)
        return Encoded(encoded.values, encoded.problems | problems)

    @cached_property
    def _transformer(self) -> RowTransformer | None:
        """What applies the transform process that the dataset was prepared with; None if there was none."""
        if self._table.process is None:
            return None
        from firesteel.spark.transform_rows import RowTransformer
        from firesteel.tables.process import TransformProcess

        wanted = [each.column.name for each in self._table.columns]
        transformer = RowTransformer(TransformProcess.of(self._table.process), wanted, self._table.dialect.null_values)
        weakref.finalize(self, transformer.close)
        return transformer


__all__ = ["TableVectors"]
