"""From a name to a network: what is found, what is refused, what may be followed on a file's word."""

from __future__ import annotations

import subprocess
import sys

import cloudpickle
import pytest
import torch
from torch import nn

from firesteel.errors import ConfigError, ModelError
from firesteel.models import ModelSource, build_model, count_parameters, resolve_model
from firesteel.models.registry import is_trusted_factory, travelling_source
from firesteel.specs import Spec
from tests import networks


def build(model: object) -> nn.Module:
    return build_model(resolve_model(model), input_shape=(1, 8, 8), num_classes=10, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cnnn", r"no model 'cnnn'.*Did you mean 'cnn'.*mlp, lstm, lenet.*MODULE:FACTORY"),
        ("tests.networks:linera", r"no 'linera'.*Did you mean"),
        ("no.such.module:f", "cannot import module 'no.such.module'"),
        ("tests.networks:VALUE", "is a int; a function or a class is needed"),
        ("tests.networks:raising", r"raises FileNotFoundError: weights\.bin"),
        ("tests.networks:not_a_module", "returned a list"),
    ],
)
def test_a_model_that_cannot_be_had_is_explained(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){message}"):
        build(name)


def test_a_built_module_and_other_things_are_refused() -> None:
    with pytest.raises(ModelError, match="must be a factory, got a built module"):
        build(nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="must be a name or a callable, got int"):
        build(3)


def test_equal_seeds_give_equal_weights_and_no_seed_leaves_the_generator() -> None:
    first, second = build("mlp"), build("mlp")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    before = torch.random.get_rng_state()
    source = resolve_model(lambda num_classes: nn.Identity())
    build_model(source, input_shape=(1,), num_classes=2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_options_reach_the_factory() -> None:
    assert count_parameters(build("tests.networks:Misbehaving:what=sleep,at=7")) == 650
    assert build("tests.networks:Misbehaving:what=sleep,at=7").at == 7
    with pytest.raises(ConfigError, match="ats"):
        build("tests.networks:Misbehaving:ats=7")


def test_shared_parameters_count_once() -> None:
    assert count_parameters(build("tests.networks:Tied")) == 64 * 64 + 64 + 64 + 650


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        ("cnn", True),
        ("torch.nn:Linear", True),
        ("tests.networks:linear", True),
        ("tests.networks:undeclared", False),
        ("tests.networks:not_a_module", False),
        ("os:system", False),
        ("subprocess:Popen", False),
    ],
)
def test_only_what_says_that_it_makes_modules_is_called_on_a_files_word(name: str, trusted: bool) -> None:
    assert is_trusted_factory(name) == trusted


def test_the_users_module_travels_by_value_and_ours_by_name() -> None:
    """A worker elsewhere can import Firesteel and torch, but not the file beside the user's script."""
    assert travelling_source(ModelSource(Spec(name="cnn"))) == ModelSource(Spec(name="cnn"))
    assert travelling_source(resolve_model(nn.Identity)).factory is None
    travelling = travelling_source(resolve_model(networks.linear))
    assert travelling.factory is networks.linear
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).factory(num_classes=2, input_shape=(3,)))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=cloudpickle.dumps(travelling), capture_output=True, cwd="/", timeout=60
    )
    assert b"Linear(in_features=3, out_features=2" in done.stdout, done.stderr


def test_a_network_of_the_zoo_is_resolved_without_torch() -> None:
    program = (
        "import sys; from firesteel.models import resolve_model; resolve_model('cnn'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
