"""What of each column of a DataFrame goes to the tasks that analyse it: any type as one that Arrow takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import functions as F
from pyspark.sql import types as T

from firesteel.analysis.tables import TableColumn
from firesteel.errors import ConfigError
from firesteel.specs import did_you_mean
from firesteel.tables import schema as tables

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_SQL_TYPES = {
    "string": "string", "categorical": "string", "integer": "int", "long": "bigint", "double": "double",
    "boolean": "boolean", "bytes": "binary", "time": "timestamp",
}  # fmt: skip
"""Types of a schema -> of Spark."""

_ZONED_TEXT = r"(?i)[0-9](z|utc|gmt|[+-][0-9]{2}(:?[0-9]{2})?)\s*$"
_ZONE_LETTERS = re.compile(r"[VzOXxZ]")


def analyzed_columns(frame: DataFrame, schema: tables.Schema | None) -> tuple[DataFrame, list[TableColumn]]:
    """The columns for the tasks, and what they are.

    Raises:
        ConfigError: if the schema names a column that the DataFrame does not have, or cannot be of that type.
    """
    check_names(frame.columns, schema)
    selected: list[Column] = []
    columns: list[TableColumn] = []
    fields = [f"c{number}" for number in range(len(frame.columns))]
    held = frame.toDF(*fields)
    for field, name, kind in zip(fields, _distinct(frame.columns), (each.dataType for each in frame.schema.fields)):
        if schema is not None and name in schema:
            values, texts = _typed(F.col(field), kind, schema[name])
            text = None if texts is None else f"{field}_text"
            columns.append(TableColumn(name, schema[name].type, None, schema[name], field, text))
            selected += [values.alias(field)] + ([] if texts is None else [texts.alias(f"{field}_text")])
        else:
            values, what, elements = _plain(F.col(field), kind)
            columns.append(TableColumn(name, what, elements, None, field))
            selected.append(values.alias(field))
    try:
        return held.select(*selected), columns
    except AnalysisException as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"the schema does not fit the types of the DataFrame: {first}") from error


def check_names(names: Sequence[str], schema: tables.Schema | None) -> None:
    """Find out before a job runs that the schema's columns are there.

    Raises:
        ConfigError: naming one that is not, and those that are.
    """
    for name in () if schema is None else schema.names:
        if name not in names:
            raise ConfigError(
                f"the schema has a column {name!r} that the table has not. It has {', '.join(names)}."
                f"{did_you_mean(name, names)}"
            )


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal: a join may leave two columns of one name."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


# -- without a schema -------------------------------------------------------------------------------------------------

_PLAIN: dict[type[T.DataType], str] = {
    T.ByteType: "integer", T.ShortType: "integer", T.IntegerType: "integer", T.LongType: "long", T.FloatType: "double",
    T.DoubleType: "double", T.StringType: "string", T.CharType: "string", T.VarcharType: "string",
    T.BooleanType: "boolean", T.BinaryType: "bytes", T.DateType: "date", T.TimestampType: "time",
    T.TimestampNTZType: "local time",
}  # fmt: skip


def _plain(column: Column, kind: T.DataType) -> tuple[Column, str, str | None]:
    """(what goes to the tasks, its kind, kind of its elements) of a column as it is."""
    if type(kind) in _PLAIN:
        return column, _PLAIN[type(kind)], None
    if isinstance(kind, T.DecimalType):
        return column.cast("double"), "double", None
    if type(kind).__name__ == "VectorUDT":
        from pyspark.ml.functions import vector_to_array

        return vector_to_array(column), "array", "double"
    if isinstance(kind, T.ArrayType):
        elements = _PLAIN.get(type(kind.elementType))
        if elements in ("integer", "long", "double", "string"):
            return column, "array", elements
        return F.transform(column, lambda each: F.when(each.isNotNull(), F.lit(1))), "array", None
    if isinstance(kind, T.MapType):
        return F.transform(F.map_keys(column), lambda _: F.lit(1)), "map", None
    if isinstance(kind, T.StructType | T.UserDefinedType | T.NullType):
        what = "struct" if isinstance(kind, T.StructType) else "other"
        return F.when(column.isNotNull(), F.lit(True)), what, None
    # Intervals, times of day, variants: as texts.
    return column.cast("string"), "string", None


# -- with a schema ----------------------------------------------------------------------------------------------------


def _typed(column: Column, kind: T.DataType, allowed: tables.Column) -> tuple[Column, Column | None]:
    """(values of the schema's type, texts of what is not of it).

    A value that is not of the type is null in the first and not null in the second; one that is missing is null in both.
    """
    text = column.cast("string")
    if allowed.type in ("string", "categorical"):
        return text, None
    wanted = _SQL_TYPES[allowed.type]
    if kind.simpleString() == wanted or (allowed.type == "double" and isinstance(kind, T.FloatType)):
        return (_utc(column) if allowed.type == "time" else column), None
    if isinstance(kind, T.StringType):
        values = _parsed(F.trim(column), allowed)
        missing = F.trim(column) == ""
    else:
        values = _utc(column.try_cast("timestamp")) if allowed.type == "time" else column.try_cast(wanted)
        missing = F.lit(False)
    return values, F.when(column.isNotNull() & ~missing & values.isNull(), text)


def _parsed(text: Column, allowed: tables.Column) -> Column:
    """A text as a value of the schema's type, or null."""
    if allowed.type == "time":
        return _parsed_time(text, allowed)
    values = text.try_cast(_SQL_TYPES[allowed.type])
    # Java takes "1.5d" and "1.5f" for numbers.
    return F.when(~text.rlike("[0-9.][dDfF]$"), values) if allowed.type == "double" else values


def _parsed_time(text: Column, allowed: tables.Column) -> Column:
    """An instant as its local time in UTC: what the session's own time zone is has no say."""
    if allowed.format is None:
        instant, zoned = text.try_cast("timestamp"), text.rlike(_ZONED_TEXT)
    else:
        letters = re.sub(r"'[^']*'", "", allowed.format)
        instant = F.try_to_timestamp(text, F.lit(allowed.format))
        zoned = F.lit(_ZONE_LETTERS.search(letters) is not None)
    local = instant.cast("timestamp_ntz")
    return F.when(zoned, _utc(instant)).otherwise(F.convert_timezone(F.lit(allowed.timezone), F.lit("UTC"), local))


def _utc(instant: Column) -> Column:
    return F.convert_timezone(F.current_timezone(), F.lit("UTC"), instant.cast("timestamp_ntz"))
