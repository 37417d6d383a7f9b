"""Optimizers by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.specs import parse_spec
from firesteel.training.optimizers import OPTIMIZERS, make_optimizer


def steps(spec: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Parameters after three steps on one fixed problem."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3, dtype=dtype)
    features, target = torch.randn(8, 6, dtype=dtype), torch.randn(8, 3, dtype=dtype)
    optimizer = make_optimizer(parse_spec(spec), model.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(features), target).backward()
        optimizer.step()
    return torch.cat([parameter.detach().ravel() for parameter in model.parameters()])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    before = torch.cat([parameter.detach().ravel() for parameter in nn.Linear(6, 3, dtype=torch.float64).parameters()])
    assert (steps(name) != before).all()


@pytest.mark.parametrize("name", ["adam", "adamw", "adam:amsgrad=yes,weight_decay=0.1"])
def test_one_kernel_computes_what_the_loop_computes(name: str) -> None:
    plain = steps(name + ("," if ":" in name else ":") + "fused=no")
    torch.testing.assert_close(steps(name), plain, rtol=1e-12, atol=1e-12)


def test_the_kernel_is_chosen_where_the_user_has_not_chosen() -> None:
    parameters = [nn.Parameter(torch.zeros(2))]
    assert make_optimizer(parse_spec("adam"), parameters, 0.1).defaults["fused"] is True
    assert make_optimizer(parse_spec("adam:fused=no"), parameters, 0.1).defaults["fused"] is False
    assert not make_optimizer(parse_spec("adamw:foreach=yes"), parameters, 0.1).defaults["fused"]
    mixed = [*parameters, nn.Parameter(torch.zeros(2, dtype=torch.complex64))]
    assert make_optimizer(parse_spec("adam"), mixed, 0.1).defaults["fused"] is False


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("adma", "no optimizer 'adma'.*Did you mean"),
        ("sgd:momentun=0.9", "momentun"),
        ("sgd:momentum=-1", "Invalid momentum"),
        ("adam:betas=[0.9,1.5]", "Invalid beta"),
        ("sgd:lr=3", "lr"),
    ],
)
def test_what_an_optimizer_does_not_take_is_said(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        make_optimizer(parse_spec(spec), [nn.Parameter(torch.zeros(2))], 0.1)
