"""Learning-rate schedules against torch.optim.lr_scheduler, and against the published formulas of Caffe and Deeplearning4j."""

from __future__ import annotations

import json
import math
import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from firesteel.errors import ConfigError
from firesteel.specs import Spec, parse_spec
from firesteel.training.callbacks import Progress, ScoreForSchedule
from firesteel.training.schedules import SCHEDULES, Timing, WarmUp, make_schedule, read_schedule, warm_up_steps

TIMING = Timing(steps_per_epoch=7, epochs=9)
RATE = 0.3


def schedule(text: str, timing: Timing = TIMING, **direction: bool) -> Any:
    return make_schedule(parse_spec(text), timing, **direction)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], Any], count: int) -> list[float]:
    """The learning rates of a scheduler of torch for the first ``count`` of its steps, from a learning rate of RATE."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make(optimizer)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer made no step
        for _ in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return rates


BY_EPOCH = [
    ("step:every=2,gamma=0.5", lambda o: lr_scheduler.StepLR(o, 2, 0.5)),
    ("step:every=4", lambda o: lr_scheduler.StepLR(o, 4)),
    ("multistep:at=[3,5],gamma=0.2", lambda o: lr_scheduler.MultiStepLR(o, [3, 5], 0.2)),
    ("multistep:at=4", lambda o: lr_scheduler.MultiStepLR(o, [4])),
    ("exponential:gamma=0.9", lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    ("polynomial:power=2,by=epoch", lambda o: lr_scheduler.PolynomialLR(o, 9, 2)),
    ("cosine:by=epoch", lambda o: lr_scheduler.CosineAnnealingLR(o, 9)),
]


@pytest.mark.parametrize(("text", "make"), BY_EPOCH, ids=[text for text, _ in BY_EPOCH])
def test_by_epoch_as_torch_stepped_once_an_epoch(text: str, make: Callable[[Any], Any]) -> None:
    expected = rates_of_torch(make, TIMING.epochs)
    built = schedule(text)
    for step in range(TIMING.total_steps):
        assert RATE * built.factor(step) == pytest.approx(expected[step // 7], rel=1e-9, abs=1e-12)


BY_STEP = [
    ("constant", lambda o: lr_scheduler.ConstantLR(o, 1.0)),
    ("step:every=10,by=step", lambda o: lr_scheduler.StepLR(o, 10)),
    ("multistep:at=[20,50],by=step", lambda o: lr_scheduler.MultiStepLR(o, [20, 50])),
    ("exponential:gamma=0.99,by=step", lambda o: lr_scheduler.ExponentialLR(o, 0.99)),
    ("polynomial", lambda o: lr_scheduler.PolynomialLR(o, 63)),
    ("polynomial:power=0.5", lambda o: lr_scheduler.PolynomialLR(o, 63, 0.5)),
    ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 63)),
    ("cosine:final=0.1", lambda o: lr_scheduler.CosineAnnealingLR(o, 63, eta_min=0.1 * RATE)),
    ("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, RATE, 63, cycle_momentum=False)),
    (
        "one_cycle:rise=0.2,start=0.1,final=0.001,shape=linear",
        lambda o: lr_scheduler.OneCycleLR(
            o, RATE, 63, pct_start=0.2, div_factor=10, final_div_factor=100, anneal_strategy="linear",
            cycle_momentum=False,
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "make"), BY_STEP, ids=[text for text, _ in BY_STEP])
def test_by_step_as_torch_stepped_at_every_step(text: str, make: Callable[[Any], Any]) -> None:
    expected = rates_of_torch(make, TIMING.total_steps)
    built = schedule(text)
    actual = [RATE * built.factor(step) for step in range(TIMING.total_steps)]
    assert actual == pytest.approx(expected, rel=1e-6, abs=1e-9)


# Caffe, sgd_solver.cpp: "inv: base_lr * (1 + gamma * iter) ^ (- power)", "sigmoid: base_lr ( 1/(1 + exp(-gamma * (iter -
# stepsize))))". Deeplearning4j, InverseSchedule and SigmoidSchedule: the same.
@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("inverse:gamma=0.0001,power=0.75", lambda i: (1 + 0.0001 * i) ** -0.75),
        ("inverse:gamma=0.5,by=epoch", lambda i: 1 / (1 + 0.5 * (i // 7))),
        ("sigmoid:gamma=-0.1,center=30", lambda i: 1 / (1 + math.exp(0.1 * (i - 30)))),
        ("sigmoid:gamma=0.1,center=4,by=epoch", lambda i: 1 / (1 + math.exp(-0.1 * (i // 7 - 4)))),
    ],
)
def test_policies_of_caffe(text: str, formula: Callable[[int], float]) -> None:
    built = schedule(text)
    for step in range(TIMING.total_steps):
        assert built.factor(step) == pytest.approx(formula(step), rel=1e-12)


def test_a_sigmoid_far_from_its_center_does_not_overflow() -> None:
    assert schedule("sigmoid:gamma=-10,center=0", Timing(1000, 10)).factor(9999) == pytest.approx(0, abs=1e-300)


def test_a_map_of_learning_rates_by_iteration() -> None:
    """The schedule of the 7-million-image network: Deeplearning4j's ``{0: 0.03, 1000: 0.025, 3000: 0.005, 4000: 0.0001}``."""
    rates = {0: 0.03, 1000: 0.025, 3000: 0.005, 4000: 0.0001}
    spec = read_schedule(rates)
    assert spec == parse_spec("map:0=0.03,1000=0.025,3000=0.005,4000=0.0001")
    built = make_schedule(spec, Timing(100, 50))
    for step, rate in [(0, 0.03), (999, 0.03), (1000, 0.025), (2999, 0.025), (3000, 0.005), (4000, 1e-4), (4999, 1e-4)]:
        assert 0.03 * built.factor(step) == pytest.approx(rate)
    by_epoch = schedule("map:10=0.1,0=0.2,by=epoch", Timing(3, 20))
    assert [by_epoch.factor(step) for step in (0, 29, 30, 59)] == pytest.approx([1, 1, 0.5, 0.5])


