"""Transform processes and joins on DataFrames: nothing runs until the result is used.

::

    process = TransformProcess.read("process.yaml")
    frame = transformed(spark.read.parquet("storms.parquet"), process)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F
from pyspark.sql import types as T

from firesteel.errors import ConfigError, DataError
from firesteel.spark.actions import collected
from firesteel.spark.expressions import applied, column_of, quoted
from firesteel.specs import did_you_mean
from firesteel.tables.expressions import SPARK_TYPES, Cast, Ref
from firesteel.tables.join import Join
from firesteel.tables.process import TransformProcess
from firesteel.tables.schema import Column, Schema
from firesteel.tables.values import parsed_time

if TYPE_CHECKING:
    from pyspark.sql import Column as SparkColumn
    from pyspark.sql import DataFrame

_TYPES: dict[type[T.DataType], str] = {
    T.StringType: "string", T.VarcharType: "string", T.CharType: "string", T.ByteType: "integer", T.ShortType: "integer",
    T.IntegerType: "integer", T.LongType: "long", T.FloatType: "double", T.DoubleType: "double", T.BooleanType: "boolean",
    T.BinaryType: "bytes", T.TimestampType: "time", T.DateType: "time", T.TimestampNTZType: "time",
}  # fmt: skip
"""Spark's types -> those of a schema."""

_WITHOUT_ZONE = (T.DateType, T.TimestampNTZType)
"""Become instants by the zone of the schema's column, not by that of the session."""

_WIDER = {"integer": ("long", "double"), "string": ("categorical",)}
"""Types that hold all values of another one; whether a text is one of the categories is a question of validity."""


def schema_of(frame: DataFrame) -> Schema:
    """The schema of a DataFrame.

    Small whole numbers become integer; float becomes double, and so do decimals, but for whole ones of up to 18 digits, which
    become long; dates (their midnight) and timestamps without a zone become time, in UTC.

    Raises:
        ConfigError: naming a column of a type that has no counterpart (struct, map, interval, ...).
    """
    return Schema.from_columns(map(_column, frame.schema.fields))


def _column(field: T.StructField) -> Column:
    column = column_of_field(field)
    if column is None:
        raise ConfigError(
            f"column {field.name!r} is {field.dataType.simpleString()}, which no column of a schema can be ({', '.join(SPARK_TYPES)}, or"
            " a list of those). Leave it out, or take out of it what you need."
        )
    return column


def column_of_field(field: T.StructField) -> Column | None:
    """A column of a DataFrame as one of a schema; None if it is of a type that has no counterpart."""
    kind = field.dataType
    sequence = isinstance(kind, T.ArrayType)
    single = kind.elementType if isinstance(kind, T.ArrayType) else kind
    found = _TYPES.get(type(single))
    if isinstance(single, T.DecimalType):
        found = "long" if single.scale == 0 and single.precision <= 18 else "double"
    if found is None or (sequence and isinstance(single, _WITHOUT_ZONE)):
        return None
    return Column(name=field.name, type=found, sequence=sequence)  # type: ignore[arg-type]


def checked(frame: DataFrame, schema: Schema) -> DataFrame:
    """The columns of a schema, in its order and of its types, out of a DataFrame that has them.

    Whole numbers may be narrower than the schema says, float may stand for double, and strings for categories. Whether values
    are valid is not looked at: that is the data's business, and the step ``drop_invalid``'s.

    Raises:
        ConfigError: if a column is missing or of another type.
    """
    _check_names(frame, schema)
    have = {field.name: field.dataType for field in frame.schema.fields}
    twice = [name for name, count in Counter(frame.columns).items() if count > 1 and name in schema]
    if twice:
        raise ConfigError(f"the DataFrame has two columns {twice[0]!r}. Rename one of them.")
    columns = []
    for column in schema.columns:
        if column.name not in have:
            raise ConfigError(
                f"the DataFrame has no column {column.name!r}, which the schema says. It has {', '.join(frame.columns)}."
                f"{did_you_mean(column.name, frame.columns)}"
            )
        found = _column(T.StructField(column.name, have[column.name]))
        decimal = isinstance(have[column.name], T.DecimalType) and column.type == "double"
        if found.sequence != column.sequence or not (decimal or _fits(found.type, column.type)):
            raise ConfigError(
                f"column {column.name!r} is {have[column.name].simpleString()} in the DataFrame, the schema says"
                f" {column.type}{'[]' * column.sequence}. Change the schema, or read the data with it; texts that hold other"
                " values are a string column for the schema and a step cast or string_to_time."
            )
        columns.append(_brought(column, have[column.name]).alias(column.name))
    return frame.select(*columns)


def _brought(column: Column, kind: T.DataType) -> SparkColumn:
    """A column of a DataFrame as the schema has it."""
    if isinstance(kind, _WITHOUT_ZONE):
        return column_of(parsed_time(Cast(Ref(column.name), "string"), None, column.timezone))
    wanted = SPARK_TYPES[column.type] if not column.sequence else f"array<{SPARK_TYPES[column.type]}>"
    return F.col(quoted(column.name)).cast(wanted)


