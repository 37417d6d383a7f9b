"""Balanced datasets: the rows that each class was to have, copies of training rows alone, counts that add up."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firesteel.data.augmentation import Policy
from firesteel.data.augmentation.generate import Original, generate
from firesteel.data.balance import ALL_KEYS, Targets, quotas_of
from firesteel.data.manifest import Dataset
from firesteel.errors import ConfigError
from tests.conftest import picture
from tests.data.test_preparation import assert_whole, prepare, rows_of


def write_classes(root: Path, sizes: dict[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """A folder a class with so many noisy pictures."""
    for label, count in sizes.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            seed = 1000 * len(label) + number
            (root / label / f"{number:03d}.png").write_bytes(picture(40, size, format="PNG", seed=seed))
    return root


def original_of(row_id: str) -> str:
    return row_id.rpartition("+")[0] or row_id


def training_rows(dataset: Dataset) -> dict[str, int]:
    return dict(zip(dataset.manifest.labels, dataset.manifest.splits["train"].rows_per_class))


# -- how many -----------------------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 200), most=st.none() | st.integers(1, 250), balance=st.none() | st.integers(1, 500))
def test_shares_give_a_class_the_rows_asked_for(rows, most, balance):
    """Kept and generated together are N, or the class as it was where that is more; copies differ by one at most."""
    shares = Targets(most, balance).shares(rows)
    kept = min(rows, most or rows)
    assert shares.kept == kept
    assert shares.kept + shares.generated == (max(kept, balance or 0) if rows else 0)
    assert 0 <= shares.extra < max(1, kept)


@given(
    keys=st.lists(st.integers(0, ALL_KEYS), unique=True, max_size=60),
    most=st.none() | st.integers(1, 80),
    balance=st.none() | st.integers(1, 150),
)
def test_tasks_that_decide_row_by_row_reach_the_same_numbers(keys, most, balance):
    """Whoever asks for each row alone keeps and copies as many as the shares say, and the first in key order."""
    targets = Targets(most, balance)
    quota = quotas_of({"a": np.array(keys, np.int64)}, targets)["a"]
    decided = {key: quota.copies_of(key) for key in sorted(keys)}
    kept = [key for key, copies in decided.items() if copies is not None]
    assert kept == sorted(keys)[: quota.shares.kept]
    assert sum(decided[key] for key in kept) == quota.shares.generated
    assert [decided[key] for key in kept] == sorted((decided[key] for key in kept), reverse=True)


# -- whole preparations -------------------------------------------------------------------------------------------------


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "uneven", {"many": 40, "few": 7, "one": 1, "two": 2})


def test_each_class_has_the_rows_asked_for(uneven, tmp_path):
    """Generated up to N; a class that has more keeps its rows; test rows stay as they are."""
    dataset = prepare(uneven, tmp_path / "ds", balance=20).dataset

    assert training_rows(dataset) == {"few": 20, "many": 32, "one": 20, "two": 20}
    assert dataset.manifest.splits["test"].rows_per_class == [1, 8, 0, 0]
    generated = Counter(label for _, row_id, label, _ in rows_of(dataset) if "+" in row_id)
    assert generated == {"few": 14, "one": 19, "two": 18}
    assert dataset.manifest.counts.generated == 51
    assert_whole(dataset)
    plain = prepare(uneven, tmp_path / "plain").dataset
    assert {row for row in rows_of(dataset) if "+" not in row[1]} == set(rows_of(plain))


def test_generated_rows_name_their_original_and_are_what_its_number_gives(uneven, tmp_path):
    """Each picture can be generated again from its original, the seed and its number alone."""
    dataset = prepare(uneven, tmp_path / "ds", balance=20, seed=7, policy="light").dataset
    rows = {row_id: np.frombuffer(data, np.uint8).reshape(3, 8, 8) for _, row_id, _, data in rows_of(dataset)}
    copies = Counter()
    for row_id, pixels in rows.items():
        if "+" not in row_id:
            continue
        name, _, number = row_id.rpartition("+")
        (again,) = generate(Policy.of("light"), [(Original(name, rows[name]), int(number))], 7)
        np.testing.assert_array_equal(pixels, again)
        copies[name] += 1
    assert {count for name, count in copies.items() if name.startswith("few/")} == {2, 3}
    assert {count for name, count in copies.items() if name.startswith("one/")} == {19}
    assert dataset.manifest.parameters["policy"] == Policy.of("light").model_dump(mode="json")


def test_max_per_class_cuts_the_training_split_and_counts(uneven, tmp_path):
    dataset = prepare(uneven, tmp_path / "ds", max_per_class=5).dataset

    assert training_rows(dataset) == {"few": 5, "many": 5, "one": 1, "two": 2}
    assert dataset.manifest.splits["test"].rows_per_class == [1, 8, 0, 0]
    assert dataset.manifest.counts.dropped == 28
    assert any("28 training rows were dropped" in warning for warning in dataset.manifest.warnings)
    assert_whole(dataset)


def test_cut_grown_and_dropped_together(uneven, tmp_path):
    """min_per_class drops classes, max_per_class rows, balance generates: each record has one fate."""
    dataset = prepare(uneven, tmp_path / "ds", min_per_class=3, max_per_class=10, balance=10, workers=2).dataset

    assert training_rows(dataset) == {"few": 10, "many": 10}
    counts = dataset.manifest.counts
    assert (counts.read, counts.generated, counts.dropped) == (50, 4, 22 + 3)
    assert any("2 classes were dropped" in warning and "3 rows" in warning for warning in dataset.manifest.warnings)
    assert_whole(dataset)


def test_statistics_are_of_all_rows_that_are_trained_on(uneven, tmp_path):
    """Generated ones too: training normalises what it sees to mean 0 and deviation 1."""
    dataset = prepare(uneven, tmp_path / "ds", balance=25).dataset
    train = np.stack([np.frombuffer(row[3], np.uint8).reshape(3, 64) for row in rows_of(dataset) if row[0] == "train"])
    np.testing.assert_allclose(dataset.manifest.statistics.mean, (train / 255).mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.manifest.statistics.std, (train / 255).std((0, 2)), rtol=1e-9)


def test_number_of_processes_and_partitions_does_not_matter(uneven, tmp_path, monkeypatch):
    """Rows are the same in one process and in three, in 8 partitions and in 3."""
    from firesteel.data import engines

    options: dict[str, Any] = {"balance": 15, "max_per_class": 20}
    one = prepare(uneven, tmp_path / "one", workers=1, **options).dataset
    three = prepare(uneven, tmp_path / "three", workers=3, **options).dataset
    monkeypatch.setattr(engines, "_PARTITIONS", 3)
    other = prepare(uneven, tmp_path / "other", workers=1, **options).dataset

    assert rows_of(one) == rows_of(three) == rows_of(other)
    assert one.manifest.statistics == three.manifest.statistics == other.manifest.statistics
    assert one.manifest.fingerprint == three.manifest.fingerprint
    again = prepare(uneven, tmp_path / "one", **options)
    assert again.reused


def test_another_seed_or_policy_is_another_dataset(uneven, tmp_path):
    datasets = [
        prepare(uneven, tmp_path / str(number), balance=15, **options).dataset
        for number, options in enumerate([{}, {"seed": 1}, {"policy": "light"}, {"policy": "default"}])
    ]
    assert len({dataset.manifest.fingerprint for dataset in datasets}) == 4
    generated = [{row[1:] for row in rows_of(dataset) if "+" in row[1]} for dataset in datasets]
    assert generated[0] == generated[3]
    assert generated[0] != generated[1]
    assert generated[0] != generated[2]


def test_broken_originals_leave_a_class_short_and_it_is_said(uneven, tmp_path):
    """A picture that turns out to be broken is quarantined; the copies that it was to have are missing, and counted."""
    (uneven / "few" / "000.png").write_bytes(b"not a picture")
    for number in range(20, 40):
        (uneven / "many" / f"{number:03d}.png").write_bytes(b"\x89PNG broken")
    dataset = prepare(uneven, tmp_path / "ds", balance=33).dataset

    found, counts = training_rows(dataset), dataset.manifest.counts
    assert found["one"] == found["two"] == 33
    assert found["many"] < 33
    assert counts.quarantined == 21
    assert counts.read + counts.generated == counts.written + counts.quarantined
    (warning,) = [warning for warning in dataset.manifest.warnings if "than planned" in warning]
    assert f"'many' {found['many']} of 33" in warning
    assert_whole(dataset)


def test_jpeg_datasets_are_balanced_too(uneven, tmp_path):
    dataset = prepare(uneven, tmp_path / "ds", balance=12, encoding="jpeg").dataset
    assert training_rows(dataset) == {"few": 12, "many": 32, "one": 12, "two": 12}


def test_an_own_split_is_kept(idx_folder, tmp_path):
    """idx files bring their split; the training one is balanced, and grey pictures stay grey."""
    dataset = prepare(idx_folder, tmp_path / "ds", balance=15, workers=2).dataset
    assert dataset.manifest.splits["train"].rows_per_class == [15] * 10
    assert dataset.manifest.splits["test"].rows == 30
    assert dataset.feature.shape == (1, 8, 8)
    assert dataset.manifest.counts.generated == 30
    assert_whole(dataset)


def test_a_split_of_training_rows_alone(uneven, tmp_path):
    dataset = prepare(uneven, tmp_path / "ds", balance=45, split="train=1").dataset
    assert training_rows(dataset) == {"few": 45, "many": 45, "one": 45, "two": 45}


def test_pictures_of_one_product_are_copied_each_for_itself(tmp_path):
    """Products stay whole in their split; rows are counted, not products."""
    documents = [
        {"_id": n, "category_id": n % 2, "imgs": [{"picture": picture(9, (8, 8), format="PNG", seed=10 * n + i)} for i in range(1 + n % 3)]}
        for n in range(24)
    ]  # fmt: skip
    (tmp_path / "a.bson").write_bytes(b"".join(bson.encode(document) for document in documents))
    dataset = prepare(tmp_path / "a.bson", tmp_path / "ds", balance=50, workers=2).dataset

    assert dataset.manifest.splits["train"].rows_per_class == [50, 50]
    products = {}
    for split, row_id, *_ in rows_of(dataset):
        products.setdefault(original_of(row_id).partition("_")[0], set()).add(split)
    assert all(len(splits) == 1 for splits in products.values())
    cut = prepare(tmp_path / "a.bson", tmp_path / "cut", max_per_class=7).dataset
    assert cut.manifest.splits["train"].rows_per_class == [7, 7]
    assert_whole(dataset)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    balance=st.integers(1, 20),
    fraction=st.sampled_from([0.5, 0.8]),
    seed=st.integers(0, 10**6),
)
def test_no_copy_has_its_original_outside_of_the_training_split(sizes, balance, fraction, seed):
    """Whatever the classes, N, the split and the seed; and the rows of the other splits are originals."""
    with tempfile.TemporaryDirectory() as folder:
        source = write_classes(Path(folder) / "src", {"c" * (1 + n): size for n, size in enumerate(sizes)}, (4, 4))
        split = f"train={fraction},validation={(1 - fraction) / 2},test={(1 - fraction) / 2}"
        dataset = prepare(source, Path(folder) / "ds", balance=balance, split=split, seed=seed).dataset
        where = {row_id: name for name, row_id, *_ in rows_of(dataset)}
        assert len(where) == dataset.manifest.counts.written
        for row_id, name in where.items():
            assert where[original_of(row_id)] == name
            assert name == "train" or "+" not in row_id
        for label, rows in training_rows(dataset).items():
            originals = sum(
                "+" not in row_id and row_id.startswith(f"{label}/")
                for row_id, name in where.items()
                if name == "train"
            )
            assert rows == max(originals, balance)


# -- wrong use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "light"}, "a policy is for generated pictures, which --balance N asks for"),
        ({"balance": 10, "max_per_class": 5}, "max_per_class must be at least balance, got 5 and 10"),
        ({"balance": 0}, "balance: input should be greater than or equal to 1"),
        ({"balance": 5, "policy": "hard"}, "there is no policy 'hard'"),
        ({"balance": 5, "policy": "nowhere.yaml"}, "cannot read the policy"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(options, message, uneven, tmp_path):
    with pytest.raises(ConfigError) as caught:
        prepare(uneven, tmp_path / "ds", **options)
    assert message in str(caught.value)
    assert not (tmp_path / "ds").exists()


def test_arrays_that_are_no_pictures_cannot_be_generated(tmp_path):
    """What to do instead is said."""
    from tests.conftest import write_idx

    (tmp_path / "src").mkdir()
    write_idx(tmp_path / "src" / "train-images-idx2-ubyte", np.zeros((6, 4), np.uint8))
    write_idx(tmp_path / "src" / "train-labels-idx1-ubyte", np.array([0, 0, 0, 0, 1, 1], np.uint8))
    with pytest.raises(ConfigError, match="--sampling balanced"):
        prepare(tmp_path / "src", tmp_path / "ds", balance=10)
    assert not (tmp_path / "ds" / "manifest.json").exists()
