"""From gradient to parameter: regularisation, groups of learning rates, schedules and state in one step."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.training.parameters import kinds_of, parameter_groups, regularized
from firesteel.training.schedules import Timing
from firesteel.training.settings import UpdateSettings
from firesteel.training.update import Update, build_optimizer, make_update
from firesteel.world import World, using_threads

TIMING = Timing(steps_per_epoch=5, epochs=4)


class Net(nn.Module):
    """Layers of every kind: convolution, normalisation, recurrence, attention, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, L) -> (B, 2)."""
        y, _ = self.lstm(self.norm(self.conv(x)).transpose(1, 2))
        y, _ = self.attention(y, y, y)
        return self.head(y[:, -1]) * self.scale


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers of this size compute faster alone."""
    with using_threads(1):
        yield


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net().double()


def update_of(model: nn.Module, **settings: Any) -> Update:
    return make_update(UpdateSettings(**settings), model, TIMING, World(), model_name="net")


def data(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 7, generator=generator, dtype=torch.float64), torch.randint(
        0, 2, (8,), generator=generator
    )


def run(model: nn.Module, update: Update, steps: range = range(6)) -> dict[str, torch.Tensor]:
    """Parameters after these steps."""
    for step in steps:
        features, labels = data(step)
        with update.autocast():
            loss = nn.functional.cross_entropy(model(features), labels)
        update.scaled(loss).backward()
        update.step(step)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def run_torch(model: nn.Module, optimizer: torch.optim.Optimizer, penalty: Any = None) -> dict[str, torch.Tensor]:
    """The same with an optimizer of torch and a penalty that is a part of the loss."""
    for step in range(6):
        features, labels = data(step)
        loss = nn.functional.cross_entropy(model(features), labels)
        (loss if penalty is None else loss + penalty(model)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    # The gradient of a bias before a batch norm is rounding only, which AdaGrad and its kin blow up: hence atol.
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=1e-9, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}"
        )


WEIGHTS = [
    "conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "attention.in_proj_weight", "attention.out_proj.weight",
    "scale", "head.weight",
]  # fmt: skip
BIASES = [
    "conv.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "attention.in_proj_bias", "attention.out_proj.bias", "head.bias",
]  # fmt: skip


def test_what_is_a_weight_a_bias_and_normalisation(model: nn.Module) -> None:
    kinds = kinds_of(model)
    assert {name for name, kind in kinds.items() if kind == "weight"} == set(WEIGHTS)
    assert {name for name, kind in kinds.items() if kind == "bias"} == set(BIASES)
    assert {name for name, kind in kinds.items() if kind == "normalization"} == {"norm.weight", "norm.bias"}
    assert len(regularized(model, "weights")) == len(WEIGHTS)
    assert len(regularized(model, "all")) == len(kinds)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adamw"])
def test_without_options_it_is_the_optimizer_of_torch_bit_by_bit(model: nn.Module, optimizer: str) -> None:
    other = copy.deepcopy(model)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    fused = {} if optimizer == "sgd" else {"fused": True}
    expected = run_torch(other, kind(other.parameters(), lr=0.001, **fused))
    actual = run(model, update_of(model, optimizer=optimizer))
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9,nesterov=yes", "adam", "adagrad", "rmsprop", "adadelta"])
@pytest.mark.parametrize("which", ["weights", "all"])
def test_penalties_are_those_of_a_loss_that_has_them(model: nn.Module, optimizer: str, which: Any) -> None:
    other = copy.deepcopy(model)
    names = WEIGHTS if which == "weights" else [name for name, _ in model.named_parameters()]

    def penalty(net: nn.Module) -> torch.Tensor:
        chosen = [net.get_parameter(name) for name in names]
        return sum(0.01 * p.abs().sum() + 0.1 / 2 * p.square().sum() for p in chosen)  # type: ignore[return-value]

    plain = UpdateSettings(optimizer=optimizer, learning_rate=0.01)
    expected = run_torch(other, build_optimizer(plain, other, "net"), penalty)
    assert_same(
        run(model, update_of(model, optimizer=optimizer, learning_rate=0.01, l1=0.01, l2=0.1, regularize=which)),
        expected,
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_of_all_parameters_is_that_of_adamw(model: nn.Module, optimizer: str) -> None:
    """Also for adamw itself, whose own default gives way."""
    other = copy.deepcopy(model)
    expected = run_torch(other, torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.3))
    update = update_of(model, optimizer=optimizer, learning_rate=0.01, weight_decay=0.3, regularize="all")
    assert_same(run(model, update), expected)


