"""Feature vectors of layers: by module, by step of a graph, pooled or flat."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from firesteel.errors import ConfigError
from firesteel.models.graph import as_graph
from firesteel.models.layer_output import LayerOutput, layer_names


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(4, 5, 3, stride=2)
        self.fc = nn.Linear(5, 2)
        self.unused = nn.Linear(2, 2)
        self.calls = 0

    def forward(self, features: Tensor) -> Tensor:
        maps = self.relu(self.second(self.relu(self.conv(features))))
        hidden = maps.mean((2, 3))
        self.calls += 1
        return self.fc(hidden)


@pytest.fixture
def network() -> _Small:
    torch.manual_seed(0)
    return _Small().eval()


SHAPE = (3, 9, 9)


@torch.no_grad()
def test_a_layer_gives_its_feature_maps_averaged_or_flat(network: _Small) -> None:
    batch = torch.randn(6, *SHAPE)
    maps = network.conv(batch)
    averaged, flat = LayerOutput(network, SHAPE, "conv"), LayerOutput(network, SHAPE, "conv", "flatten")
    torch.testing.assert_close(averaged(batch), maps.mean((2, 3)))
    torch.testing.assert_close(flat(batch), maps.flatten(1))
    assert (averaged.size, flat.size) == (4, 4 * 81)


@torch.no_grad()
def test_by_default_it_is_what_the_classes_are_told_from(network: _Small) -> None:
    batch = torch.randn(6, *SHAPE)
    features = LayerOutput(network, SHAPE)
    assert (features.layer, features.size) == ("input of fc", 5)
    torch.testing.assert_close(network.fc(features(batch)), network(batch))


@torch.no_grad()
def test_of_a_layer_that_is_called_twice_the_last_call_counts(network: _Small) -> None:
    batch = torch.randn(6, *SHAPE)
    expected = network.second(network.conv(batch).relu()).relu().mean((2, 3))
    torch.testing.assert_close(LayerOutput(network, SHAPE, "relu")(batch), expected)


@torch.no_grad()
def test_nothing_is_computed_after_the_layer_and_no_hook_is_left(network: _Small) -> None:
    features = LayerOutput(network, SHAPE, "second")
    before = network.calls
    features(torch.randn(2, *SHAPE))
    assert network.calls == before  # the forward pass was cut short
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@torch.no_grad()
def test_a_copy_computes_by_itself(network: _Small) -> None:
    features = LayerOutput(network, SHAPE, "second")
    copied = copy.deepcopy(features)
    batch = torch.randn(2, *SHAPE)
    network.conv.weight.zero_()
    assert not torch.equal(copied(batch), features(batch))


@torch.no_grad()
@pytest.mark.parametrize("rows", [None, 4])
def test_graphs_give_layers_and_steps_also_of_fixed_rows(rows: int | None, network: _Small) -> None:
    batch = torch.randn(6, *SHAPE)
    graph, _ = as_graph(network, torch.randn(3, *SHAPE))
    if rows is not None:
        options = graph.options | {"rows": rows}
        fixed = type(graph)(SHAPE, 2, **options)
        fixed.load_state_dict(graph.state_dict())
        graph = fixed.eval()
    torch.testing.assert_close(LayerOutput(graph, SHAPE, "second")(batch), LayerOutput(network, SHAPE, "second")(batch))
    torch.testing.assert_close(LayerOutput(graph, SHAPE)(batch), LayerOutput(network, SHAPE)(batch))
    step = next(step["name"] for step in graph.options["steps"] if "mean" in (step.get("op") or ""))
    torch.testing.assert_close(LayerOutput(graph, SHAPE, step)(batch), LayerOutput(network, SHAPE)(batch))


def test_an_unknown_layer_is_answered_with_those_that_are_there(network: _Small) -> None:
    assert layer_names(network, SHAPE) == ["conv", "relu", "second", "fc"]
    with pytest.raises(
        ConfigError, match=r"no layer 'secnd'\. Did you mean 'second'\? It has 4: conv, relu, second, fc"
    ):
        LayerOutput(network, SHAPE, "secnd")
    with pytest.raises(ConfigError, match="no layer 'unused'"):  # it is never called
        LayerOutput(network, SHAPE, "unused")
    with pytest.raises(ConfigError, match="pool must be one of auto, average, flatten, got 'max'"):
        LayerOutput(network, SHAPE, "conv", "max")  # type: ignore[arg-type]


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.lstm(features.transpose(0, 1))[0][-1])


def test_a_result_that_is_no_vector_of_each_row_is_refused() -> None:
    network = _Recurrent().eval()
    with pytest.raises(ConfigError, match=r"layer 'lstm' gives \(7, 3, 6\) for 3 rows"):
        LayerOutput(network, (7, 4), "lstm")
    assert LayerOutput(network, (7, 4)).size == 6
