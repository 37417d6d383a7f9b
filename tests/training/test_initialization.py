"""Initial weights: their distribution, their layers, their seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError
from firesteel.specs import parse_spec
from firesteel.training.initialization import INITIALIZATIONS, check_init, initialize


def initialized(module: nn.Module, text: str, seed: int = 0) -> nn.Module:
    initialize(module, parse_spec(text), seed)
    return module


# (300 inputs, 200 outputs): 60,000 draws, whose deviation is known to about 0.3 %.
@pytest.mark.parametrize(
    ("text", "deviation", "kind"),
    [
        ("xavier", math.sqrt(2 / 500), "normal"),
        ("xavier:gain=2", 2 * math.sqrt(2 / 500), "normal"),
        ("xavier_uniform", math.sqrt(2 / 500), "uniform"),
        ("he", math.sqrt(2 / 300), "normal"),
        ("he:slope=0.5", math.sqrt(2 / 1.25 / 300), "normal"),
        ("he_uniform", math.sqrt(2 / 300), "uniform"),
        ("lecun", math.sqrt(1 / 300), "normal"),
        ("lecun_uniform", math.sqrt(1 / 300), "uniform"),
        ("normal:std=0.01", 0.01, "normal"),
        ("uniform:low=-0.1,high=0.1", 0.2 / math.sqrt(12), "uniform"),
    ],
)
def test_the_distribution(text: str, deviation: float, kind: str) -> None:
    layer = initialized(nn.Linear(300, 200), text + ("," if ":" in text else ":") + "bias=0.25")
    assert isinstance(layer, nn.Linear)
    assert layer.weight.mean().item() == pytest.approx(0, abs=4 * deviation / math.sqrt(60_000))
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.015)
    # The fourth moment tells the two apart: 3 for a normal distribution, 1.8 for a uniform one.
    kurtosis = (layer.weight / deviation).pow(4).mean().item()
    assert kurtosis == pytest.approx({"normal": 3.0, "uniform": 1.8}[kind], abs=0.15)
    assert (layer.bias == 0.25).all()


def test_orthogonal_and_zero() -> None:
    wide = initialized(nn.Linear(30, 20), "orthogonal:gain=2")
    torch.testing.assert_close(wide.weight @ wide.weight.T, 4 * torch.eye(20), atol=1e-5, rtol=0)
    assert all((p == 0).all() for p in initialized(nn.Linear(3, 2), "zero").parameters())
    assert (initialized(nn.Linear(300, 200), "normal:std=0.01,mean=1").weight > 0.9).all()


def test_fans_of_convolutions() -> None:
    """A transposed convolution reads ``in`` maps of 3x3 too, though its weight is stored the other way around."""
    plain = initialized(nn.Conv2d(40, 80, 3), "he")
    transposed = initialized(nn.ConvTranspose2d(40, 80, 3), "he")
    for layer in (plain, transposed):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (40 * 9)), rel=0.03)


def test_each_gate_of_a_recurrent_layer_is_a_matrix_of_its_own() -> None:
    lstm = initialized(nn.LSTM(28, 32, num_layers=2, proj_size=8), "orthogonal:bias=0.5")
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            assert (parameter == 0.5).all()
        elif name.startswith("weight_hr"):
            torch.testing.assert_close(parameter @ parameter.T, torch.eye(8), atol=1e-5, rtol=0)
        else:
            for gate in parameter.chunk(4):
                torch.testing.assert_close(gate.T @ gate, torch.eye(gate.shape[1]), atol=1e-5, rtol=0)
    gru = initialized(nn.GRUCell(300, 200), "xavier")
    assert gru.weight_ih.std().item() == pytest.approx(math.sqrt(2 / 500), rel=0.015)


def test_other_layers_keep_what_they_have() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.PReLU())
    before = {name: p.clone() for name, p in model.named_parameters()}
    initialized(model, "normal:std=1,bias=3")
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"1.weight", "1.bias"}
    initialized(model, "default")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name[0] != "1")


@pytest.mark.parametrize("name", [name for name in INITIALIZATIONS if name not in ("default", "zero")])
def test_the_seed_decides_and_nothing_else(name: str) -> None:
    """Neither torch's own generator nor the layout in memory; that generator is left as it was."""
    text = f"{name}:std=0.1" if name == "normal" else name
    state = torch.get_rng_state()
    one = initialized(nn.Conv2d(3, 8, 5), text, seed=5).weight
    drawn = torch.rand(3)  # moves torch's generator, as the constructors do
    strided = initialized(nn.Conv2d(3, 8, 5).to(memory_format=torch.channels_last), text, seed=5).weight
    other = initialized(nn.Conv2d(3, 8, 5), text, seed=6).weight
    assert torch.equal(one, strided)
    assert not torch.equal(one, other)
    torch.set_rng_state(state)
    nn.Conv2d(3, 8, 5)
    assert torch.equal(drawn, torch.rand(3))


def test_a_shared_weight_is_drawn_once() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    alone = initialized(nn.Linear(4, 4), "he", seed=1)
    assert torch.equal(initialized(tied, "he", seed=1)[0].weight, alone.weight)  # type: ignore[index]


def test_a_model_without_such_layers_is_refused_also_on_the_meta_device() -> None:
    with torch.device("meta"):
        embedding, linear = nn.Embedding(3, 2), nn.Linear(3, 2)
    with pytest.raises(ConfigError, match="init he has nothing to do"):
        initialized(embedding, "he")
    assert initialized(linear, "orthogonal").weight.is_meta
    assert initialized(embedding, "default") is embedding


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kaiming", "no initialisation 'kaiming'"),
        ("xavier_unifrom", "Did you mean 'xavier_uniform'"),
        ("he:std=1", "init he has no option 'std'"),
        ("normal", "std must be a number, got None. For example normal:std=0.01"),
        ("normal:std=-1", "std must not be negative"),
        ("uniform:low=1,high=0", "low not above high"),
        ("zero:bias=x", "bias must be a number, got 'x'"),
        ("default:bias=1", "has no option 'bias'"),
    ],
)
def test_what_an_initialisation_does_not_take_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_init(parse_spec(text))
