"""Which layers learn, and which stand still."""

from __future__ import annotations

import pytest
import torch

from firesteel.errors import ConfigError
from firesteel.models.transfer.freezing import freeze, matches, still_norms
from tests.models.transfer.networks import Blocks


def learning(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_up_to_a_layer_nothing_learns_and_nothing_moves() -> None:
    model = Blocks((3, 8, 8), 4)
    still = freeze(model, until="norm", head=("head",))
    assert learning(model) == {"fc.weight", "fc.bias", "head.weight", "head.bias"}
    names = {name for name, module in model.named_modules() if module in still}
    assert names == {"first", "first.0", "first.1", "first.2", "second", "norm"}
    assert still_norms(model) == [model.first[1], model.norm]


def test_a_layer_that_computes_beside_its_parts_stands_still_too() -> None:
    """The dropout of an attention is no layer of its own."""
    model = torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2, dropout=0.5), torch.nn.Linear(8, 2))
    assert model[0] in freeze(model, until="0")
    assert model[0] not in freeze(model, until="0", head=("0.out_proj",))


def test_of_several_layers_the_last_counts_and_a_new_head_learns_in_any_case() -> None:
    model = Blocks((3, 8, 8), 4)
    freeze(model, until="f*", head=("head",))
    assert learning(model) == {"head.weight", "head.bias"}
    model = Blocks((3, 8, 8), 4)
    freeze(model, until="head", head=("head", "fc"))
    assert {name.partition(".")[0] for name in learning(model)} == {"fc", "head"}


def test_only_some_layers_learn() -> None:
    model = Blocks((3, 8, 8), 4)
    assert freeze(model, only=("norm", "*.bias"), head=("head",)) == []
    assert {"norm.weight", "first.1.bias", "head.weight", "fc.bias"} <= learning(model)
    assert "fc.weight" not in learning(model)
    assert still_norms(model) == []  # each has a parameter that learns
    model = Blocks((3, 8, 8), 4)
    freeze(model, only=("fc",))
    assert still_norms(model) == [model.first[1], model.norm]


def test_nothing_said_freezes_nothing() -> None:
    model = Blocks((3, 8, 8), 4)
    assert freeze(model) == []
    assert len(learning(model)) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "secnd"}, "'secnd' is no layer of the network. Did you mean 'second'"),
        ({"until": "head"}, "leaves nothing to train"),
        ({"only": ("x*",)}, r"'x\*' matches no parameter"),
        ({"until": "fc", "only": ("fc",)}, "Use one of them"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        freeze(Blocks((3, 8, 8), 4), **options)


def test_patterns_match_parameters_and_what_holds_them() -> None:
    assert matches("layer1.0.conv.weight", "layer1")
    assert matches("layer1.0.conv.weight", "*.weight")
    assert not matches("layer1.0.conv.weight", "layer2*")
