"""Metrics come from summed counts, and are scikit-learn's."""

from __future__ import annotations

import json
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torch import nn

from firesteel.evaluation.counts import ClassificationCounts, Evaluation, metrics_of
from firesteel.evaluation.worker import count_batch

NAMES = [f"class {i}" for i in range(50)]

PREDICTIONS = st.integers(1, 7).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60),
    )
)
"""How many classes there are, and (true, predicted) of each row; most often some class is absent."""


def counted(true: list[int], predicted: list[int], classes: int) -> ClassificationCounts:
    counts = ClassificationCounts.zero(classes)
    np.add.at(counts.confusion, (true, predicted), 1)
    return counts


def evaluated(
    logits: np.ndarray, labels: np.ndarray, batch_size: int, class_of_label: list[int] | None = None
) -> Evaluation:
    """The metrics of a model that gives these logits, counted batch by batch."""
    classes = logits.shape[1]
    mapping = torch.tensor(class_of_label if class_of_label is not None else range(classes))
    parts = [
        count_batch(
            nn.Identity(),
            torch.from_numpy(logits[start : start + batch_size]),
            torch.from_numpy(labels[start : start + batch_size]),
            mapping,
        )
        for start in range(0, len(labels), batch_size)
    ]
    return metrics_of(reduce(add, parts), NAMES[:classes])


@given(case=PREDICTIONS)
def test_metrics_are_scikit_learns(case):
    """Accuracy, macro precision, recall and F1, also where classes are absent or never predicted."""
    classes, rows = case
    true, predicted = map(list, zip(*rows))

    found = metrics_of(counted(true, predicted, classes), NAMES[:classes])

    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1), abs=1e-12)
    assert found.rows == len(rows)


@given(case=PREDICTIONS)
def test_each_class_is_scikit_learns(case):
    """Precision, recall, F1 and rows of every class, and the confusion matrix, true classes in rows."""
    classes, rows = case
    true, predicted = map(list, zip(*rows))
    labels = list(range(classes))

    found = metrics_of(counted(true, predicted, classes), NAMES[:classes])

    expected = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    np.testing.assert_allclose([entry.precision for entry in found.classes], expected[0], atol=1e-12)
    np.testing.assert_allclose([entry.recall for entry in found.classes], expected[1], atol=1e-12)
    np.testing.assert_allclose([entry.f1 for entry in found.classes], expected[2], atol=1e-12)
    assert [entry.rows for entry in found.classes] == expected[3].tolist()
    assert [entry.label for entry in found.classes] == NAMES[:classes]
    if classes > 1:  # of one class alone, scikit-learn warns
        np.testing.assert_array_equal(found.confusion, confusion_matrix(true, predicted, labels=labels))
    assert [entry.predicted for entry in found.classes] == found.confusion.sum(axis=0).tolist()


@pytest.mark.parametrize("classes", [6, 10, 50])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_counting_batches_is_scoring_all_rows(classes, batch_size):
    """Whatever the batches, accuracy, top-5 and loss are those of all rows at once, by scikit-learn and torch."""
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(200, classes)).astype(np.float32)
    labels = generator.integers(0, classes - 2, 200)  # two classes are absent
    logits[np.arange(200), labels] += 1

    found = evaluated(logits, labels, batch_size)

    every = list(range(classes))
    assert found.top5 == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=every), abs=1e-12)
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(1)), abs=1e-12)
    loss = nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
    assert found.loss == pytest.approx(float(loss), rel=1e-6)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(labels, logits.argmax(1), labels=every))


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_with_five_classes_or_fewer_top5_is_certain(classes):
    """The five most probable of five classes are all of them."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40, classes)).astype(np.float32)

    assert evaluated(logits, generator.integers(0, classes, 40), 16).top5 == 1.0


def test_the_mean_of_batch_means_would_be_wrong():
    """Nine right rows in one batch and one wrong in another make 0.9, not 0.5; the loss is weighted likewise."""
    logits = np.array([[20.0, 0.0]] * 10, np.float32)
    labels = np.array([0] * 9 + [1])

    found = evaluated(logits, labels, batch_size=9)

    assert found.accuracy == 0.9
    assert found.loss == pytest.approx(2.0, abs=1e-6)  # 20 for the wrong row, nothing for the others


def test_labels_of_a_dataset_are_the_models_by_name():
    """Where dataset and model number the classes differently, the model's numbers count."""
    logits = np.eye(3, dtype=np.float32)[[2, 0, 1]] * 10  # predicts 2, 0, 1
    labels = np.array([0, 1, 2])  # of the dataset, whose classes are the model's 2, 0 and 1

    found = evaluated(logits, labels, 2, class_of_label=[2, 0, 1])

    assert found.accuracy == 1.0
    assert np.diag(found.confusion).tolist() == [1, 1, 1]


