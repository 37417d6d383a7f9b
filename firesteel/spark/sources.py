"""Firesteel's sources as Spark data sources, for SQL and DataFrames.

::

    firesteel.spark.register(spark)
    spark.read.format("firesteel-bson").load("train.bson").groupBy("label").count()

All have the columns ``id, group, label, split, data, problem`` (see :mod:`firesteel.data.sources`). Broken records are
rows whose ``problem`` is not null. Option ``withData=false`` leaves ``data`` empty and is much faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.types import BinaryType, StringType, StructField, StructType

from firesteel.data.sources import LABEL_OPTIONS, Source, open_source
from firesteel.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = StructType(
    [StructField(name, StringType()) for name in ("id", "group", "label", "split")]
    + [StructField("data", BinaryType()), StructField("problem", StringType())]
)

_PARTITION_BYTES = 16 << 20
_OPTIONS = {
    name.replace("_", ""): name for name in ("id_field", "label_field", "picture_field", *LABEL_OPTIONS, "label_level")
}


def register(spark: SparkSession) -> None:
    """Make ``firesteel-images``, ``-bson``, ``-idx``, ``-cifar`` and ``-dataset`` known to a session."""
    for kind in (ImagesDataSource, BsonDataSource, IdxDataSource, CifarDataSource, DatasetDataSource):
        spark.dataSource.register(kind)


class _Partition(InputPartition):
    def __init__(self, value: Any):
        self.value = value


class _Reader(DataSourceReader):
    """Reads a Firesteel source; the partitions are its own."""

    def __init__(self, source: Source, partitions: int | None, with_data: bool):
        self._source, self._count, self._with_data = source, partitions, with_data

    def partitions(self) -> list[InputPartition]:
        count = self._count or max(1, -(-self._source.size_bytes // _PARTITION_BYTES))
        return [_Partition(part) for part in self._source.partitions(count)]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_source": self._source.for_task()}  # tasks get their partition beside the reader

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        yield from self._source.read(partition.value, with_data=self._with_data)


class _FiresteelDataSource(DataSource):
    """Options: ``path``; ``partitions`` (how many); ``withData`` (true)."""

    format = "auto"

    def schema(self) -> StructType:
        return SCHEMA

    def reader(self, schema: StructType) -> DataSourceReader:
        options = {key.lower(): value for key, value in self.options.items()}
        path = options.get("path")
        if not path:
            raise ConfigError(f"format {self.name()} needs a path: spark.read.format(...).load(PATH)")
        fields = {_OPTIONS[key]: value for key, value in options.items() if key in _OPTIONS}
        count = options.get("partitions")
        if count is not None and not (count.isdigit() and int(count) > 0):
            raise ConfigError(f"option partitions must be a whole number above 0, got {count!r}.")
        with_data = options.get("withdata", "true").lower() == "true"
        return _Reader(open_source(path, self.format, **fields), int(count) if count else None, with_data)


class ImagesDataSource(_FiresteelDataSource):
    """Folders and archives of pictures; further options: ``labels``, ``fileColumn``, ``labelColumn``, ``splitColumn``,
    ``labelPattern``.
    """

    format = "images"

    @classmethod
    def name(cls) -> str:
        return "firesteel-images"


class BsonDataSource(_FiresteelDataSource):
    """A BSON dump; further options: ``idField``, ``labelField``, ``pictureField``."""

    format = "bson"

    @classmethod
    def name(cls) -> str:
        return "firesteel-bson"


class IdxDataSource(_FiresteelDataSource):
    """idx arrays with their labels; ``data`` holds the raw bytes of each array."""

    format = "idx"

    @classmethod
    def name(cls) -> str:
        return "firesteel-idx"


class CifarDataSource(_FiresteelDataSource):
    """CIFAR-10 or CIFAR-100, binary version; ``data`` holds 3072 bytes; further option: ``labelLevel``."""

    format = "cifar"

    @classmethod
    def name(cls) -> str:
        return "firesteel-cifar"


class DatasetDataSource(_FiresteelDataSource):
    """A prepared dataset: the rows of all its splits, as it stores them."""

    format = "dataset"

    @classmethod
    def name(cls) -> str:
        return "firesteel-dataset"
