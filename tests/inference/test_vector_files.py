"""Files of vectors, read back with the libraries that others read them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from firesteel.errors import ConfigError
from firesteel.inference.vector_files import VectorWriter, vector_writer


@pytest.mark.parametrize("rows", [0, 3, 2500])
def test_vectors_and_names_come_back(rows: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    for name in ("v.npy", "v.parquet"):
        with vector_writer(str(tmp_path / name)) as writer:
            for number, vector in enumerate(vectors):
                writer.add(f"{number}.jpg", vector)
        assert writer.count == rows
    found = np.load(tmp_path / "v.npy")
    assert found.dtype == np.float32
    assert len(found) == rows
    table = pq.read_table(tmp_path / "v.parquet")
    names = [f"{number}.jpg" for number in range(rows)]
    assert table.column("file").to_pylist() == names
    assert (tmp_path / "v.npy.names.txt").read_text().split() == names
    if rows:
        np.testing.assert_array_equal(found, vectors)
        np.testing.assert_array_equal(np.array(table.column("vector").to_pylist(), np.float32), vectors)


def test_a_name_is_one_line_whatever_it_holds(tmp_path: Path) -> None:
    with vector_writer(str(tmp_path / "v.npy")) as writer:
        for name in ("a\nb.jpg", "c\r.jpg", "d.jpg"):
            writer.add(name, np.zeros(2, np.float32))
    assert (tmp_path / "v.npy.names.txt").read_bytes() == b"a\\nb.jpg\nc\\r.jpg\nd.jpg\n"


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    for name in ("v.npy", "v.parquet"):
        with pytest.raises(IndexError), vector_writer(str(tmp_path / name)) as writer:
            _fail(writer)
    assert not list(tmp_path.iterdir())


def _fail(writer: VectorWriter) -> None:
    for _ in range(1500):
        writer.add("a", np.zeros(2, np.float32))
    raise IndexError("stop")


def test_other_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"FILE\.npy or FILE\.parquet, got 'v\.csv'"), vector_writer("v.csv"):
        pass
