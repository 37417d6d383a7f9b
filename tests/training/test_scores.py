"""Scores of an evaluation and which of two is better."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.evaluation.counts import ClassificationCounts, Evaluation, metrics_of
from firesteel.training.scores import SCORES, resolve_score, try_score
from tests.metrics import geometric_mean


@pytest.fixture
def evaluation() -> Evaluation:
    """Two classes: 3 of 4 and 1 of 4 rows found."""
    return metrics_of(ClassificationCounts(np.array([[3, 1], [3, 1]]), top5=8, loss_sum=4.0), ["cat", "dog"])


@pytest.mark.parametrize(
    ("score", "value", "higher"),
    [
        ("loss", 0.5, False),
        ("accuracy", 0.5, True),
        ("top5", 1.0, True),
        ("precision", 0.5, True),
        ("recall", 0.5, True),
        ("f1", (0.6 + 1 / 3) / 2, True),
        ("tests.metrics:geometric_mean:higher=yes", math.sqrt(3) / 4, True),
        ("tests.metrics:error_rate:higher=no", 0.5, False),
    ],
)
def test_a_score_knows_its_value_and_its_direction(
    score: str, value: float, higher: bool, evaluation: Evaluation
) -> None:
    found = resolve_score(score)
    assert found.of(evaluation) == pytest.approx(value)
    assert found.higher == higher
    assert found.better(0.7, 0.6) == higher
    assert found.key == score
    assert resolve_score(found.spec) == found
    try_score(found, ["cat", "dog"])
    if found.function is None:
        assert found.lowest <= value <= found.highest


def test_a_callable_is_a_score_and_travels(evaluation: Evaluation) -> None:
    named = resolve_score(geometric_mean, higher=True)
    assert named.key == "tests.metrics:geometric_mean:higher=yes"
    mine = resolve_score(lambda evaluation: evaluation.rows, higher=False)
    for score in (named, mine, SCORES["f1"]):
        sent = cloudpickle.loads(cloudpickle.dumps(score.travelling()))
        assert (sent.of(evaluation), sent) == (score.of(evaluation), score)
    assert mine.of(evaluation) == 8.0


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("acuracy", "no score 'acuracy'. Did you mean 'accuracy'"),
        ("accuracy:higher=no", "has no options"),
        ("tests.metrics:geometric_mean", "more is better, got none.*geometric_mean:higher=yes or "),
        ("tests.metrics:geometric_mean:higher=1", "say whether more is better, got 1"),
        ("tests.metrics:geometric_mean:hihger=yes", "Did you mean 'higher'"),
        ("tests.metrics:geometric_men:higher=yes", "Did you mean 'geometric_mean'"),
        ("tests.no_metrics:f:higher=yes", "cannot import module 'tests.no_metrics' of score"),
        ("tests.metrics:NUMBER:higher=yes", "is a int; a function"),
        (3, "must be a name or a callable, got int"),
    ],
)  # fmt: skip
def test_what_is_no_score_is_said(score: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_score(score)


@pytest.mark.parametrize(
    ("name", "message"), [("raising", "raising raises ZeroDivisionError"), ("wordy", "return a number, got 'good'")]
)
def test_a_bad_metric_is_found_before_a_training(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        try_score(resolve_score(f"tests.metrics:{name}:higher=yes"), ["cat", "dog", "eel"])


NUMBERS = st.floats() | st.integers(-3, 3).map(float)


@given(a=NUMBERS, b=NUMBERS, least=st.floats(0, 10), name=st.sampled_from(["loss", "accuracy"]))
def test_of_two_numbers_at_most_one_is_better_and_nan_never_is(a: float, b: float, least: float, name: str) -> None:
    score = SCORES[name]
    assert not score.better(math.nan, a)
    assert not score.better(math.nan, None)
    assert score.better(a, None) == score.better(a, math.nan) == (not math.isnan(a))
    assert not (score.better(a, b) and score.better(b, a))
    if not (math.isnan(a) or math.isnan(b)):
        assert score.better(a, b) == (a > b if score.higher else a < b)
    if score.better(a, b, least):
        assert score.better(a, b)
        assert math.isnan(b) or abs(a - b) >= least


def test_an_improvement_of_exactly_the_least_counts() -> None:
    accuracy = SCORES["accuracy"]
    assert accuracy.better(0.75, 0.5, 0.25)
    assert not accuracy.better(0.75, 0.5, 0.251)
    assert not accuracy.better(0.5, 0.5, 0.0)


def test_a_metric_of_a_module_that_workers_cannot_import_goes_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: Evaluation
) -> None:
    (tmp_path / "only_here.py").write_text("PART = 2\ndef half(evaluation):\n    return evaluation.rows / PART\n")
    monkeypatch.syspath_prepend(tmp_path)
    score = resolve_score("only_here:half:higher=yes")
    (tmp_path / "sent").write_bytes(cloudpickle.dumps((score.travelling(), evaluation)))
    code = "import pickle, sys; score, evaluation = pickle.load(open('sent', 'rb')); print(score.of(evaluation), score.key)"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "sent").rename(elsewhere / "sent")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert done.stdout == "4.0 only_here:half:higher=yes\n", done.stderr
