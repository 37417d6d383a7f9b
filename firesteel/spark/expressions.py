"""Expressions and operations of :mod:`firesteel.tables` as Spark's columns and DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from firesteel.tables.expressions import (
    Call,
    Cast,
    Choice,
    Constant,
    Expression,
    Field,
    Order,
    Over,
    Ref,
    columns_of,
)
from firesteel.tables.plans import Aggregate, Explode, Keep, Operation, Output, Project

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def quoted(name: str) -> str:
    """A column's name for Spark, whatever signs are in it."""
    return f"`{name.replace('`', '``')}`"


def column_of(expression: Expression) -> Column:
    """An expression as a column."""
    match expression:
        case Ref(name):
            return F.col(quoted(name))
        case Constant(value):
            return F.lit(value)
        case Call(function, arguments):
            return _called(function, [column_of(each) for each in arguments])
        case Cast(value, kind):
            return column_of(value).try_cast(kind)
        case Choice(branches, otherwise):
            return _chosen([(column_of(test), column_of(value)) for test, value in branches], column_of(otherwise))
        case Field(value, name):
            return column_of(value).getField(name)
        case Over(value, by, order, rows):
            return _over(column_of(value), by, order, rows)
    raise AssertionError(f"no such expression: {expression}")


def _called(function: str, arguments: list[Column]) -> Column:
    if function == "product":  # the two that have no name in SQL
        return F.product(arguments[0])
    if function == "count_distinct":
        return F.count_distinct(*arguments)
    return F.call_function(quoted(function), *arguments)


def _chosen(branches: list[tuple[Column, Column]], otherwise: Column) -> Column:
    first, *others = branches
    found = F.when(*first)
    for branch in others:
        found = found.when(*branch)
    return found.otherwise(otherwise)


def _over(value: Column, by: Sequence[str], order: Sequence[Order], rows: int | None) -> Column:
    window = Window.partitionBy(*(F.col(quoted(name)) for name in by)).orderBy(
        *(F.col(quoted(each.column)).desc() if each.descending else F.col(quoted(each.column)).asc() for each in order)
    )
    return value.over(window if rows is None else window.rowsBetween(-(rows - 1), 0))


def columns_of_outputs(outputs: Iterable[Output]) -> list[Column]:
    """Computed columns under their names."""
    return [column_of(output.value).alias(output.column.name) for output in outputs]


def applied(frame: DataFrame, operations: Sequence[Operation]) -> DataFrame:
    """A DataFrame after some operations; nothing runs."""
    for operation in merged(operations):
        match operation:
            case Project(outputs):
                frame = frame.select(*columns_of_outputs(outputs))
            case Keep(where):
                frame = frame.where(column_of(where))
            case Aggregate(by, values):
                frame = frame.groupBy(*columns_of_outputs(by)).agg(*columns_of_outputs(values))
            case Explode(array, column):
                frame = frame.select("*", F.explode(column_of(array)).alias(column.name))
    return frame


def merged(operations: Sequence[Operation]) -> list[Operation]:
    """The same in fewer operations: projections that follow one another become one where nothing is computed twice.

    A projection can take in the next one if that computes only from columns which the first one leaves as they are. So a
    hundred steps on a hundred columns are one ``select``, and the plan is as deep as the steps build upon one another.
    """
    found: list[Operation] = []
    for operation in operations:
        last = found[-1] if found else None
        together = _together(last, operation) if isinstance(last, Project) and isinstance(operation, Project) else None
        if together is None:
            found.append(operation)
        else:
            found[-1] = together
    return found


def _together(first: Project, second: Project) -> Project | None:
    before = {output.column.name: output for output in first.outputs}
    outputs = []
    for output in second.outputs:
        if isinstance(output.value, Ref):
            outputs.append(Output(output.column, before[output.value.name].value))
            continue
        sources = {name: before[name].value for name in columns_of(output.value)}
        if any(not isinstance(value, Ref) or value.name != name for name, value in sources.items()):
            return None
        outputs.append(output)
    return Project(tuple(outputs))


__all__ = ["applied", "column_of", "columns_of_outputs", "merged", "quoted"]