@pytest.mark.parametrize("start", [0.25, 0.01])
def test_warm_up_as_torch_and_multiplied_with_any_schedule(start: float) -> None:
    expected = rates_of_torch(
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o, start, 1.0, 20), lr_scheduler.MultiStepLR(o, [10, 30])]
        ),
        TIMING.total_steps,
    )
    built = WarmUp(schedule("multistep:at=[10,30],by=step"), 20, start)
    assert [RATE * built.factor(step) for step in range(TIMING.total_steps)] == pytest.approx(expected)


def test_warm_up_without_a_start_rises_by_equal_parts() -> None:
    built = WarmUp(schedule("constant"), 4)
    assert [built.factor(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


@pytest.mark.parametrize(
    ("text", "steps"), [("0", 0), ("500", 500), ("500steps", 500), ("1 step", 1), ("2epochs", 200), ("0.5 epochs", 50)]
)
def test_how_long_a_warm_up_is(text: str, steps: int) -> None:
    assert warm_up_steps(text, Timing(100, 10)) == steps


@pytest.mark.parametrize("text", ["-1", "0.5", "1.5steps", "5 minutes", "", "1e3", "epochs", "1000", "10epochs"])
def test_a_warm_up_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="warmup"):
        warm_up_steps(text, Timing(100, 10))


scores = st.lists(st.floats(0.01, 100), max_size=60)


@given(
    scores=scores,
    more=st.booleans(),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.5]),
)
def test_plateau_as_torch(
    scores: list[float], more: bool, patience: int, cooldown: int, mode: str, threshold: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = lr_scheduler.ReduceLROnPlateau(
        optimizer, "max" if more else "min", 0.5, patience, threshold, mode, cooldown, min_lr=0.01, eps=0.0
    )  # fmt: skip
    built = schedule(
        f"plateau:factor=0.5,patience={patience},cooldown={cooldown},threshold_mode={mode},threshold={threshold},"
        "min_factor=0.01",
        more_is_better=more,
    )
    for score in scores:
        oracle.step(score)
        built.add_score(score)
        assert built.factor(0) == optimizer.param_groups[0]["lr"]


@given(scores=scores, cut=st.integers(0, 60))
def test_a_restored_plateau_goes_on_as_if_it_had_not_stopped(scores: list[float], cut: int) -> None:
    text = "plateau:factor=0.5,patience=1,cooldown=1"
    straight, first = schedule(text), WarmUp(schedule(text), 3)
    for score in scores[:cut]:
        first.add_score(score)
    second = WarmUp(schedule(text), 3)
    second.load_state(json.loads(json.dumps(first.state())))
    for score in scores[cut:]:
        second.add_score(score)
    for score in scores:
        straight.add_score(score)
    assert second.factor(10) == straight.factor(10)
    assert second.wants_score


def test_a_plateau_knows_which_way_is_better_and_that_nan_is_not() -> None:
    rising = [0.5, 0.6, 0.7, 0.8]
    accuracy = schedule("plateau:patience=0", more_is_better=True)
    loss = schedule("plateau:patience=0")
    for score in rising:
        accuracy.add_score(score)
        loss.add_score(score)
    assert accuracy.factor(0) == 1
    assert loss.factor(0) == pytest.approx(1e-3)
    accuracy.add_score(math.nan)
    assert accuracy.factor(0) == pytest.approx(0.1)


def _score_of_both(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    log = SimpleNamespace(epoch_sums=[(9.0, 9), (8.0, 3)] if rank == 0 else [(9.0, 9), (2.0, 2)])
    plateau = schedule("plateau")
    ScoreForSchedule(plateau, log).on_epoch_end(Progress())  # type: ignore[arg-type]
    Path(folder, f"{rank}.json").write_text(json.dumps(plateau.state()))
    dist.destroy_process_group()


def test_the_score_is_the_mean_over_the_rows_of_all_workers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_score_of_both, args=(rank, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text())["best"] == 2.0  # (8 + 2) / (3 + 2)


def test_every_schedule_begins_with_the_learning_rate_of_the_job_but_those_that_say_otherwise() -> None:
    needed = {
        "step": "every=3",
        "multistep": "at=[3]",
        "map": "0=0.1,5=0.2",
        "exponential": "gamma=0.5",
        "inverse": "gamma=1",
    }
    for name in SCHEDULES.keys() - {"sigmoid", "one_cycle"}:
        assert schedule(f"{name}:{needed[name]}" if name in needed else name).factor(0) == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "no schedule 'cosin'.*Did you mean 'cosine'"),
        ("cosine:finl=0.1", "no option 'finl'.*Did you mean 'final'"),
        ("plateau:more_is_better=yes", "no option 'more_is_better'"),
        ("cosine:timing=3", "no option 'timing'"),
        ("cosine:final=-1", "final must be a number, 0 or more, got -1"),
        ("step", "step needs every. Example: step:every=20"),
        ("step:every=0", "every must be a whole number, 1 or more, got 0"),
        ("step:every=2,gamma=0", "gamma must be a number above 0, got 0"),
        ("step:every=2,by=week", "by must be step or epoch, got 'week'"),
        ("multistep:at=[]", "at must be a list"),
        ("multistep:at=[1,x]", "at must be a list"),
        ("multistep:at=[1.5]", "at must be a whole number"),
        ("exponential", "needs gamma"),
        ("exponential:gamma=fast", "gamma must be a number above 0, got 'fast'"),
        ("map", "needs a learning rate above 0 for step 0"),
        ("map:10=0.1", "needs a learning rate above 0 for step 0"),
        ("map:0=0.1,soon=0.2", "a key is a step.*got 'soon'"),
        ("map:0=0.1,5=-1", "5 must be a number, 0 or more, got -1"),
        ("one_cycle:shape=round", "shape must be cosine or linear, got 'round'"),
        ("one_cycle:rise=2", "from 0 to 1, got 2"),
        ("plateau:factor=1", "factor must be below 1"),
        ("plateau:threshold_mode=x", "rel or abs"),
        ("plateau:patience=-1", "patience must be a whole number, 0 or more"),
        ("constant:x=1", "It has: none"),
    ],
)
def test_what_a_schedule_does_not_take_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        schedule(text)


def test_a_spec_is_read_from_text_and_left_as_it_is() -> None:
    spec = Spec(name="cosine", options={"final": 0.1})
    assert read_schedule("cosine:final=0.1") == spec
    assert read_schedule(spec) is spec
    assert read_schedule(spec.model_dump()) == spec.model_dump()
