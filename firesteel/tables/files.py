"""Tables that are read without Spark, for prediction: files of CSV, JSON lines and Parquet, and rows in memory."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from firesteel.errors import ConfigError, DataError, FormatError
from firesteel.specs import did_you_mean
from firesteel.storage import Place
from firesteel.tables.dialect import Dialect
from firesteel.tables.encoding import TableEncoding
from firesteel.tables.records import Records, csv_fields, header_names, numbered_records, split_records, whole_records
from firesteel.tables.source import table_format

_BATCH_ROWS = 1024

_LOOKED_AT = 20
"""Lines from which the number of fields is told, where no header tells it."""
_OPENERS: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}


def read_file(
    place: Place,
    encoding: TableEncoding,
    *,
    format: str = "auto",
    header: bool | None = None,
    delimiter: str | None = None,
) -> Iterator[Records]:
    """The records of a file, with the columns that an encoding needs.

    Args:
        place: of the file, which may be compressed (gz, bz2, xz).
        encoding: says how text was read when the model's dataset was prepared; files are read so unless the other
            arguments say differently.
        format: csv, tsv, json, parquet or auto: by the file's name, else as the dataset's source.
        header: whether the first line of CSV names the columns; None is as in the dataset's source, and yes if it does.
            Without it a line holds either all columns of the source or the features alone, in their order.
        delimiter: of CSV.

    Raises:
        DataError: if a column is missing.
        FormatError: if the file is cut or no file of its format.
        StorageError: if it cannot be read.
    """
    dialect = _dialect(place, encoding.dialect, format, header, delimiter)
    wanted = tuple(each.column.name for each in encoding.columns)
    with _readable(place):
        if dialect.format == "parquet":
            yield from _parquet(place, wanted)
        else:
            with _text(place, dialect) as file:
                yield from _split(
                    place, _numbered(file, dialect), dialect, encoding, wanted, may_have_header=header is None
                )


def _dialect(place: Place, saved: Dialect, format: str, header: bool | None, delimiter: str | None) -> Dialect:
    try:
        kind = table_format(place.uri, format)
    except ConfigError:
        if format != "auto" or saved.format == "rows":
            raise
        kind = saved.format
    if kind == "parquet":
        return saved.model_copy(update={"format": "parquet"})
    changed: dict[str, Any] = {"format": "json" if kind == "json" else "csv"}
    if kind == "tsv":
        changed["delimiter"] = "\t"
    changed |= {} if header is None else {"header": header}
    return Dialect.model_validate(
        saved.model_dump() | changed | ({} if delimiter is None else {"delimiter": delimiter})
    )


@contextlib.contextmanager
def _text(place: Place, dialect: Dialect) -> Iterator[IO[str]]:
    suffix = re.search(r"\.(gz|bz2|xz|zst|snappy|lz4|deflate)$", place.name, re.IGNORECASE)
    opener = _OPENERS.get(suffix[1].lower()) if suffix else None
    if suffix and opener is None:
        raise ConfigError(f"{place}: prediction reads gz, bz2 and xz, not {suffix[1]}. Decompress the file first.")
    with place.open() as raw:
        stream = raw if opener is None else opener(raw)
        # newline="" leaves ends of lines as they are: within quotes they are part of the field.
        with io.TextIOWrapper(stream, encoding=dialect.charset, errors="replace", newline="") as text:
            yield text


def _numbered(file: IO[str], dialect: Dialect) -> Iterator[tuple[int, str]]:
    if dialect.format == "json" and dialect.multiline:
        yield from enumerate(whole_records(file.read().removeprefix("\ufeff"), dialect), start=1)
    else:
        yield from numbered_records(file, dialect)


def _split(
    place: Place,
    numbered: Iterator[tuple[int, str]],
    dialect: Dialect,
    encoding: TableEncoding,
    wanted: tuple[str, ...],
    *,
    may_have_header: bool,
) -> Iterator[Records]:
    layout = wanted
    first = list(islice(numbered, _LOOKED_AT))
    if dialect.format == "csv" and first:
        named = dialect.header or (may_have_header and _names(first[0][1], dialect, wanted))
        dialect = dialect.model_copy(update={"header": named})
        layout = _layout(place, [record for _, record in first], dialect, encoding, wanted)
        first = first[1:] if named else first
    while part := [*first, *islice(numbered, _BATCH_ROWS)]:
        places = [f"{place}:{number}" for number, _ in part]
        yield split_records([record for _, record in part], places, dialect, layout, wanted)
        first = []


def _names(line: str, dialect: Dialect, wanted: tuple[str, ...]) -> bool:
    """Whether a line, though none was expected to, names the columns."""
    fields, _ = next(csv_fields([line], dialect))
    return set(wanted) <= {(field or "").strip() for field in fields or ()}


def _layout(
    place: Place, lines: list[str], dialect: Dialect, encoding: TableEncoding, wanted: tuple[str, ...]
) -> tuple[str, ...]:
    if dialect.header:
        found = header_names(lines[0], dialect, str(place))
        _check_columns(place, found, wanted, " If the file has no header, pass --no-header (in Python header=False).")
        return found
    layouts = [layout for layout in (encoding.layout, wanted) if set(wanted) <= set(layout)]
    counts = Counter(len(fields) for fields, _ in csv_fields(lines, dialect) if fields is not None)
    fitting = [layout for layout in layouts if counts[len(layout)]]
    if counts and not fitting:  # one line that is broken is reported with its number, and the others are predicted
        raise DataError(
            f"the first lines of {place} have {counts.most_common(1)[0][0]} fields. Expected "
            + " or ".join(f"{len(layout)} ({', '.join(layout)})" for layout in dict.fromkeys(layouts))
            + ".\nIf the file names its columns in the first line, pass --header (in Python header=True)."
        )
    return max(fitting or layouts[:1], key=lambda layout: counts[len(layout)])


def _check_columns(place: Any, found: Iterable[str], wanted: Iterable[str], advice: str = "") -> None:
    names = list(found)
    absent = [name for name in wanted if name not in names]
    if absent:
        raise DataError(
            f"{place} has the columns {', '.join(names)}; the model needs {', '.join(wanted)}.\n"
            f"Missing: {', '.join(absent)}.{did_you_mean(absent[0], names)}{advice}"
        )


def _parquet(place: Place, wanted: tuple[str, ...]) -> Iterator[Records]:
    with place.open() as raw, pq.ParquetFile(raw) as file:
        _check_columns(place, file.schema_arrow.names, wanted)
        number = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(wanted)):
            places = [f"{place}:row {number + row + 1}" for row in range(batch.num_rows)]
            yield Records({name: batch.column(name) for name in wanted}, {}, None, places, batch.num_rows)
            number += batch.num_rows


@contextlib.contextmanager
def _readable(place: Place) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise FormatError(
            f"{place} is cut or damaged: {str(error).splitlines()[0] if str(error) else error!r}."
        ) from error


def records_of(rows: Any, encoding: TableEncoding) -> Records:
    """Records of rows in memory.

    Args:
        rows: a list of mappings, a pandas DataFrame, or an Arrow table or batch; a key that a mapping lacks is missing.
        encoding: says which columns are needed.

    Raises:
        ConfigError: if it is something else.
        DataError: if a column is missing.
    """
    wanted = tuple(each.column.name for each in encoding.columns)
    if type(rows).__module__.partition(".")[0] == "pandas":
        _check_columns("the DataFrame", map(str, rows.columns), wanted)
        columns = {name: _array(rows[name].tolist(), from_pandas=True) for name in wanted}
    elif isinstance(rows, pa.Table | pa.RecordBatch):
        _check_columns("the table", rows.schema.names, wanted)
        columns = {name: rows.column(name) for name in wanted}
        columns = {
            name: array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            for name, array in columns.items()
        }
    elif (
        isinstance(rows, Sequence)
        and not isinstance(rows, str | bytes)
        and all(isinstance(row, Mapping) for row in rows)
    ):
        if rows:
            _check_columns("the rows", {name: None for row in rows for name in row}, wanted)
        columns = {name: _array([row.get(name) for row in rows]) for name in wanted}
    else:
        raise ConfigError(
            f"rows must be a list of dicts, a pandas DataFrame or an Arrow table, got {type(rows).__name__}."
        )
    return Records(columns, count=len(rows), places=[f"row {row}" for row in range(len(rows))])


def _array(values: list[Any], *, from_pandas: bool = False) -> pa.Array:
    try:
        return pa.array(values, from_pandas=from_pandas)
    except (
        pa.ArrowException,
        OverflowError,
    ):  # values of several types, or numbers of more than 64 bits: each as its text
        return pa.array([None if value is None or value != value else str(value) for value in values], pa.string())


__all__ = ["read_file", "records_of"]