def _fits(found: str, wanted: str) -> bool:
    return found == wanted or wanted in _WIDER.get(found, ())


def _check_names(frame: DataFrame, *schemas: Schema) -> None:
    """Names that differ only by case are one name to Spark, unless it is told otherwise."""
    names = Counter({name.lower(): 0 for schema in schemas for name in schema.names})
    for schema in schemas:
        names |= Counter(name.lower() for name in schema.names)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None and frame.sparkSession.conf.get("spark.sql.caseSensitive") != "true":
        same = sorted({name for schema in schemas for name in schema.names if name.lower() == twice})
        raise ConfigError(
            f"columns {' and '.join(map(repr, same))} differ only by case, which Spark does not tell apart. Rename one, or set"
            " spark.sql.caseSensitive to true."
        )


# -- processes ------------------------------------------------------------------------------------------------------


def transformed(frame: DataFrame, process: TransformProcess) -> DataFrame:
    """A table after all steps of a process.

    Spark SQL does all of it; no row passes through Python. Consecutive steps become one ``select`` where they can. A value
    that has no result (a text that is no number, a division by zero, an overflow) is null and never ends the job.

    Args:
        frame: with at least the columns of the process's schema; others are left out.
        process: with all statistics filled in, see :func:`filled`.

    Returns:
        a DataFrame of ``process.final_schema``.

    Raises:
        ConfigError: if the DataFrame does not fit the schema, or a step lacks statistics.
    """
    process.check_filled()
    _check_names(frame, *process.schemas)
    return applied(checked(frame, process.initial_schema), process.plan())


def filled(frame: DataFrame, process: TransformProcess) -> TransformProcess:
    """The process with all statistics that its steps want, computed from a table: each from the rows that reach the step.

    One Spark job for each step that wants some. Missing values, NaN and infinities do not count.

    Raises:
        ConfigError: if the DataFrame does not fit the schema.
        DataError: if a column has no value to compute from.
    """
    for position, wanted in process.unfilled().items():
        before = TransformProcess(process.initial_schema, process.steps[:position])
        found = _statistics(transformed(frame, before), wanted.keys())
        for name, which in wanted.items():
            if any(math.isnan(found[name][each]) for each in which):
                raise DataError(
                    f"step {position + 1} ({process.steps[position].do}): column {name!r} has too few values for its"
                    f" {' and '.join(which)}: all are missing, or there is only one."
                )
        process = process.with_statistics(position, found)
    return process


def _statistics(frame: DataFrame, names: Iterable[str]) -> dict[str, dict[str, float]]:
    functions = {"min": F.min, "max": F.max, "mean": F.avg, "stdev": F.stddev_samp}
    names, columns = list(names), []
    for i, name in enumerate(names):
        value = F.col(quoted(name)).cast("double")
        finite = F.when(~F.isnan(value) & (F.abs(value) < float("inf")), value)
        columns += [function(finite).alias(f"{key}{i}") for key, function in functions.items()]
    row: Any = collected(frame.agg(*columns))[0]
    return {
        name: {key: math.nan if row[f"{key}{i}"] is None else row[f"{key}{i}"] for key in functions}
        for i, name in enumerate(names)
    }


# -- joins ----------------------------------------------------------------------------------------------------------


def joined(left: DataFrame, right: DataFrame, join: Join, *, schemas: tuple[Schema, Schema] | None = None) -> DataFrame:
    """Two tables joined.

    Args:
        left: a table.
        right: another one, or the same.
        join: how.
        schemas: of both; None takes those of the DataFrames.

    Returns:
        a DataFrame of ``join.schema_after(...)``.

    Raises:
        ConfigError: if keys or names do not go together.
    """
    one, other = schemas or (schema_of(left), schema_of(right))
    result = join.schema_after(one, other)
    _check_names(left, result)
    lefts, rights = _numbered(checked(left, one), "l"), _numbered(checked(right, other), "r")
    places = {name: f"l{i}" for i, name in enumerate(one.names)}
    partners = {name: f"r{i}" for i, name in enumerate(other.names)}
    pairs = [(F.col(places[name]), F.col(partners[partner])) for name, partner in join.on.items()]
    equal = [a.eqNullSafe(b) if join.match_missing else a == b for a, b in pairs]
    both = lefts.join(rights, equal, join.how)
    keys = [F.coalesce(a, b) for a, b in pairs]
    rest = [F.col(places[name]) for name in one.names if name not in join.on]
    rest += [F.col(partners[name]) for name in other.names if name not in join.on.values()]
    kinds = [SPARK_TYPES[column.type] if not column.sequence else None for column in result.columns]
    return both.select(
        *(
            (value.cast(kind) if kind else value).alias(column.name)
            for value, column, kind in zip([*keys, *rest], result.columns, kinds)
        )
    )


def _numbered(frame: DataFrame, letter: str) -> DataFrame:
    """Under names that no other table has: a table can be joined with itself."""
    return frame.select(*(F.col(quoted(name)).alias(f"{letter}{i}") for i, name in enumerate(frame.columns)))


__all__ = ["checked", "filled", "joined", "schema_of", "transformed"]
