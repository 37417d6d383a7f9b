"""Feature vectors as a file: NumPy's array beside a list of names, or Parquet with both."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from firesteel.errors import ConfigError
from firesteel.storage import Place

SUFFIXES = (".npy", ".parquet")
_ROWS = 1024


class VectorWriter(ABC):
    """Writes vectors of one size, one after the other.

    Attributes:
        count: of those written.
    """

    def __init__(self) -> None:
        self.count = 0
        self._names: list[str] = []
        self._vectors: list[np.ndarray] = []

    def add(self, name: str, vector: np.ndarray) -> None:
        """Add float32 of shape (F,)."""
        self._names.append(name)
        self._vectors.append(vector)
        self.count += 1
        if len(self._names) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._names:
            self._write(self._names, np.stack(self._vectors))
            self._names, self._vectors = [], []

    @abstractmethod
    def _write(self, names: list[str], vectors: np.ndarray) -> None:
        """Write some, (B, F)."""


class _Npy(VectorWriter):
    """``FILE.npy`` of shape (N, F), and ``FILE.npy.names.txt`` with the name of each row on a line of its own.

    What ends a line in a name is written as ``\\n`` or ``\\r``.
    """

    def __init__(self, file: IO[bytes], names: IO[bytes]):
        super().__init__()
        self._file, self._list, self._size = file, names, 0
        self._header()

    def _header(self) -> None:
        # numpy leaves room in a header for the first dimension to grow: written again, it is as long as it was.
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.count, self._size)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _write(self, names: list[str], vectors: np.ndarray) -> None:
        if not self._size:
            self._size = vectors.shape[1]
            self._file.seek(0)
            self._header()
        self._file.write(np.ascontiguousarray(vectors, "<f4").data)
        lines = [name.replace("\n", "\\n").replace("\r", "\\r") for name in names]
        self._list.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def finish(self) -> None:
        self.flush()
        self._file.seek(0)
        self._header()


class _Parquet(VectorWriter):
    """Columns ``file`` and ``vector`` (a list of F float32)."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def _write(self, names: list[str], vectors: np.ndarray) -> None:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
        printable = [name.encode("utf-8", "replace").decode() for name in names]
        table = pa.table({"file": pa.array(printable, pa.string()), "vector": lists})
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        self.flush()
        if self._writer is None:
            self._write([], np.zeros((0, 1), np.float32))
        assert self._writer is not None
        self._writer.close()


@contextlib.contextmanager
def vector_writer(file: str) -> Iterator[VectorWriter]:
    """What writes vectors to a file, which appears when the block ends well.

    Raises:
        ConfigError: for a name that says no format.
    """
    place = Place.of(file)
    if not place.name.lower().endswith(SUFFIXES):
        raise ConfigError(f"vectors are written to FILE.npy or FILE.parquet, got {file!r}.")
    if place.name.lower().endswith(".parquet"):
        with place.writing_path() as path:
            writer = _Parquet(path)
            yield writer
            writer.finish()
        return
    with place.writing_path() as path, Place(f"{place.uri}.names.txt").writing() as names, open(path, "wb") as opened:
        array = _Npy(opened, names)
        yield array
        array.finish()


__all__ = ["SUFFIXES", "VectorWriter", "vector_writer"]