def test_weight_decay_spares_biases_and_normalisation_and_follows_the_learning_rate(model: nn.Module) -> None:
    """With gradients of zero, what is left is the product of 1 - rate * decay."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    update = update_of(
        model, optimizer="sgd", learning_rate=0.1, weight_decay=0.5, schedule="step:every=2,by=step,gamma=0.1",
        layer_learning_rates={"head": 3},
    )  # fmt: skip
    for step in range(4):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        update.step(step)
    for name, parameter in model.named_parameters():
        factor = 3 if name.startswith("head") else 1
        left = (1 - 0.05 * factor) ** 2 * (1 - 0.005 * factor) ** 2 if name in WEIGHTS else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * left)


def test_learning_rates_of_biases_and_layers(model: nn.Module) -> None:
    """With plain SGD a step is the rate times the gradient."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    update = update_of(
        model, optimizer="sgd", learning_rate=0.1, bias_learning_rate=0.02, workers=4, lr_scaling="sqrt",
        layer_learning_rates={"lstm": 0.5, "lstm.*_hh_*": 10, "conv.weight": 0, "*norm*": 2},
    )  # fmt: skip
    features, labels = data(0)
    nn.functional.cross_entropy(model(features), labels).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert "conv.weight" not in gradients  # frozen: not even computed
    update.step(0)
    rates = {
        "conv.bias": 0.02, "norm.weight": 0.2, "norm.bias": 0.2, "lstm.weight_ih_l0": 0.05, "lstm.weight_hh_l0": 1.0,
        "lstm.bias_ih_l0": 0.01, "lstm.bias_hh_l0": 0.2, "attention.in_proj_weight": 0.1,
        "attention.in_proj_bias": 0.02, "attention.out_proj.weight": 0.1, "attention.out_proj.bias": 0.02,
        "scale": 0.1, "head.weight": 0.1, "head.bias": 0.02,
    }  # fmt: skip
    assert rates.keys() == gradients.keys()
    for name, rate in rates.items():
        torch.testing.assert_close(model.get_parameter(name).detach(), before[name] - 2 * rate * gradients[name])
    assert torch.equal(model.get_parameter("conv.weight"), before["conv.weight"])


def test_one_group_where_one_learning_rate_is_enough(model: nn.Module) -> None:
    (group,) = parameter_groups(model, UpdateSettings(), "net")
    assert group["lr"] == 0.001
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_a_pattern_names_whole_parts_of_a_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)})
    parameter_groups(model, UpdateSettings(layer_learning_rates={"a": 0}), "net")
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_patterns_that_match_nothing_or_leave_nothing_are_refused(model: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)'haed' matches no parameter of model net.*Did you mean 'head'.*conv\.weight"
    ):
        parameter_groups(model, UpdateSettings(layer_learning_rates={"haed": 0.1}), "net")
    with pytest.raises(ConfigError, match="no trainable parameter that is left"):
        parameter_groups(model, UpdateSettings(layer_learning_rates={"*": 0}), "net")


def test_the_order_is_clip_then_penalty(model: nn.Module) -> None:
    """As in Caffe: a large penalty is not cut by the clipping."""
    update = update_of(model, optimizer="sgd", learning_rate=1.0, l2=100.0, clip="value:max=0.0001")
    before = model.get_parameter("head.weight").detach().clone()
    run(model, update, range(1))
    torch.testing.assert_close(model.get_parameter("head.weight").detach(), -99 * before, rtol=0, atol=1.1e-4)


def test_the_learning_rate_follows_the_schedule(model: nn.Module) -> None:
    update = update_of(
        model, optimizer="sgd", schedule={0: 0.03, 3: 0.01}, bias_learning_rate=0.06, workers=2, lr_scaling="linear",
        warmup="2", layer_learning_rates={"conv": 0.5},
    )  # fmt: skip
    assert update.learning_rate == pytest.approx(0.06)
    seen = []
    for step in range(5):
        run(model, update, range(step, step + 1))
        seen.append(update.learning_rate)
        rates = [group["lr"] for group in update.optimizer.param_groups]
        assert sorted({rate / update.learning_rate for rate in rates}) == pytest.approx([0.5, 1, 2])
    # From the rate of one worker to that of two in two steps.
    assert seen == pytest.approx([0.03, 0.045, 0.06, 0.02, 0.02])


SETTINGS: dict[str, Any] = {
    "optimizer": "adam", "learning_rate": 0.01, "schedule": "plateau:patience=0,factor=0.5", "warmup": "3",
    "l2": 0.01, "clip": "norm:max=1", "precision": "bf16", "layer_learning_rates": {"conv": 0.1},
}  # fmt: skip
SCORES = [1.0, 2.0, 0.5, 0.4]


def test_a_restored_update_goes_on_bit_by_bit(model: nn.Module) -> None:
    """Model, optimizer and state of the update are enough, though the optimizer brings learning rates of its own."""

    def epochs(net: nn.Module, update: Update, numbers: range) -> dict[str, torch.Tensor]:
        for epoch in numbers:
            run(net, update, range(5 * epoch, 5 * epoch + 5))
            update.schedule.add_score(SCORES[epoch])
        return dict(net.named_parameters())

    second = copy.deepcopy(model)
    straight = epochs(model, update_of(model, **SETTINGS), range(4))
    before = update_of(second, **SETTINGS)
    epochs(second, before, range(2))
    third, state = copy.deepcopy(second), json.loads(json.dumps(before.state()))
    after = update_of(third, **SETTINGS)
    after.load_state(state)
    after.optimizer.load_state_dict(copy.deepcopy(before.optimizer.state_dict()))
    resumed = epochs(third, after, range(2, 4))
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    assert after.learning_rate == pytest.approx(0.005)


def test_a_run_can_go_on_with_another_learning_rate(model: nn.Module) -> None:
    """The checkpoint's rates do not win: resuming with a rate ten times lower is how fine-tuning is continued."""
    before = update_of(model, learning_rate=0.01)
    run(model, before)
    after = update_of(model, learning_rate=0.001)
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    after.load_state(before.state())
    run(model, after, range(6, 7))
    assert after.learning_rate == after.optimizer.param_groups[0]["lr"] == 0.001


def test_a_state_without_a_part_starts_it_anew(model: nn.Module) -> None:
    plain = update_of(model)
    run(model, plain)
    plateau = update_of(model, schedule="plateau:patience=0")
    plateau.load_state(plain.state())
    plain.load_state(plateau.state())
    run(model, plateau)
    assert plateau.learning_rate == 0.001
