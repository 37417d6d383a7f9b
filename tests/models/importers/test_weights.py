"""Weights into a network by name: what matches, what stays, what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from firesteel.errors import ModelError
from firesteel.models.importers.weights import load_into
from tests.networks import Tied, WithBatchNorm


class Small(nn.Module):
    def __init__(self, head: str = "fc8", classes: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.add_module(head, nn.Linear(2, classes))


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn(t.shape) if t.dim() else t.clone() for name, t in network.state_dict().items()}


def test_all_match() -> None:
    network, tensors = Small(), weights_of(Small())
    matching = load_into(network, tensors, match_all=True)
    assert set(matching.matched) == set(tensors)
    assert (matching.initial, matching.unused, dict(matching.reshaped), matching.notes) == ((), (), {}, ())
    assert all(torch.equal(network.state_dict()[name], value) for name, value in tensors.items())


def test_a_renamed_head_keeps_its_initial_weights() -> None:
    """Matching with match-all off, as BigDL has it: fc8 -> fc8_caltech256 with another number of outputs."""
    network, tensors = Small("fc8_caltech256", 257), weights_of(Small())
    before = network.fc8_caltech256.weight.clone()
    with pytest.raises(ModelError, match=r"(?s)2 of the network: fc8_caltech256.weight.*Did you mean 'fc8\.weight'"):
        load_into(network, tensors, match_all=True)
    assert not torch.equal(network.conv1.weight, tensors["conv1.weight"])  # nothing was changed
    matching = load_into(network, tensors, match_all=False)
    assert matching.initial == ("fc8_caltech256.weight", "fc8_caltech256.bias")
    assert matching.unused == ("fc8.weight", "fc8.bias")
    assert torch.equal(network.conv1.weight, tensors["conv1.weight"])
    assert torch.equal(network.fc8_caltech256.weight, before)


@pytest.mark.parametrize("match_all", [True, False])
def test_another_shape_under_the_same_name_is_an_error(match_all: bool) -> None:
    network = Small(classes=257)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=r"(?s)fc8\.weight has shape 3x2 in the file and 257x2.*give it another name"):
        load_into(network, weights_of(Small()), match_all=match_all)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_dimensions_of_one_at_the_ends_may_differ() -> None:
    network, tensors = Small(), weights_of(Small())
    tensors["fc8.weight"] = tensors["fc8.weight"].reshape(1, 1, 3, 2)
    tensors["conv1.bias"] = tensors["conv1.bias"].reshape(1, 1, 1, 2)
    matching = load_into(network, tensors, match_all=True)
    assert matching.reshaped == {"fc8.weight": "1x1x3x2 -> 3x2", "conv1.bias": "1x1x1x2 -> 2"}
    assert torch.equal(network.fc8.weight, tensors["fc8.weight"][0, 0])
    tensors["conv1.weight"] = tensors["conv1.weight"].transpose(0, 1)  # 1x2x3x3: a dimension in the middle is not free
    with pytest.raises(ModelError, match="2x1x3x3"):
        load_into(
            nn.ModuleDict({"conv1": nn.Conv2d(2, 2, 3)}), {"conv1.weight": torch.zeros(2, 1, 3, 3)}, match_all=False
        )


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model.", "student.encoder."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    network, tensors = Small(), weights_of(Small())
    matching = load_into(network, {prefix + name: value for name, value in tensors.items()}, match_all=True)
    assert matching.notes == (f"names in the file begin with {prefix!r}, which was taken off",)
    assert torch.equal(network.fc8.weight, tensors["fc8.weight"])


def test_a_network_that_wraps_takes_a_plain_file() -> None:
    network, tensors = WithBatchNorm((1, 8, 8), 3), weights_of(WithBatchNorm((1, 8, 8), 3))
    plain = {name.removeprefix("layers."): value for name, value in tensors.items()}
    matching = load_into(network, plain, match_all=True)
    assert matching.notes == ("names in the network begin with 'layers.', those in the file do not",)
    assert len(matching.matched) == len(tensors)


def test_files_without_counters_of_batch_norm_are_whole() -> None:
    tensors = {name: value for name, value in weights_of(Small()).items() if "num_batches" not in name}
    assert load_into(Small(), tensors, match_all=True).initial == ()


def test_shared_tensors_need_be_given_once() -> None:
    network = Tied(3)
    tensors = weights_of(network)
    del tensors["second.weight"]
    assert load_into(network, tensors, match_all=True).initial == ()
    assert torch.equal(network.second.weight, tensors["first.weight"])


def test_halves_are_widened_and_integers_are_refused() -> None:
    network, tensors = Small(), {name: value.half() for name, value in weights_of(Small()).items() if value.dim()}
    load_into(network, tensors, match_all=True)
    assert network.fc8.weight.dtype == torch.float32
    assert torch.equal(network.fc8.weight, tensors["fc8.weight"].float())
    tensors["fc8.weight"] = torch.zeros(3, 2, dtype=torch.int8)
    with pytest.raises(ModelError, match=r"int8.*quantized"):
        load_into(network, tensors, match_all=True)


def test_nothing_that_matches_is_an_error_in_both() -> None:
    with pytest.raises(ModelError, match=r"none of the file's 1 tensors.*\n.*The file has|none of the file's 1"):
        load_into(Small(), {"other": torch.zeros(1)}, match_all=False)
    with pytest.raises(ModelError, match="The file has none"):
        load_into(Small(), {}, match_all=False)


def test_broken_numbers_are_said() -> None:
    tensors = weights_of(Small())
    tensors["fc8.bias"][0] = float("nan")
    assert load_into(Small(), tensors, match_all=True).notes == ("1 tensors hold NaN or infinity: fc8.bias",)


@given(st.lists(st.sampled_from(["a", "b", "model", "module", "a.b", "a.model", ""]), unique=True, max_size=6))
def test_every_tensor_is_accounted_for(names: list[str]) -> None:
    network = nn.ModuleDict({"a": nn.Linear(1, 1), "model": nn.Linear(1, 1)})
    tensors = {f"{name}.weight".lstrip("."): torch.ones(1, 1) for name in names}
    try:
        matching = load_into(network, tensors, match_all=False)
    except ModelError:
        return
    assert set(matching.matched) | set(matching.initial) == set(network.state_dict())
    assert len(matching.matched) + len(matching.unused) == len(tensors)