@given(case=PREDICTIONS, cuts=st.lists(st.integers(0, 60), max_size=4), order=st.randoms(use_true_random=False))
def test_merging_is_counting_at_once(case, cuts, order):
    """Counts of parts, added in any order, are the counts of the whole; adding nothing changes nothing."""
    classes, rows = case
    true, predicted = map(list, zip(*rows))
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [counted(true[a:b], predicted[a:b], classes) for a, b in pairwise(edges)]
    for part, size in zip(parts, np.diff(edges)):
        part.top5, part.loss_sum = int(size), 0.25 * int(size)  # quarters add up exactly in any order
    parts.append(ClassificationCounts.zero(classes))
    order.shuffle(parts)

    merged = reduce(add, parts)

    np.testing.assert_array_equal(merged.confusion, counted(true, predicted, classes).confusion)
    assert (merged.rows, merged.top5, merged.loss_sum) == (len(rows), len(rows), 0.25 * len(rows))


def test_adding_leaves_the_parts_as_they_were():
    """The sum is new: a part can be added twice, to two sums."""
    part = counted([0, 1], [0, 0], 2)
    total = ClassificationCounts.zero(2)

    total += part
    total += part

    assert total.rows == 4
    assert part.confusion.tolist() == [[1, 0], [1, 0]]


@given(case=PREDICTIONS, top5=st.integers(0, 60), loss_sum=st.floats(0, 1e9))
def test_counts_travel_as_json(case, top5, loss_sum):
    """Written as JSON and read again, counts are the same to the last bit."""
    classes, rows = case
    counts = counted(*map(list, zip(*rows)), classes)
    counts.top5, counts.loss_sum = top5, loss_sum

    copy = ClassificationCounts.from_json(json.loads(json.dumps(counts.to_json())))

    np.testing.assert_array_equal(copy.confusion, counts.confusion)
    assert copy.confusion.dtype == np.int64
    assert (copy.top5, copy.loss_sum) == (top5, loss_sum)


def test_counts_of_thousands_of_classes_are_small():
    """Only cells that are not 0 travel: ten rows of 5,000 classes are less than a kilobyte."""
    counts = counted(list(range(10)), list(range(4990, 5000)), 5000)

    assert len(json.dumps(counts.to_json())) < 1000


def test_an_evaluation_is_printed_as_promised():
    """The JSON of ``firesteel evaluate --json`` has the names that the design promises, with plain values."""
    found = json.loads(json.dumps(metrics_of(counted([0, 1, 1], [0, 1, 0], 2), ["a", "b"]).to_json()))

    assert set(found) == {"rows", "loss", "accuracy", "top5", "precision", "recall", "f1", "classes", "confusion"}
    assert (found["rows"], found["accuracy"]) == (3, pytest.approx(2 / 3))
    assert found["confusion"] == [[1, 0], [1, 1]]
    assert found["classes"][1] == {
        "label": "b",
        "rows": 2,
        "predicted": 1,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
