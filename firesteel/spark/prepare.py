"""Preparation by Spark tasks: of a source, whose partitions the tasks read themselves, and of a DataFrame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from firesteel.data.balance import Targets
from firesteel.data.engines import Cut, index_on_driver, write_source_partition
from firesteel.data.index import ClassIndex, class_index, index_partition
from firesteel.data.partition import write_partition
from firesteel.data.preparation import Engine, PreparePlan, Report
from firesteel.data.sources import ArraySpec, BsonSource, Row, Source
from firesteel.errors import ConfigError, DataError
from firesteel.spark.actions import collected
from firesteel.spark.barrier import map_partitions, map_tasks
from firesteel.spark.dealing import dealt
from firesteel.spark.index import INDEX_SCHEMA, index_by_sql
from firesteel.spark.tasks import task_world
from firesteel.specs import did_you_mean

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_SQL_INDEX_BYTES = 64 << 30
"""Of larger sources even (label, key) of every row may be too much for the driver; below, SQL's jobs only cost time."""


class SparkSourceEngine(Engine):
    """Reads a source in Spark tasks, one a partition. Data goes from storage to the task and back, past the JVM."""

    def __init__(self, spark: SparkSession, source: Source):
        self._spark, self._source, self._cut = spark, source, Cut(source)

    def sample(self, count: int) -> Iterator[Row]:
        return self._source.sample(count)

    def index(self, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
        if not isinstance(self._source, BsonSource):
            return index_on_driver(self._source, seed, fractions, targets)
        partitions = self._cut()
        if self._source.size_bytes < _SQL_INDEX_BYTES:
            tasks = [(self._source, part, seed) for part in partitions]
            return class_index(map_tasks(self._spark, index_partition, tasks), fractions, targets)
        frame = self._spark.range(0, len(partitions), 1, len(partitions)).mapInArrow(
            partial(_index_task, self._source, partitions, seed),
            INDEX_SCHEMA,
        )
        return index_by_sql(frame, fractions, targets)

    def write(self, plan: PreparePlan) -> list[Report]:
        partitions = self._cut(plan)
        source = self._source.for_task()
        arguments = [(plan, source, number, part) for number, part in enumerate(partitions)]
        return map_tasks(self._spark, _write_task, arguments)


def _write_task(plan: PreparePlan, source: Source, number: int, partition: Any) -> Report:
    return write_source_partition(plan, source.on(task_world()), number, partition)


def _index_task(
    source: Source, partitions: list[Any], seed: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield index_partition(source, partitions[number], seed)


# -- DataFrames -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """Which columns of a DataFrame are what.

    Attributes:
        features: an encoded picture (binary), Spark's image struct, an array of numbers, or an ML vector.
        label: the class; any scalar, used as text.
        id: unique name of a row; None names a row by the hash of its features.
        group: rows of one group never lie in two splits; None is the id.
        split: names the split of a row; None splits at random.
    """

    features: str
    label: str
    id: str | None = None
    group: str | None = None
    split: str | None = None


class DataFrameEngine(Engine):
    """Reads a DataFrame in Spark tasks.

    The DataFrame is read two times (classes and split, then the rows). If that costs much, or does not give the same
    rows each time, persist it first.
    """

    def __init__(self, frame: DataFrame, columns: Columns):
        self._columns = check_columns(frame, columns)
        self._frame = _selected(frame, columns)
        self.array = _array_spec(self._frame, columns)

    def sample(self, count: int) -> Iterator[Row]:
        yield from _rows(collected(self._frame.limit(count)))

    def own_splits(self) -> list[str]:
        """Values of the split column."""
        if self._columns.split is None:
            return []
        return sorted(row["split"] for row in collected(self._frame.select("split").distinct()) if row["split"])

    def index(self, seed: int, fractions: Sequence[float] | None, targets: Targets) -> ClassIndex:
        from pyspark.sql import functions as F

        usable = self._frame.where("label IS NOT NULL AND features IS NOT NULL")
        keyed = usable.select(
            "label",
            _key(seed, "group").alias("key"),
            _key(seed, "id").alias("row_key"),
            F.coalesce(F.col("split") == "train", F.lit(False)).alias("training"),
        )
        return index_by_sql(keyed, fractions, targets, grouped=self._columns.group is not None)

    def write(self, plan: PreparePlan) -> list[Report]:
        return map_partitions(self._frame, _write_frame_partition, (plan, self.array))

    def bring(self, seed: int, lanes: int) -> Callable[[int], DataFrame]:
        """What brings each worker the rows of its lanes, see :func:`dealt`."""
        from pyspark.sql import functions as F

        lane = _key(seed, F.concat(F.lit("lane:"), F.col("group"))) % lanes
        return partial(dealt, self._frame, lane, F.col("id"), lanes)

    @property
    def rows_of(self) -> Callable[[Iterable[pa.RecordBatch]], Iterator[Row]]:
        """Makes rows of what was brought."""
        return partial(_rows_of_batches, self.array)


def _key(seed: int, column: str | Column) -> Column:
    """The same number as split_key gives: the tasks compute it in Python."""
    from pyspark.sql import functions as F

    column = F.col(column) if isinstance(column, str) else column
    named = F.concat(F.lit(f"{seed}:"), F.coalesce(column, F.lit(""))).cast("binary")
    return F.conv(F.substring(F.md5(named), 1, 15), 16, 10).cast("bigint")


def check_columns(frame: DataFrame, columns: Columns) -> Columns:
    """Find out before a job runs that the columns are there.

    Raises:
        ConfigError: naming the column that is not, and those that are.
    """
    for role, name in vars(columns).items():
        if name is not None and name not in frame.columns:
            raise ConfigError(
                f"the DataFrame has no column {name!r} (wanted as {role}). It has {', '.join(frame.columns)}."
                f"{did_you_mean(name, frame.columns)}"
            )
    return columns


def holds_whole_rows(frame: DataFrame, name: str) -> bool:
    """Whether a column holds all that a network sees of a row (a picture, an array), and is no plain column of a table."""
    check_columns(frame, Columns(name, name))
    kind = frame.schema[name].dataType.simpleString().partition("(")[0]
    return kind not in ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "boolean", "timestamp",
                        "timestamp_ntz", "date", "string", "varchar", "char")  # fmt: skip


def _selected(frame: DataFrame, columns: Columns) -> DataFrame:
    """The columns id, group, label, split and features, whatever they were called."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, BinaryType, NumericType, StructType

    kind = frame.schema[columns.features].dataType
    features = F.col(f"`{columns.features}`")
    if type(kind).__name__ == "VectorUDT":
        from pyspark.ml.functions import vector_to_array

        features = vector_to_array(features, "float32")
    elif isinstance(kind, StructType) and {"data", "height", "width", "nChannels"} <= set(kind.names):
        pass
    elif isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType):
        features = features.cast("array<float>")
    elif not isinstance(kind, BinaryType):
        raise ConfigError(
            f"column {columns.features!r} is {kind.simpleString()}; features must be binary (an encoded picture),"
            " Spark's image struct, an array of numbers or an ML vector."
        )
    content = features if isinstance(kind, BinaryType) else F.to_json(F.struct(features))
    row_id = F.col(f"`{columns.id}`").cast("string") if columns.id else F.md5(content.cast("binary"))
    group = F.col(f"`{columns.group}`").cast("string") if columns.group else row_id
    split = F.col(f"`{columns.split}`").cast("string") if columns.split else F.lit(None).cast("string")
    return frame.select(
        row_id.alias("id"),
        F.coalesce(group, row_id).alias("group"),
        F.col(f"`{columns.label}`").cast("string").alias("label"),
        split.alias("split"),
        features.alias("features"),
    )


def _array_spec(frame: DataFrame, columns: Columns) -> ArraySpec | None:
    from pyspark.sql.types import ArrayType

    if not isinstance(frame.schema["features"].dataType, ArrayType):
        return None
    lengths = Counter(
        len(row["features"]) for row in collected(frame.select("features").where("features IS NOT NULL").limit(100))
    )
    if not lengths:
        raise DataError(f"column {columns.features!r} holds no array: all sampled rows are null, or there are none.")
    return ArraySpec("float32", (lengths.most_common(1)[0][0],))


def _write_frame_partition(
    plan: PreparePlan, array: ArraySpec | None, number: int, batches: Iterable[pa.RecordBatch]
) -> Report:
    return write_partition(plan, number, _rows_of_batches(array, batches))


def _rows_of_batches(array: ArraySpec | None, batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        yield from _rows(batch.to_pylist(), array)


def _rows(rows: Iterable[Any], array: ArraySpec | None = None) -> Iterator[Row]:
    for row in rows:
        value, problem, data = row["features"], None, b""
        if value is None:
            problem = "features are null"
        elif isinstance(value, bytes | bytearray):
            data = bytes(value)
        elif isinstance(value, list):
            data, problem = _array_bytes(value, array)
        else:
            data, problem = _image_struct_bytes(value)
        yield Row(row["id"] or "", data, row["label"], row["split"], row["group"] or "", problem)


def _array_bytes(values: list[Any], array: ArraySpec | None) -> tuple[bytes, str | None]:
    if array is not None and len(values) != array.shape[0]:
        return b"", f"array of another length: {len(values)} values, expected {array.shape[0]}"
    if any(value is None for value in values):
        return b"", "array with a null"
    return np.asarray(values, dtype=np.float32).tobytes(), None


def _image_struct_bytes(value: Any) -> tuple[bytes, str | None]:
    """Spark's image struct (raw BGR rows) as an uncompressed encoded picture."""
    import io

    from PIL import Image

    height, width, channels = value["height"], value["width"], value["nChannels"]
    raw = bytes(value["data"] or b"")
    if channels not in (1, 3, 4) or len(raw) != height * width * channels:
        return raw[:64], f"image struct of {len(raw)} bytes for {height}x{width}x{channels}"
    pixels = np.frombuffer(raw, np.uint8).reshape(height, width, channels)
    pixels = pixels[:, :, 0] if channels == 1 else pixels[:, :, [2, 1, 0, 3][:channels]]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue(), None
