"""Clipping and renormalisation against torch and against their definitions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.specs import parse_spec
from firesteel.training.clipping import check_clip, make_clip


@pytest.fixture
def model() -> nn.Module:
    """Two layers with gradients of very different length, and a parameter of the model itself without one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    (model(torch.randn(8, 4)) * torch.tensor([1.0, 50.0, 0.1])).square().sum().backward()
    model.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    return model


def clip(model: nn.Module, text: str) -> None:
    function = make_clip(parse_spec(text), dict(model.named_parameters()))
    assert function is not None
    function()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_value(model: nn.Module) -> None:
    before = gradients(model)
    clip(model, "value:max=2.5")
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, before[name].clamp(-2.5, 2.5))
    assert any((gradient.abs() > 2.5).any() for gradient in before.values())


def test_norm_as_torch(model: nn.Module) -> None:
    expected = copy.deepcopy(model)
    for ours, other in zip(model.parameters(), expected.parameters()):
        other.grad = None if ours.grad is None else ours.grad.clone()
    nn.utils.clip_grad_norm_(expected.parameters(), 1.5)
    clip(model, "norm:max=1.5")
    for name, gradient in gradients(expected).items():
        torch.testing.assert_close(gradients(model)[name], gradient)


@pytest.mark.parametrize(
    ("per", "parts"),
    [
        ("layer", [["0.weight", "0.bias"], ["2.weight", "2.bias"]]),
        ("parameter", [["0.weight"], ["0.bias"], ["2.weight"], ["2.bias"]]),
        ("global", [["0.weight", "0.bias", "2.weight", "2.bias"]]),
    ],
)
@pytest.mark.parametrize("name", ["norm:max=3000", "renormalize"])
def test_each_part_has_a_norm_of_its_own(model: nn.Module, per: str, parts: list[list[str]], name: str) -> None:
    """Norm: parts that are too long get the limit, others stay. Renormalisation: every part gets 1. Directions stay."""
    before = gradients(model)
    clip(model, name + ("," if ":" in name else ":") + f"per={per}")
    after = gradients(model)
    changed = 0
    for part in parts:
        old = torch.cat([before[each].ravel() for each in part])
        new = torch.cat([after[each].ravel() for each in part])
        length = old.norm().item()
        wanted = 1.0 if name == "renormalize" else min(length, 3000)
        changed += wanted != length
        torch.testing.assert_close(new, old * (wanted / length), rtol=1e-4, atol=1e-6)
    assert changed


def test_what_renormalises_by_default_is_the_layer(model: nn.Module) -> None:
    clip(model, "renormalize")
    after = gradients(model)
    for layer in ("0", "2"):
        both = torch.cat([after[f"{layer}.weight"].ravel(), after[f"{layer}.bias"].ravel()])
        assert both.norm().item() == pytest.approx(1)


def test_a_zero_gradient_stays_zero(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    clip(model, "renormalize:per=parameter")
    assert all((gradient == 0).all() for gradient in gradients(model).values())


def test_none_is_nothing() -> None:
    assert make_clip(parse_spec("none"), {}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norms", "no gradient clipping 'norms'.*Did you mean 'norm'"),
        ("norm", "needs max, a number above 0, for example norm:max=1, got None"),
        ("value:max=0", "above 0.*got 0"),
        ("value:max=big", "got 'big'"),
        ("value:max=1,per=layer", "no option 'per'"),
        ("renormalize:max=1", "no option 'max'"),
        ("norm:max=1,per=network", "global, layer, parameter, got 'network'"),
    ],
)
def test_what_clipping_does_not_take_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        check_clip(parse_spec(text))
