"""Shards: Parquet files with columns ``id``, ``label`` and ``features``, written whole and read in slices.

A shard is mixed before it is written, so that any slice of it is a sample of it, also where the source was sorted by
class. Pages carry checksums, which the reader verifies.
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from firesteel.data.manifest import Feature, Shard
from firesteel.errors import DatasetError
from firesteel.storage import Place

ROW_GROUP_BYTES = 4 << 20
"""Smaller groups let a worker read its slice of a shard without the rest; larger ones cost fewer requests."""

_WRITE_BYTES = 64 << 10
"""What is summed up and written at once: it is in the processor's cache then, and Linux 6 takes several times as long for
larger writes where it must find memory in one piece (ext4)."""

_WRITE_ROWS = 64
"""Rows that Arrow encodes at a time: of pictures its default, 1,024, do not stay in the processor's cache."""

_ID = pa.field("id", pa.string())


@dataclass(frozen=True)
class WrittenShard:
    """A shard that a task has written, and how many rows of each class it holds."""

    shard: Shard
    rows_per_class: dict[int, int]


class ShardWriter:
    """Collects the rows of one split in one task and writes a shard whenever enough are there.

    Memory: one shard, plus one row group while it is written.
    """

    def __init__(
        self,
        dataset: Place,
        split: str,
        feature: Feature,
        *,
        shard_bytes: int,
        name: str,
        seed: int,
        check: Callable[[], None] = lambda: None,
    ):
        """
        Args:
            dataset: the folder of the dataset.
            split: folder in it.
            feature: what a row holds.
            shard_bytes: a shard is written when its features reach this.
            name: of the files; unique to the attempt of the task.
            seed: of the mixing.
            check: raises if this task may not write here any more.
        """
        self._dataset, self._split, self._feature, self._name = dataset, split, feature, name
        self._shard_bytes, self._seed, self._check = shard_bytes, seed, check
        self._rows: _RawRows | _EncodedRows = (
            _RawRows(feature, shard_bytes) if feature.encoding == "raw" else _EncodedRows()
        )
        self._ids: list[str] = []
        self._labels: list[int] = []
        self.written: list[WrittenShard] = []

    def add(self, row_id: str, label: int, features: Any) -> None:
        """Add a row: for ``raw`` an array of the feature's dtype and shape, for ``jpeg`` its bytes."""
        self._rows.add(features)
        self._ids.append(row_id)
        self._labels.append(label)
        if self._rows.num_bytes >= self._shard_bytes:
            self._write()

    def close(self) -> list[WrittenShard]:
        """Write what is left; return all shards of this writer."""
        if self._ids:
            self._write()
        return self.written

    def _write(self) -> None:
        number = len(self.written)
        path = f"{self._split}/{self._name}-{number:04d}.parquet"
        order = np.random.default_rng([self._seed, number, zlib.crc32(self._split.encode())]).permutation(
            len(self._ids)
        )
        rows_per_class = Counter(self._labels)
        shard = _write_parquet(self._dataset, path, self._tables(order), self._check)
        self.written.append(WrittenShard(shard, dict(sorted(rows_per_class.items()))))
        self._rows.clear()
        self._ids, self._labels = [], []

    def _tables(self, order: np.ndarray) -> Iterator[pa.Table]:
        rows_per_group = max(1, len(order) * ROW_GROUP_BYTES // max(1, self._rows.num_bytes))
        schema = _schema(self._feature)
        for start in range(0, len(order), rows_per_group):
            part = order[start : start + rows_per_group]
            columns = [
                pa.array([self._ids[i] for i in part], pa.string()),
                pa.array([self._labels[i] for i in part], pa.int32()),
                self._rows.take(part),
            ]
            yield pa.Table.from_arrays(columns, schema=schema)


class _RawRows:
    """Rows of fixed size, one behind the other: nothing is allocated for a row, and Arrow takes them as they lie."""

    def __init__(self, feature: Feature, shard_bytes: int):
        row = np.dtype(feature.dtype).itemsize * math.prod(feature.shape)
        self._values = np.empty((-(-shard_bytes // row), *feature.shape), dtype=feature.dtype)
        self._type = _schema(feature).field("features").type
        self._count, self._row_bytes = 0, row

    @property
    def num_bytes(self) -> int:
        return self._count * self._row_bytes

    def add(self, features: np.ndarray) -> None:
        self._values[self._count] = features
        self._count += 1

    def take(self, positions: np.ndarray) -> pa.Array:
        taken = self._values[positions]
        return pa.Array.from_buffers(self._type, len(positions), [None, pa.py_buffer(taken)])

    def clear(self) -> None:
        self._count = 0


class _EncodedRows:
    """Rows of any size, as bytes."""

    def __init__(self) -> None:
        self._values: list[bytes] = []
        self.num_bytes = 0

    def add(self, features: bytes) -> None:
        self._values.append(features)
        self.num_bytes += len(features)

    def take(self, positions: np.ndarray) -> pa.Array:
        return pa.array([self._values[i] for i in positions], pa.binary())

    def clear(self) -> None:
        self._values, self.num_bytes = [], 0


def write_quarantine(
    dataset: Place, name: str, entries: list[dict[str, Any]], check: Callable[[], None] = lambda: None
) -> Shard:
    """Write the records that could not be used: ``place``, ``reason`` and ``head`` (their first bytes)."""
    schema = pa.schema([("place", pa.string()), ("reason", pa.string()), ("head", pa.binary())])
    table = pa.Table.from_pylist(entries, schema=schema)
    return _write_parquet(dataset, f"quarantine/{name}.parquet", iter([table]), check)


def read_slice(
    dataset: Place, shard: Shard, feature: Feature, start: int, stop: int
) -> Iterator[tuple[Any, np.ndarray]]:
    """Read rows ``start <= row < stop`` of a shard, a row group at a time.

    Yields:
        features: for ``raw`` an array of shape (rows, *feature.shape); for ``jpeg`` a list of bytes.
        labels: int64 of shape (rows,).

    Raises:
        DatasetError: if the shard is missing, damaged, or not what the manifest says.
    """
    for table in _read_groups(dataset, shard, start, stop, _schema(feature, ["label", "features"])):
        labels = table.column("label").to_numpy().astype(np.int64)
        column = table.column("features").combine_chunks()
        if feature.encoding == "jpeg":
            yield column.to_pylist(), labels
            continue
        # Fixed-size values lie one behind the other: no copy, no Python object a row.
        flat = np.frombuffer(column.buffers()[1], dtype=feature.dtype)
        values = math.prod(feature.shape)
        rows = flat[column.offset * values : (column.offset + len(column)) * values]
        yield rows.reshape(len(column), *feature.shape), labels


def read_names(dataset: Place, shard: Shard, feature: Feature, start: int, stop: int) -> Iterator[tuple[str, int]]:
    """Id and label of rows ``start <= row < stop`` of a shard."""
    for table in _read_groups(dataset, shard, start, stop, _schema(feature, ["id", "label"])):
        yield from zip(table.column("id").to_pylist(), table.column("label").to_pylist())


def read_ids(dataset: Place, shard: Shard, start: int, stop: int) -> list[str]:
    """Ids of rows ``start <= row < stop`` of a shard."""
    tables = _read_groups(dataset, shard, start, stop, pa.schema([_ID]))
    return [row_id for table in tables for row_id in table.column("id").to_pylist()]


def _schema(feature: Feature, columns: Sequence[str] = ("id", "label", "features")) -> pa.Schema:
    row_bytes = math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
    features = pa.field("features", pa.binary(row_bytes) if feature.encoding == "raw" else pa.binary())
    fields = {"id": _ID, "label": pa.field("label", pa.int32()), "features": features}
    return pa.schema([fields[name] for name in columns])


class _Hashing:
    """A file for pyarrow to write to, which sums up what passes through."""

    def __init__(self, file: IO[bytes]):
        self._file, self.sha256, self.size = file, hashlib.sha256(), 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _WRITE_BYTES):
            piece = view[start : start + _WRITE_BYTES]
            self.sha256.update(piece)
            self._file.write(piece)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def _write_parquet(dataset: Place, path: str, tables: Iterator[pa.Table], check: Callable[[], None]) -> Shard:
    rows = 0
    check()
    with (dataset / path).writing() as file:
        sink = _Hashing(file)
        writer = None
        for table in tables:
            if writer is None:
                # Pictures do not compress; what does (labels, ids) is small.
                writer = pq.ParquetWriter(
                    sink, table.schema, compression="none", use_dictionary=False, write_page_checksum=True,
                    write_statistics=False, write_batch_size=_WRITE_ROWS,
                )  # fmt: skip
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            rows += table.num_rows
        assert writer is not None, "a shard is written only for rows"
        writer.close()
        check()
    return Shard(path=path, rows=rows, bytes=sink.size, sha256=sink.sha256.hexdigest())


def _read_groups(dataset: Place, shard: Shard, start: int, stop: int, schema: pa.Schema) -> Iterator[pa.Table]:
    place = dataset / shard.path
    try:
        if place.is_local:
            if os.path.getsize(place.uri) != shard.bytes:
                raise DatasetError(
                    f"{place} has {os.path.getsize(place.uri)} bytes, its manifest says {shard.bytes}."
                    " Prepare the dataset again."
                )
            source: Any = pa.memory_map(place.uri)
        else:
            source = place.open()
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            group_rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            if sum(group_rows) != shard.rows:
                raise DatasetError(
                    f"{place} holds {sum(group_rows)} rows, its manifest says {shard.rows}. Prepare the dataset again."
                )
            first = 0
            for group, rows in enumerate(group_rows):
                low, high = max(start, first), min(stop, first + rows)
                if low < high:
                    table = file.read_row_group(group, columns=schema.names)
                    if table.num_rows != rows or not table.schema.equals(schema):
                        raise DatasetError(
                            f"{place} is not a shard of this dataset: its columns are"
                            f" {', '.join(file.schema_arrow.names)}. Prepare the dataset again."
                        )
                    yield table.slice(low - first, high - low)
                first += rows
    except DatasetError:
        raise
    # Where a damaged footer is not refused by Arrow, Python stumbles over names and numbers in it.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError):
            raise DatasetError(
                f"{place} is missing, though the manifest names it. Prepare the dataset again."
            ) from error
        raise DatasetError(
            f"{place} is damaged: {(str(error) or repr(error)).splitlines()[0]}. Prepare the dataset again."
        ) from error
