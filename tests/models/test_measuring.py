"""Layers, outputs, parameters, multiply-adds and memory of networks: against papers, arithmetic and torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import firesteel
from firesteel.errors import ConfigError, ModelError, RunError
from firesteel.models import count_parameters
from firesteel.models.summary import ModelSummary


class Everything(nn.Module):
    """An LSTM, an attention, a layer that is called twice, a product without a layer, tied and unused weights."""

    def __init__(self, *, reads_values: bool = False):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.twice = nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16)
        self.tied = nn.Linear(16, 16, bias=False)
        self.tied.weight = self.twice.weight
        self.unused = nn.Linear(3, 5)
        self.places = nn.Parameter(torch.zeros(10, 16))
        self._reads_values = reads_values

    def forward(self, x: Tensor) -> Tensor:
        if self._reads_values:
            assert float(x.sum()) == 0  # of the sample of zeros
        states, _ = self.lstm(x)
        attended, _ = self.attention(states, states, states, need_weights=False)
        hidden = self.tied(self.twice(self.twice(attended + self.places)))
        return self.norm((hidden @ hidden.transpose(1, 2) @ hidden).mean(1))


LSTM = 10 * 4 * 16 * (8 + 16)
ATTENTION = 10 * 16 * 16 * 4 + 2 * 10 * 10 * 16  # four projections, two products of 10 x 10 places
TWICE = 2 * 10 * 16 * 16
PRODUCTS = 2 * 10 * 10 * 16


def layer(summary: ModelSummary, name: str) -> Any:
    return next(each for each in summary.layers if each.name == name)


@pytest.mark.parametrize("reads_values", [False, True], ids=["meta", "cpu"])
def test_every_multiply_add_is_counted_where_it_happens(reads_values: bool) -> None:
    """Also where the network cannot run on the meta device, because it looks at values."""
    network = Everything(reads_values=reads_values)
    found = firesteel.summary(network, input_shape=(10, 8))
    counted = {each.name: each.multiply_adds for each in found.layers if each.multiply_adds}
    assert counted == {"lstm": LSTM, "attention": ATTENTION, "twice": TWICE, "tied": TWICE // 2, "": PRODUCTS}
    assert found.multiply_adds == sum(counted.values())
    assert (layer(found, "twice").calls, layer(found, "lstm").calls) == (2, 1)


def test_parameters_count_once_and_where_they_are_used() -> None:
    found = firesteel.summary(Everything(), input_shape=(10, 8))
    assert found.parameters == count_parameters(Everything())
    parameters = {each.name: each.parameters for each in found.layers}
    assert parameters["attention"] == 4 * (16 * 16 + 16)  # with those of its output, which is no layer of its own here
    assert "attention.out_proj" not in parameters
    assert (parameters["twice"], parameters["tied"], parameters[""]) == (16 * 16 + 16, 0, 160)
    assert (layer(found, "unused").calls, layer(found, "unused").output_shape, parameters["unused"]) == (0, None, 20)


@pytest.mark.parametrize("reads_values", [False, True], ids=["meta", "cpu"])
def test_the_network_is_not_changed(reads_values: bool) -> None:
    network = Everything(reads_values=reads_values).train()
    network.lstm.eval()
    before, numbers = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    firesteel.summary(network, input_shape=(10, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert (network.training, network.lstm.training, network.norm.training) == (True, False, True)
    assert torch.equal(numbers, torch.random.get_rng_state())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("spec", "billions"),
    [
        # what torchvision's documentation says of its networks ("GFLOPS", which are multiply-adds)
        ("alexnet", 0.71), ("vgg11", 7.61), ("vgg16", 15.47), ("vgg19", 19.63), ("squeezenet", 0.82), ("squeezenet:version=1.1", 0.35),
        ("resnet18", 1.81), ("resnet34", 3.66), ("resnet50", 4.09), ("resnet101", 7.80), ("resnet152", 11.51), ("mobilenet", 0.30),
        ("googlenet", 1.50), ("vit:patch=16,dim=768,layers=12,heads=12,mlp_dim=3072", 17.56),
    ],
)  # fmt: skip
def test_multiply_adds_are_those_that_are_published(spec: str, billions: float) -> None:
    shape = "3x224x224" if spec.startswith("vit") else None
    found = firesteel.summary(spec, input_shape=shape, num_classes=1000)
    assert round(found.multiply_adds / 1e9, 2) == billions
    assert found.layers[-1].output_shape is not None
    assert found.layers[-1].output_shape[0] == 1000


def test_the_memory_of_a_dense_network_is_as_one_counts_it() -> None:
    """Outputs: 20 and 3 floats; what works in place or only looks otherwise takes none. Held: the input and the ReLU's output."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.ReLU(inplace=True), nn.Dropout(0.0), nn.Linear(20, 3))
    found = firesteel.summary(network, input_shape=(3, 4))
    assert [each.activation_bytes for each in found.layers] == [0, 80, 0, 0, 12]
    assert [each.output_shape for each in found.layers] == [(12,), (20,), (20,), (20,), (3,)]
    assert (found.activation_bytes, found.training_bytes) == (92, 4 * (12 + 20))


