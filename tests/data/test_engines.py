"""Into how many partitions a source is cut."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from firesteel.data.engines import partition_count


@pytest.mark.parametrize(
    ("size_bytes", "expected"), [(0, 8), (1, 8), (8 * 64 << 20, 8), ((8 * 64 << 20) + 1, 16), (1000 * 64 << 20, 1000)]
)
def test_partitions_are_a_multiple_of_eight_by_size(size_bytes, expected):
    """Two, four or eight equal workers end together; a source of the same size is always cut alike."""
    assert partition_count(SimpleNamespace(size_bytes=size_bytes, rows=None)) == expected
