"""A transform process on rows that are to be predicted: the same Spark expressions as when the dataset was prepared."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from firesteel.errors import ConfigError
from firesteel.spark.expressions import applied
from firesteel.tables.expressions import Ref, columns_of
from firesteel.tables.parsing import ARROW_TYPES, parse_column
from firesteel.tables.plans import Keep, Operation, Output, Project
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Column, Schema

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ROW = "__row"
_MASTER = "local[1]"


class RowTransformer:
    """Applies a row-wise process to rows, one for one.

    Filters are left out: what was no row to train on can still be predicted, if its values are there. A session that runs is
    used; else one is started on this machine, at the first rows, and stays until :meth:`close`.

    Args:
        process: that was applied when the dataset was prepared.
        wanted: columns that the model sees.
        null_values: texts that mean a missing value.

    Raises:
        ConfigError: if the process computes rows from other rows.
    """

    def __init__(self, process: TransformProcess, wanted: Sequence[str], null_values: Sequence[str] = ()):
        if not process.is_row_wise:
            raise ConfigError(
                "this model's transform process computes rows from other rows (groups, windows, sequences). Apply it with"
                " firesteel transform, and predict with a model that was trained on its result."
            )
        steps = [operation for operation in process.plan() if not isinstance(operation, Keep)]
        needed, self._steps = _without_what_is_not_needed(steps, wanted)
        self._wanted, self._null_values = list(wanted), null_values
        self.columns: tuple[Column, ...] = tuple(c for c in process.initial_schema.columns if c.name in needed)
        self._stack = contextlib.ExitStack()
        self._session: SparkSession | None = None

    def close(self) -> None:
        """End the session that was started for it."""
        self._session = None
        self._stack.close()

    def __call__(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], dict[int, str]]:
        """Columns as they come -> columns that the model sees, and what is wrong with which row.

        Args:
            columns: those of :attr:`columns`, each of shape (N,).
        """
        parsed = {each.name: parse_column(columns[each.name], each, self._null_values) for each in self.columns}
        problems = {row: problem for each in parsed.values() for row, problem in each.invalid.items()}
        rows = len(next(iter(columns.values())))
        fields = [(each.name, ARROW_TYPES[each.type]) for each in self.columns]
        table = pa.Table.from_arrays(
            [*(parsed[each.name].values for each in self.columns), pa.array(range(rows), pa.int64())],
            schema=pa.schema([*fields, (_ROW, pa.int64())]),
        )
        frame = applied(self._spark().createDataFrame(table), self._steps)
        found = frame.toArrow().sort_by(_ROW)
        return {name: found.column(name).combine_chunks() for name in self._wanted}, problems

    def _spark(self) -> SparkSession:
        if self._session is None:
            from firesteel.spark.session import open_session

            self._session = self._stack.enter_context(open_session(_MASTER))
        return self._session


def _without_what_is_not_needed(steps: Sequence[Operation], wanted: Sequence[str]) -> tuple[set[str], list[Operation]]:
    """The columns that must be there, and the steps that compute what is wanted of them, with the row's number beside it."""
    needed = set(wanted)
    kept: list[Operation] = []
    for step in reversed(steps):
        assert isinstance(step, Project), "row-wise steps are projections and filters"
        outputs = [output for output in step.outputs if output.column.name in needed]
        needed = {name for output in outputs for name in columns_of(output.value)}
        kept.append(Project((*outputs, _row_number())))
    return needed, kept[::-1]


def _row_number() -> Output:
    return Output(Schema().long(_ROW).columns[0], Ref(_ROW))


__all__ = ["RowTransformer"]
