"""When a training ends before its last epoch."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firesteel.errors import ConfigError
from firesteel.evaluation.counts import Evaluation
from firesteel.training.conditions import Record
from firesteel.training.stop_specs import check_stopping, resolve_stopping
from firesteel.training.stopping import Stopping, StopReason
from firesteel.training.triggers import Clock, Trigger, parse_trigger
from tests.metrics import after_evaluations

ACCURACIES = (0.1, 0.3, 0.2, 0.35, 0.35, math.nan, 0.3, 0.36, 0.2, 0.1)
LOSSES = (2.0, 1.5, 3.0, 0.5)
LIMITS = st.one_of(
    st.integers(1, 6).map("epochs:maximum={}".format),
    st.integers(1, 40).map("steps:maximum={}".format),
    st.integers(1, 60).map("time:seconds={}".format),
)
OTHERS = st.one_of(
    LIMITS,
    st.sampled_from([0.2, 0.35, 0.36, 0.9]).map("score:reach={}".format),
    st.builds("patience:{}={},min_improvement={}".format, st.sampled_from(["evaluations", "epochs"]), st.integers(1, 4),
              st.sampled_from([0, 0.05, 0.1])),
    st.sampled_from(["bounds:above=2.5", "bounds:below=1", "tests.metrics:at_loss:loss=0.5", "tests.metrics:after_evaluations:number=3"]),
)  # fmt: skip
EVERY = st.builds(
    Trigger,
    epochs=st.none() | st.integers(1, 7),
    steps=st.none() | st.integers(1, 20),
    seconds=st.none() | st.integers(1, 20),
)


def evaluated(accuracy: float, loss: float = 1.0) -> Evaluation:
    """An evaluation with these scores."""
    return Evaluation(100, loss, accuracy, 1.0, accuracy, accuracy, accuracy, [], np.zeros((2, 2), dtype=np.int64))


def at(
    step: int, loss: float | None = 1.0, *, evaluation: Evaluation | None = None, steps_per_epoch: int = 10
) -> Record:
    """A moment of a run with one second a step."""
    return Record(
        step, (step - 1) // steps_per_epoch + 1, step % steps_per_epoch == 0, float(step), loss, evaluation=evaluation
    )  # fmt: skip


def evaluate(stopping: Stopping, accuracies: list[float], *, every: int = 10) -> StopReason | None:
    """Give one evaluation after the other, until one ends the training."""
    for number, accuracy in enumerate(accuracies, len(stopping.history) + 1):
        reason = stopping.on_evaluation(at(number * every, evaluation=evaluated(accuracy)))
        if reason:
            return reason
    return None


# -- one condition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "last", "ends", "sentence"),
    [
        ("steps:maximum=7", at(6), at(7), "7 steps; the maximum is 7"),
        ("steps:maximum=7", at(6), at(9), "9 steps; the maximum is 7"),
        ("epochs:maximum=2", at(19), at(20), "2 epochs, the maximum"),
        ("epochs:maximum=2", at(19), at(21), "2 epochs, the maximum"),
        ("time:seconds=30", at(29), at(30), "trained for 30 seconds; the maximum is 30"),
        ("time:minutes=1,seconds=30", at(89), at(90), "trained for 90 seconds; the maximum is 90"),
        ("time:hours=0.5", at(1799), at(1801), "trained for 1801 seconds; the maximum is 1800"),
        ("bounds:above=10", at(5, 10.0), at(5, 10.5), "the training loss 10.5 is above 10 at step 5 (epoch 1)"),
        ("bounds:below=0.1", at(5, 0.1), at(10, 0.05), "the training loss 0.05 is below 0.1 at epoch 1"),
        ("bounds:above=2,below=1", at(5, None), at(5, 0.5), "the training loss 0.5 is below 1 at step 5 (epoch 1)"),
        ("bounds:above=2,finite=no", at(5, math.nan), at(6, math.inf), "the training loss inf is above 2 at step 6 (epoch 1)"),
        ("tests.metrics:at_loss:loss=0.5", at(5, 0.6), at(6, 0.5), "the loss is 0.5, low enough"),
    ],
)  # fmt: skip
def test_a_condition_holds_from_its_limit_on(stop: str, last: Record, ends: Record, sentence: str) -> None:
    stopping = resolve_stopping([stop])
    assert stopping.on_check(last) is None
    assert stopping.on_check(ends) == StopReason(stop, sentence)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_a_training_unless_that_is_switched_off(loss: float) -> None:
    reason = resolve_stopping([]).on_check(at(12, loss))
    assert str(reason) == f"the training loss is {loss} at step 12 (epoch 2)"
    assert resolve_stopping(["bounds:finite=yes"]).on_check(at(12, loss)) == reason
    assert resolve_stopping(["bounds:finite=no"]).on_check(at(12, loss)) is None


def test_a_score_that_is_reached_ends_a_training() -> None:
    reason = evaluate(resolve_stopping(["score:reach=0.9"]), [0.5, math.nan, 0.9, 0.95])
    assert str(reason) == "accuracy reached 0.9: 0.9 at epoch 3"
    lower = resolve_stopping(["score:reach=0.2,metric=loss"])
    assert lower.on_evaluation(at(5, evaluation=evaluated(1.0, 0.3))) is None
    assert (
        str(lower.on_evaluation(at(6, evaluation=evaluated(1.0, 0.1)))) == "loss reached 0.2: 0.1 at step 6 (epoch 1)"
    )


@pytest.mark.parametrize(
    ("stop", "accuracies", "sentence"),
    [
        ("patience:evaluations=2", [0.5, 0.6, 0.6, 0.55], "no improvement of accuracy in 2 evaluations; best 0.6 at epoch 2"),
        ("patience:evaluations=1", [0.5, 0.6, 0.5], "no improvement of accuracy in 1 evaluation; best 0.6 at epoch 2"),
        (
            "patience:evaluations=2,min_improvement=0.1",
            [0.5, 0.55, 0.65, 0.66, 0.7],  # 0.65 is the last by 0.1 or more, 0.7 the best
            "no improvement of accuracy by 0.1 or more in 2 evaluations; best 0.7 at epoch 5",
        ),
        ("patience:epochs=3", [0.6, 0.5, 0.5, 0.5], "no improvement of accuracy in 3 epochs; best 0.6 at epoch 1"),
        ("patience:evaluations=2", [math.nan, 0.1, math.nan, math.nan], "no improvement of accuracy in 2 evaluations; best 0.1 at epoch 2"),
        ("patience:evaluations=2", [math.nan, math.nan], "no improvement of accuracy in 2 evaluations; none of them is a number"),
        ("patience:epochs=2", [math.nan, math.nan], "no improvement of accuracy in 2 epochs; none of them is a number"),
    ],
)  # fmt: skip
def test_patience_ends_exactly_when_it_is_over(stop: str, accuracies: list[float], sentence: str) -> None:
    stopping = resolve_stopping([stop])
    assert evaluate(stopping, accuracies[:-1]) is None
    assert evaluate(stopping, accuracies[-1:]) == StopReason(stop, sentence)


def test_patience_for_the_loss_wants_less() -> None:
    stopping = resolve_stopping(["patience:evaluations=2"], "loss")
    losses = [1.0, 0.9, 0.8, 0.85, 0.8, 0.7]
    ended = [bool(stopping.on_evaluation(at(10 * i, evaluation=evaluated(0.5, x)))) for i, x in enumerate(losses, 1)]
    assert ended == [False, False, False, False, True, False]


def test_patience_in_epochs_waits_for_an_evaluation_and_for_whole_epochs() -> None:
    """Evaluated every 4th epoch, and in the middle of epoch 1: not over before an evaluation shows it."""
    stopping = resolve_stopping(["patience:epochs=2"])
    assert evaluate(stopping, [0.9], every=5) is None
    assert all(stopping.on_check(at(step)) is None for step in range(6, 40))
    assert "in 3 epochs; best 0.9 at step 5 (epoch 1)" in str(stopping.on_evaluation(at(40, evaluation=evaluated(0.8))))
    early = resolve_stopping(["patience:epochs=2"])
    assert evaluate(early, [0.9], every=5) is None
    assert early.on_evaluation(at(29, evaluation=evaluated(0.8))) is None
    assert early.on_evaluation(at(30, evaluation=evaluated(0.8))) is not None


def test_a_condition_of_the_users_own_sees_the_history() -> None:
    for stop in (after_evaluations, "tests.metrics:after_evaluations", lambda record: len(record.history) > 1):
        stopping = resolve_stopping([stop])
        assert stopping.on_check(at(5)) is None
        reason = evaluate(stopping, [0.5, 0.6])
        assert reason is not None
        assert reason.sentence == f"condition {reason.condition} holds at epoch 2"
        sent = cloudpickle.loads(cloudpickle.dumps(stopping.travelling()))
        assert sent.history == ()
        assert evaluate(sent, [0.5, 0.6]) == reason
    seen: list[Record] = []
    evaluate(resolve_stopping([lambda record: seen.append(record)]), [0.5, 0.6])
    assert [record.last.scores["accuracy"] for record in seen if record.last] == [0.5, 0.6]
    assert [record.evaluation.accuracy for record in seen if record.evaluation] == [0.5, 0.6]


def test_a_metric_of_the_users_own_travels_with_its_condition() -> None:
    stopping = resolve_stopping(
        ["patience:evaluations=1,metric=tests.metrics:error_rate:higher=no", "score:reach=0.1"],
        "tests.metrics:error_rate:higher=no",
    )
    sent = cloudpickle.loads(cloudpickle.dumps(stopping.travelling()))
    reason = evaluate(sent, [0.5, 0.6, 0.5])
    assert str(reason) == "no improvement of tests.metrics:error_rate in 1 evaluation; best 0.4 at epoch 2"
    assert sent.best.step == 20


def test_of_several_conditions_the_first_one_given_speaks() -> None:
    stopping = resolve_stopping(["steps:maximum=5", "time:seconds=5"])
    assert stopping.on_check(at(5, math.nan)).condition == "bounds:finite=yes"  # type: ignore[union-attr]
    assert stopping.on_check(at(5)).condition == "steps:maximum=5"  # type: ignore[union-attr]


def test_the_best_evaluation_is_remembered() -> None:
    """The first of equal ones; higher accuracy, lower loss; NaN never."""
    stopping = resolve_stopping([])
    best = []
    for step, accuracy in enumerate([math.nan, 0.5, 0.7, 0.7, 0.6], 1):
        stopping.on_evaluation(at(step, evaluation=evaluated(accuracy)))
        best.append(stopping.is_best)
    assert best == [False, True, True, False, False]
    assert stopping.best is not None
    assert (stopping.best.step, stopping.best.epoch, stopping.best.scores["accuracy"]) == (3, 1, 0.7)
    by_loss = resolve_stopping([], "loss")
    for step, loss in enumerate([0.5, 0.4, 0.6], 1):
        by_loss.on_evaluation(at(step, evaluation=evaluated(0.5, loss)))
    assert by_loss.best is not None
    assert by_loss.best.step == 2


def test_a_run_may_go_on_with_other_conditions_and_another_score() -> None:
    before = resolve_stopping(["patience:evaluations=2"])
    assert evaluate(before, [0.5, 0.4, 0.3])
    state = json.loads(json.dumps(before.state(), allow_nan=False))
    longer = resolve_stopping(["patience:evaluations=4"], "loss")
    longer.load_state(state)
    assert longer.best is not None
    assert longer.best.step == 10
    assert evaluate(longer, [0.5]) is None
    metric = "tests.metrics:error_rate:higher=no"
    other = resolve_stopping([f"patience:evaluations=2,metric={metric}"], metric)
    other.load_state(state)
    assert other.best is None
    assert evaluate(other, [0.5, 0.4]) is None  # the first that knows this score is its best
    assert evaluate(other, [0.3])


@given(stop=st.lists(OTHERS | st.sampled_from(["bounds:finite=no", "bounds:above=9,finite=no"]), max_size=5))
def test_conditions_in_a_job_are_read_as_the_same(stop: list[str]) -> None:
    stopping = resolve_stopping(stop, "loss")
    texts = [str(spec) for spec in stopping.specs]
    assert (
        resolve_stopping(texts, "loss").conditions
        == stopping.conditions
        == resolve_stopping(stopping.specs, "loss").conditions
    )
    assert set(stop) <= {*texts, "bounds:finite=no"}


# -- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("patiense:evaluations=5", "no stop condition 'patiense'. Did you mean 'patience'"),
        ("patience", "needs one of .*Example: patience:evaluations=5"),
        ("patience:evaluations=0", "evaluations must be a whole number, 1 or more, got 0"),
        ("patience:epochs=2.5", "epochs must be a whole number, 1 or more, got 2.5"),
        ("patience:evaluations=yes", "evaluations must be a whole number, 1 or more, got True"),
        ("patience:evaluations=5,epochs=2", "either evaluations or epochs"),
        ("patience:min_improvement=0.1", "either evaluations or epochs"),
        ("patience:evaluations=5,min_improvement=-1", "min_improvement must be 0 or more"),
        ("patience:evaluations=5,min_improvement=2", "at most 1, the range of accuracy, got 2"),
        ("patience:evaluation=5", "Did you mean 'evaluations'"),
        ("patience:evaluations=5,metric=acc", "no score 'acc'"),
        ("score:reach=1.01", "accuracy is from 0 to 1, got 1.01"),
        ("score:reach=99", "accuracy is from 0 to 1, got 99"),
        ("score:reach=0", "would hold at the first evaluation"),
        ("score:reach=-0.1,metric=loss", "loss is 0 or more, got -0.1"),
        ("score:reach=high", "reach must be a number, got 'high'"),
        ("score:reach=NaN", "reach must be a number, got nan"),
        ("score:reach=1" + "0" * 400, "reach must be a number, got 1"),
        ("score:metric=loss", "reach must be a number, it is not given"),
        ("steps:maximum=0", "maximum must be a whole number, 1 or more, got 0"),
        ("epochs", "Example: epochs:maximum=10"),
        ("epochs:max=3", "It has: maximum"),
        ("time:minutes=0", "would end the training at once"),
        ("time:minutes=soon", "minutes must be a number, got 'soon'"),
        ("bounds", "Example: bounds:above=10"),
        ("bounds:above=1,below=2", "every loss is above 1 or below 2"),
        ("bounds:finite=maybe", "finite must be yes or no, got 'maybe'"),
        ("tests.metrics:at_los", "Did you mean 'at_loss'"),
        (7, "a condition must be a name or a callable, got int"),
    ],
)
def test_what_cannot_hold_is_refused(stop: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_stopping([stop])


def test_the_loss_cannot_be_both_finite_and_not() -> None:
    with pytest.raises(ConfigError, match="finite is yes in one condition and no in another"):
        resolve_stopping(["bounds:above=9,finite=no", "bounds:above=8", "bounds:finite=yes"])


@pytest.mark.parametrize(
    ("stop", "every", "message"),
    [
        ("score:reach=0.9", "never", "looks at accuracy of the validation split, but nothing is evaluated"),
        ("patience:epochs=1,metric=loss", "never", "looks at loss of the validation split"),
        ("patience:evaluations=1", "11 epochs", "the job ends before the first evaluation"),
        ("patience:evaluations=1", "101 steps", "the job ends before the first evaluation"),
        ("tests.metrics:at_loss", "never", "at_loss raises TypeError"),
        ("tests.metrics:at_loss:los=1", "never", "at_loss:los=1 raises TypeError"),
        ("tests.metrics:careless", "1 epoch", "careless raises IndexError"),
        ("tests.metrics:counting", "1 epoch", "must return True, False, None or a sentence, got 1"),
        ("patience:evaluations=1,metric=tests.metrics:raising:higher=yes", "1 epoch", "raising raises ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_contradicts_the_job_is_refused_before_it_starts(stop: str, every: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_stopping(resolve_stopping([stop]), evaluate_every=parse_trigger(every), epochs=10, steps_per_epoch=10)


@pytest.mark.parametrize(
    ("stop", "every", "note"),
    [
        ("epochs:maximum=11", "never", "the job ends after 10 epochs"),
        ("steps:maximum=101", "never", "the job ends after 100 steps"),
        ("patience:evaluations=3", "4 epochs", "the job has at most 2 evaluations"),
        ("patience:evaluations=6", "25 steps or 9 epochs", "the job has at most 5 evaluations"),
        ("patience:epochs=11", "1 epoch", "the job ends after 10 epochs"),
    ],
)
def test_what_comes_too_late_to_hold_is_noted(stop: str, every: str, note: str) -> None:
    stopping = resolve_stopping([stop])
    notes = check_stopping(stopping, evaluate_every=parse_trigger(every), epochs=10, steps_per_epoch=10)
    assert notes == [f"stop {stop} can never hold: {note}."]


@pytest.mark.parametrize(
    ("stop", "every"),
    [
        ("epochs:maximum=10", "never"),
        ("steps:maximum=100", "never"),
        ("patience:evaluations=2", "4 epochs"),
        ("patience:evaluations=99", "10 seconds"),
        ("score:reach=1", "10 epochs"),
        ("bounds:below=0.01", "never"),
        ("tests.metrics:at_loss:loss=1", "never"),
    ],
)
def test_what_may_hold_is_taken_without_a_word(stop: str, every: str) -> None:
    stopping = resolve_stopping([stop])
    assert check_stopping(stopping, evaluate_every=parse_trigger(every), epochs=10, steps_per_epoch=10) == []
    assert check_stopping(stopping, evaluate_every=Trigger(steps=1), epochs=10) == []


# -- every combination ----------------------------------------------------------------------------------------------


def simulate(stop: list[str], every: Trigger, sync_every: int, steps_per_epoch: int, pause: int) -> Iterator[Any]:
    """What a training asks until it ends, saved and loaded through JSON at step ``pause``: (step, asked, answer)."""
    clock, stopping = Clock(every), resolve_stopping(stop)
    for step in itertools.count(1):
        if step == pause:
            clock_state, state = json.loads(json.dumps([clock.state(), stopping.state()], allow_nan=False))
            clock, stopping = Clock(every), resolve_stopping(stop)
            clock.load_state(clock_state)
            stopping.load_state(state)
        moment = at(step, LOSSES[step % len(LOSSES)], steps_per_epoch=steps_per_epoch)
        ended = moment.epoch_ended
        if not (ended or step % sync_every == 0):
            continue
        if clock.due(step, moment.epochs, moment.seconds):
            accuracy = ACCURACIES[len(stopping.history) % len(ACCURACIES)]
            record = Record(**vars(moment) | {"evaluation": evaluated(accuracy)})
            reason = stopping.on_evaluation(record)
            yield step, accuracy, reason
            if reason:
                return
        reason = stopping.on_check(moment)
        yield step, None, reason
        if reason:
            return


def holds(stop: str, step: int, steps_per_epoch: int, evaluations: list[tuple[int, float]], just: bool) -> bool:
    """Does a condition hold, by its definition, written without the classes that are tested?"""
    name, _, options = stop.rpartition(":")
    given = dict(option.split("=") for option in options.split(","))
    epochs, loss = step // steps_per_epoch, LOSSES[step % len(LOSSES)]
    if name == "epochs":
        return epochs >= int(given["maximum"])
    if name in ("steps", "time"):
        return step >= int(given.get("maximum") or given["seconds"])
    if name == "bounds":
        return loss > float(given.get("above", "inf")) or loss < float(given.get("below", "-inf"))
    if name.endswith("at_loss"):
        return loss <= float(given["loss"])
    if name.endswith("after_evaluations"):
        return len(evaluations) >= int(given["number"])
    if not just:
        return False
    if name == "score":
        return evaluations[-1][1] >= float(given["reach"])
    reference, improved, since = -math.inf, 0, 0
    for when, accuracy in evaluations:
        least = float(given["min_improvement"])
        since += 1
        if accuracy > reference and accuracy - reference >= least:
            reference, improved, since = accuracy, math.ceil(when / steps_per_epoch), 0
    return since >= int(given["evaluations"]) if "evaluations" in given else since > 0 and epochs - improved >= int(given["epochs"])  # fmt: skip


@given(
    limit=LIMITS, others=st.lists(OTHERS, max_size=4), every=EVERY, sync_every=st.integers(1, 9),
    steps_per_epoch=st.integers(1, 12), pause=st.integers(1, 60),
)  # fmt: skip
def test_a_run_ends_at_the_first_question_at_which_a_condition_holds(
    limit: str, others: list[str], every: Trigger, sync_every: int, steps_per_epoch: int, pause: int
) -> None:
    """Whatever is evaluated when, however often workers synchronise; a pause at any step changes nothing."""
    stop = [*others, limit]
    evaluations: list[tuple[int, float]] = []
    log = []
    for step, accuracy, reason in simulate(stop, every, sync_every, steps_per_epoch, pause=0):
        if accuracy is not None:
            evaluations.append((step, accuracy))
        expected = [each for each in stop if holds(each, step, steps_per_epoch, evaluations, accuracy is not None)]
        asked = [each for each in expected if accuracy is None or each.startswith(("score", "patience", "tests"))]
        assert (reason.condition if reason else None) == (asked[0] if asked else None)
        log.append((step, reason))
        assert step <= 6 * 12 + 9, "the run does not end"
    assert log[-1][1] is not None
    paused = [(step, reason) for step, _, reason in simulate(stop, every, sync_every, steps_per_epoch, pause)]
    assert paused == log


@given(
    every=st.builds(Trigger, epochs=st.integers(1, 7), steps=st.none() | st.integers(1, 20)),
    unit=st.sampled_from(["evaluations", "epochs"]),
    number=st.integers(1, 6),
    steps_per_epoch=st.integers(1, 12),
)
def test_patience_alone_ends_every_run_that_is_evaluated(
    every: Trigger, unit: str, number: int, steps_per_epoch: int
) -> None:
    """Also where evaluations are rarer than the patience: here scores repeat, so none can improve for ever."""
    stop = [f"patience:{unit}={number}"]
    *_, (step, _, reason) = itertools.islice(simulate(stop, every, 3, steps_per_epoch, 0), 5000)
    assert reason is not None
    evaluations = 10 + (number if unit == "evaluations" else 1 + number)
    assert step <= evaluations * 7 * 12


def test_what_the_documentation_shows_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each condition, trigger and score of its tables and commands; its own functions do what it says."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "stop-early.md").read_text()
    (tmp_path / "my_rules.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    monkeypatch.syspath_prepend(tmp_path)
    cells = re.findall(r"^\| `([a-z_]+:[^`]*)` \|", text, re.MULTILINE)
    stops = {*cells, *re.findall(r"--stop (\S+)", text)} - {"my_rules:gmean:higher=yes"}
    assert len(stops) >= 13
    triggers = re.findall(r"`(\d[^`]*|never)`", text.partition("## When to evaluate")[2].partition("##")[0])
    assert len(triggers) >= 7
    for every in triggers:
        assert str(parse_trigger(every)) == ("90 minutes" if every == "1.5 hours" else every)
    for stop in stops:
        notes = check_stopping(
            resolve_stopping([stop], "my_rules:gmean:higher=yes"), evaluate_every=parse_trigger("1 epoch"), epochs=100
        )
        assert notes == []
    stopping = resolve_stopping(["my_rules:plateau:window=3"])
    assert str(evaluate(stopping, [0.5, 0.9, 0.9, 0.9003])) == "the last 3 accuracies lie between 0.9000 and 0.9003"


def test_a_job_is_checked_without_torch() -> None:
    """The driver of a network of the zoo needs none, and torch takes a second to import."""
    code = (
        "import sys; from firesteel.training import stop_specs as s, triggers as t\n"
        "s.check_stopping(s.resolve_stopping(['patience:evaluations=2']), evaluate_every=t.parse_trigger('1 epoch'), epochs=9)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=100, cwd=Path(__file__).resolve().parents[2]).returncode
        == 0
    )
