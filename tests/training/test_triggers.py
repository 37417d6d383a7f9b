"""When something is due."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from firesteel.errors import ConfigError
from firesteel.training.job import checked
from firesteel.training.triggers import Clock, Trigger, parse_trigger


class Job(BaseModel):
    """Some settings with a trigger."""

    save_every: Trigger | None = None


@pytest.mark.parametrize(
    ("text", "trigger", "canonical"),
    [
        ("2 epochs", Trigger(epochs=2), "2 epochs"),
        ("1 epoch", Trigger(epochs=1), "1 epoch"),
        (" 500  STEPS ", Trigger(steps=500), "500 steps"),
        ("10 minutes", Trigger(seconds=600), "10 minutes"),
        ("30 seconds", Trigger(seconds=30), "30 seconds"),
        ("1.5 hours", Trigger(seconds=5400), "90 minutes"),
        ("3600 seconds", Trigger(seconds=3600), "1 hour"),
        ("10minutes or 1 epoch", Trigger(epochs=1, seconds=600), "1 epoch or 10 minutes"),
        ("1 epoch, 500 steps, 0.5 seconds", Trigger(epochs=1, steps=500, seconds=0.5), "1 epoch or 500 steps or 0.5 seconds"),
        ("never", Trigger(), "never"),
    ],
)  # fmt: skip
def test_a_trigger_is_read_from_its_text(text: str, trigger: Trigger, canonical: str) -> None:
    assert parse_trigger(text) == trigger == parse_trigger(trigger)
    assert str(trigger) == canonical
    assert trigger.is_never == (canonical == "never")


TRIGGERS = st.builds(
    Trigger,
    epochs=st.none() | st.integers(1, 4),
    steps=st.none() | st.integers(1, 12),
    seconds=st.none() | st.integers(1, 9) | st.floats(1e-9, 1e9),
)


@given(trigger=TRIGGERS)
def test_a_trigger_in_json_is_its_text(trigger: Trigger) -> None:
    text = Job(save_every=trigger).model_dump_json()
    assert json.loads(text) == {"save_every": str(trigger)}
    assert Job.model_validate_json(text).save_every == trigger
    assert Job.model_validate(Job(save_every=trigger).model_dump()).save_every == trigger


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (500, "500 of what"),
        ("500", "expected a number and epochs"),
        ("", "expected a number"),
        ("2 epochs,", "expected a number"),
        ("-1 steps", "expected a number"),
        ("5 minuts", "no unit 'minuts'. Did you mean 'minutes'"),
        ("0 steps", "more than 0, got '0 steps'"),
        ("0.0 seconds", "more than 0"),
        ("1.5 epochs", "whole number of epochs"),
        ("2 epochs, 3 epochs", "gives epochs twice"),
        ("1 hour or 5 seconds", "gives seconds twice"),
        ("9" * 400 + " seconds", "a time that can come"),
        (None, "got None"),
    ],
)
def test_what_is_no_trigger_is_said(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_trigger(value)  # type: ignore[arg-type]
    if value is not None:
        with pytest.raises(ConfigError, match=f"^save_every: .*{message}"):
            checked(Job, {"save_every": value})


def test_steps_passed_between_two_questions_are_not_missed() -> None:
    """500 steps, asked every 7: at the first question at or after each multiple, without drifting."""
    clock = Clock(parse_trigger("500 steps"))
    assert [step for step in range(0, 2100, 7) if clock.due(step, 0, 0.0)] == [504, 1001, 1505, 2002]


def test_the_end_of_an_epoch_is_due_also_when_its_last_step_was_asked_about_before() -> None:
    clock = Clock(parse_trigger("1 epoch"))
    assert [clock.due(10, 0, 0.0), clock.due(10, 1, 0.0), clock.due(11, 1, 0.0)] == [False, True, False]


def test_of_several_parts_whichever_comes_first_and_never_twice_at_a_step() -> None:
    """Epochs of 8 steps, one second each: step 16 is both the fourth 4th step and the end of an epoch."""
    clock = Clock(parse_trigger("1 epoch or 6 steps or 5 seconds"))
    due = []
    for step in range(1, 19):
        due += [step] * clock.due(step, (step - 1) // 8, step)
        due += [step] * clock.due(step, step // 8, step)
    assert due == [5, 6, 8, 12, 16, 18]


def test_seconds_count_from_the_last_time() -> None:
    clock = Clock(parse_trigger("10 seconds"))
    assert [s for s in (4, 9.9, 17, 26, 27, 36.9, 60, 69, 70) if clock.due(int(s), 0, s)] == [17, 27, 60, 70]


def test_nothing_is_due_before_the_first_step_and_never_is_never() -> None:
    assert not Clock(parse_trigger("1 second")).due(0, 0, 5.0)
    assert not any(Clock(Trigger()).due(step, step, step) for step in range(100))


QUESTIONS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.25, 1.0, 2.5])), min_size=1, max_size=60)


@given(trigger=TRIGGERS, questions=QUESTIONS, steps_per_epoch=st.integers(1, 9), data=st.data())
def test_a_resumed_run_is_due_at_the_same_steps(
    trigger: Trigger, questions: list[tuple[int, float]], steps_per_epoch: int, data: st.DataObject
) -> None:
    """Through JSON, at any point; and each due step follows a new multiple, each new multiple of steps makes one due."""
    pause = data.draw(st.integers(0, len(questions)))
    one, other = Clock(trigger), Clock(trigger)
    step, seconds, last_due, asked = 0, 0.0, 0, 0
    for number, (steps, passed) in enumerate(questions):
        if number == pause:
            state = json.loads(json.dumps(other.state()))
            other = Clock(trigger)
            other.load_state(state)
        step, seconds = step + steps, seconds + passed
        answer = one.due(step, step // steps_per_epoch, seconds)
        assert answer == other.due(step, step // steps_per_epoch, seconds)
        assert not (answer and step == last_due)
        for count, unit in ((trigger.steps, 1), (trigger.epochs, steps_per_epoch)):
            if count is not None and step // unit // count > asked // unit // count:
                assert answer
        last_due, asked = step if answer else last_due, step
