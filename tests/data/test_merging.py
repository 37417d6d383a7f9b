"""Several prepared datasets as one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import firesteel
from firesteel.data.manifest import Dataset
from firesteel.data.sources.dataset import DatasetSource
from firesteel.errors import ConfigError, DatasetError
from firesteel.storage import Place
from tests.conftest import picture
from tests.data.test_preparation import assert_whole


def prepared(root: Path, name: str, classes: str, **options: object) -> Dataset:
    for number, label in enumerate(classes):
        (root / name / label).mkdir(parents=True)
        for i in range(6):
            (root / name / label / f"{i}.png").write_bytes(picture(30 * number, (8, 8), format="PNG", seed=i))
    return firesteel.prepare(root / name, root / f"{name}-ds", engine="local", workers=1, **options).dataset  # type: ignore[arg-type]


def rows_of(dataset: Dataset) -> Counter[tuple[str | None, str | None, bytes]]:
    source = DatasetSource.open(dataset.place)
    return Counter((row.split, row.label, row.data) for part in source.partitions(1) for row in source.rows_of(part))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_all_rows_are_there_in_their_split_and_class(encoding: str, tmp_path: Path) -> None:
    a, b = prepared(tmp_path, "a", "zc", encoding=encoding), prepared(tmp_path, "b", "bc", encoding=encoding)
    found = firesteel.merge([a.place.uri, b.place.uri], tmp_path / "both", engine="local", workers=2)
    manifest = found.dataset.manifest
    assert manifest.labels == ["c", "z", "b"]  # those of the first dataset first, as it numbers them
    assert (manifest.counts.read, manifest.counts.written, manifest.feature) == (24, 24, a.feature)
    if encoding == "raw":
        assert_whole(found.dataset)
        assert rows_of(found.dataset) == rows_of(a) + rows_of(b)
    ids = [
        row.id
        for part in [DatasetSource.open(found.dataset.place)]
        for each in part.partitions(1)
        for row in part.rows_of(each)
    ]
    assert len(set(ids)) == 24
    assert firesteel.merge([a.place.uri, b.place.uri], tmp_path / "both", engine="local").reused


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    a, small = prepared(tmp_path, "a", "ab"), prepared(tmp_path, "s", "ab", size=(4, 4))
    b = prepared(tmp_path, "b", "ab")
    with pytest.raises(ConfigError, match="3x4x4 uint8, raw"):
        firesteel.merge([a.place.uri, small.place.uri], tmp_path / "both", engine="local")
    with pytest.raises(ConfigError, match="needs two datasets or more"):
        firesteel.merge([a.place.uri], tmp_path / "both", engine="local")
    with pytest.raises(DatasetError, match="not a prepared dataset"):
        firesteel.merge([a.place.uri, tmp_path], tmp_path / "both", engine="local")
    for lost in (a.place.uri, str(tmp_path / "a-ds" / "inner")):
        with pytest.raises(ConfigError, match="would take the place of"):
            firesteel.merge([b.place.uri, a.place.uri], lost, engine="local", overwrite=True)
    with pytest.raises(ConfigError, match="would take the place of"):
        firesteel.prepare(a.place.uri, a.place.uri, engine="local", overwrite=True)
    assert Dataset.open(Place.of(a.place.uri)).manifest == a.manifest