def test_frozen_layers_are_told_and_hold_nothing_for_the_backward_pass() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    whole = firesteel.summary(network, input_shape="3x8x8")
    network[0].requires_grad_(False)
    found = firesteel.summary(network, input_shape="3x8x8")
    assert (found.parameters - found.trainable, found.to_json()["frozen"]) == (224, 224)
    assert whole.training_bytes is not None
    assert found.training_bytes is not None
    assert found.training_bytes < whole.training_bytes


def test_a_sum_of_branches_belongs_to_the_block_that_makes_it() -> None:
    found = firesteel.summary("googlenet")
    joined = layer(found, "inception3a")
    assert (joined.output_shape, joined.activation_bytes, joined.multiply_adds) == ((256, 28, 28), 4 * 256 * 28 * 28, 0)


def factory(num_classes: int, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, num_classes))


def test_own_networks_are_named_built_or_given() -> None:
    by_name = firesteel.summary(f"{__name__}:factory:width=5", input_shape=(3, 4), num_classes=2)
    assert (by_name.model, by_name.parameters) == (f"{__name__}:factory:width=5", 13 * 5 + 6 * 2)
    called = firesteel.summary(lambda: factory(2, 5), input_shape=(12,))
    given = firesteel.summary(factory(2, 5), input_shape=[12])
    assert called.parameters == given.parameters == by_name.parameters
    assert given.num_classes is None


def test_a_run_brings_its_own_shape(dataset: Path, tmp_path: Path) -> None:
    firesteel.train(dataset, tmp_path / "run", engine="local", model="mlp:hidden=[8]", epochs=1, threads=1)
    for place in (tmp_path / "run", str(tmp_path / "run" / "model")):
        found = firesteel.summary(place)
        assert (found.model, found.input_shape, found.num_classes) == ("mlp:hidden=[8]", (1, 8, 8), 10)
        assert found.parameters == 65 * 8 + 9 * 10
    with pytest.raises(ConfigError, match="leave --input-shape and --classes out"):
        firesteel.summary(tmp_path / "run", input_shape=(1, 9, 9))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda: firesteel.summary("vgg6"), ModelError, r"no network, run or model folder 'vgg6'.*Did you mean 'vgg16'"),
        (lambda: firesteel.summary("vgg16:batchnorm=yes"), ConfigError, "batch_norm"),
        (lambda: firesteel.summary("vgg16", input_shape="3x20x20"), ConfigError, "32x32 or more; 20x20 is too small"),
        (lambda: firesteel.summary("vgg16", input_shape="3,32"), ConfigError, "numbers such as 3x224x224.*got '3,32'"),
        (lambda: firesteel.summary("vgg16", input_shape=(3, 0, 1)), ConfigError, "numbers such as"),
        (lambda: firesteel.summary("vgg16", num_classes=0), ConfigError, "classes must be 1 or more, got 0"),
        (lambda: firesteel.summary("vgg16", factory="a:b"), ConfigError, "goes with a run"),
        (lambda: firesteel.summary(f"{__name__}:factory"), ConfigError, "--input-shape 3x224x224"),
        (lambda: firesteel.summary(f"{__name__}:factory", input_shape=(12,)), ConfigError, "--classes 10"),
        (lambda: firesteel.summary("no_such_module:net", input_shape=(3,)), ModelError, "cannot import module"),
        (
            lambda: firesteel.summary(factory(2), input_shape=(13,)), ModelError,
            r"model Sequential does not take an input of shape 13: RuntimeError(.|\n)*--input-shape",
        ),
        (lambda: firesteel.summary(Path("/no/such/run")), RunError, "there is no run and no model"),
    ],
)  # fmt: skip
def test_what_cannot_be_summarised_is_said(given: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        given()


def test_functions_count_where_no_layer_calls_them() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(6, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.kernel, padding=1)

    found = firesteel.summary(Functional(), input_shape=(3, 5, 5))
    assert [(each.name, each.multiply_adds, each.parameters) for each in found.layers] == [("", 27 * 6 * 25, 162)]
