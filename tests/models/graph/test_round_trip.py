"""A network and the graph made of it are the same network."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firesteel.data.manifest import Feature, Statistics
from firesteel.errors import ModelError
from firesteel.models.description import ModelDescription, load_model, read_description, save_model
from firesteel.models.graph import Graph, as_graph, graph_options
from firesteel.specs import Spec
from firesteel.storage import Place
from tests.models.graph.networks import ALL, CLASSES, SHAPE


@pytest.fixture(scope="module", params=list(ALL))
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    network = ALL[request.param]()
    network.train()(torch.randn(16, *SHAPE))  # running statistics that are not those of the beginning
    return network.eval(), as_graph(network, torch.randn(2, *SHAPE))[0]


def test_outputs_are_equal_for_any_batch(pair: tuple[nn.Module, Graph]) -> None:
    network, graph = pair
    with torch.no_grad():
        for rows in (1, 2, 7):
            batch = torch.randn(rows, *SHAPE)
            torch.testing.assert_close(graph(batch), network(batch))


def test_names_in_the_state_dict_are_kept(pair: tuple[nn.Module, Graph]) -> None:
    network, graph = pair
    ours, theirs = graph.state_dict(), network.state_dict()
    shared = {"two.weight"}  # the same tensor as one.weight
    constants = {name for name in ours if name.startswith("constant_")}
    assert set(ours) - constants == set(theirs) - shared
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    assert {n for n, _ in graph.named_parameters()} == {n for n, _ in network.named_parameters()}


def test_it_is_stored_and_loaded(pair: tuple[nn.Module, Graph], tmp_path: Path) -> None:
    graph = pair[1]
    description = ModelDescription(
        model=Spec(name="graph", options=graph.options),
        feature=Feature(dtype="uint8", shape=SHAPE),
        normalization=Statistics(mean=[0.0] * 3, std=[1.0] * 3, scale=1.0),
        labels=[str(number) for number in range(CLASSES)],
        parameters=1,
    )
    place = Place.of(tmp_path)
    save_model(place, graph, description)
    loaded = load_model(place, read_description(place))
    batch = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(loaded(batch), graph(batch))
    assert not any(tensor.is_meta for tensor in loaded.state_dict().values())


def test_it_trains_as_the_network_does(pair: tuple[nn.Module, Graph]) -> None:
    network, graph = (copy.deepcopy(each) for each in pair)
    batch, labels = torch.randn(16, *SHAPE), torch.arange(16) % CLASSES

    def losses(model: nn.Module, *, training: bool) -> list[float]:
        model.train(training)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        found = []
        for _ in range(8):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), labels)
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        return found

    expected = losses(network, training=False)
    assert losses(graph, training=False) == pytest.approx(expected, rel=1e-3)
    after = losses(copy.deepcopy(graph), training=True)
    assert sum(after[-3:]) < sum(after[:3])


def test_it_travels(pair: tuple[nn.Module, Graph]) -> None:
    graph, batch = pair[1], torch.randn(2, *SHAPE)
    with torch.no_grad():
        for other in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
            assert torch.equal(other(batch), graph(batch))
    built = Graph(SHAPE, CLASSES, **json.loads(json.dumps(graph.options)))  # also without being on "meta"
    built.load_state_dict(graph.state_dict())
    with torch.no_grad():
        assert torch.equal(built.eval()(batch), graph(batch))


def test_training_mode_is_live() -> None:
    graph = as_graph(ALL["residual"](), torch.randn(2, *SHAPE))[0].train()
    batch = torch.randn(8, *SHAPE)
    before = graph.get_submodule("stem.1").running_mean.clone()
    assert not torch.equal(graph(batch), graph(batch))  # dropout
    assert not torch.equal(graph.get_submodule("stem.1").running_mean, before)
    assert int(graph.get_submodule("stem.1").num_batches_tracked) == 2
    assert isinstance(graph.get_submodule("drop"), nn.Dropout2d)


def test_layers_can_be_frozen_hooked_and_replaced() -> None:
    graph = as_graph(ALL["cnn"](), torch.randn(2, *SHAPE))[0]
    seen = []
    graph.get_submodule("layers.0").register_forward_hook(lambda *_: seen.append(1))
    graph.get_submodule("layers").add_module("9", nn.Linear(10, 11))
    for parameter in graph.get_submodule("layers.0").parameters():
        parameter.requires_grad_(False)
    assert graph(torch.randn(2, *SHAPE)).shape == (2, 11)
    assert seen == [1]


class _Ending(nn.Module):
    def __init__(self, ending: nn.Module, classes: int = CLASSES):
        super().__init__()
        self.fc, self.ending = nn.Linear(192, classes), ending

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(self.fc(x.flatten(1)))


class _Spatial(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(self.conv(x), 1)


@pytest.mark.parametrize("ending", [nn.Softmax(1), nn.Softmax(-1), nn.Sequential(nn.Softmax(1), nn.Flatten())])
def test_a_softmax_at_the_end_is_left_out(ending: nn.Module) -> None:
    network, batch = _Ending(ending), torch.randn(4, *SHAPE)
    graph, notes = as_graph(network, batch)
    assert "softmax" in notes[0]
    torch.testing.assert_close(graph(batch), network.fc(batch.flatten(1)))


def test_a_softmax_over_a_picture_of_one_pixel_is_left_out() -> None:
    network, batch = _Spatial(), torch.randn(4, *SHAPE)
    graph, _ = as_graph(network, batch)
    torch.testing.assert_close(graph(batch), network.conv(batch).flatten(1))


def test_logarithms_of_probabilities_stay() -> None:
    network, batch = _Ending(nn.LogSoftmax(1)), torch.randn(4, *SHAPE)
    torch.testing.assert_close(as_graph(network, batch)[0](batch), network(batch))


def test_one_logistic_output_is_two_classes() -> None:
    network, batch = _Ending(nn.Sigmoid(), 1), torch.randn(4, *SHAPE)
    graph, notes = as_graph(network, batch)
    assert "two classes" in notes[0]
    torch.testing.assert_close(graph(batch).softmax(1)[:, 1:], network(batch))
    with pytest.raises(ModelError, match="one number for each row"):
        as_graph(_Ending(nn.ReLU(), 1), batch)


@pytest.mark.parametrize("shape", [(CLASSES,), (CLASSES, 1, 1)])
def test_a_sigmoid_of_each_class_is_left_out(shape: tuple[int, ...]) -> None:
    network, batch = _Ending(nn.Sequential(nn.Sigmoid(), nn.Unflatten(1, shape))), torch.randn(4, *SHAPE)
    graph, notes = as_graph(network, batch)
    assert notes == (
        "the sigmoid of each class at the end is left out: the loss and the predictor have a softmax instead",
    )
    torch.testing.assert_close(graph(batch), network.fc(batch.flatten(1)))


def test_of_two_softmaxes_the_first_stays() -> None:
    network, batch = _Ending(nn.Sequential(nn.Softmax(1), nn.Softmax(1))), torch.randn(4, *SHAPE)
    graph, notes = as_graph(network, batch)
    assert len(notes) == 1
    torch.testing.assert_close(graph(batch).softmax(1), network(batch))


class _Fails(nn.Module):
    """Takes four rows, and once it has been traced none."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            raise KeyError("no table\nof words")
        return self.fc(x.flatten(1))


def test_why_a_network_fails_is_kept() -> None:
    with pytest.raises(ModelError, match=r"fails for a batch of \d+: KeyError.*\n.*of \d+: KeyError") as caught:
        as_graph(_Fails(), torch.randn(4, *SHAPE))
    causes, error = [], caught.value
    while (error := error.__cause__) is not None:
        causes.append(type(error))
    assert KeyError in causes


class _FixedRows(nn.Module):
    """As a frozen graph for batches of 4 has it."""

    def __init__(self, swap: bool = False):
        super().__init__()
        self.fc, self.swap = nn.Linear(192, CLASSES), swap

    def forward(self, x: Tensor) -> Tensor:
        if self.swap:
            x = x.reshape(2, 2, 3, 8, 8).transpose(0, 1).reshape(4, 192)
            return self.fc(x.reshape(2, 2, 192).transpose(0, 1).reshape(4, 192))
        return self.fc(torch.reshape(x, (4, 192)))


@pytest.mark.parametrize("swap", [False, True])
def test_a_batch_size_that_is_built_in_does_not_limit(swap: bool) -> None:
    network = _FixedRows(swap)
    graph, notes = as_graph(network, torch.randn(4, *SHAPE))
    assert bool(notes) == swap  # said only where batches are cut
    for rows in (1, 3, 4, 9):
        batch = torch.randn(rows, *SHAPE)
        torch.testing.assert_close(graph(batch), network.fc(batch.flatten(1)))
    assert graph.options.get("rows") == (4 if swap else None)


class _Writes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)[:, :5].clone()
        x[:, 0] = 0.0
        return x


class _Depends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5] if bool(x.sum() > 0) else x.flatten(1)[:, 5:10]


class _Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5] + torch.rand(5)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Writes(), "fill|other results|in place"),
        (_Depends(), r"cannot be traced by torch\.export"),
        (_Noisy(), r"operator rand\.default, which a graph cannot"),
        (nn.Conv2d(3, 4, 3), r"gives Bx4x6x6; a classifier gives BxK"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(7, 5)), "cannot be traced"),
    ],
)
def test_what_cannot_be_a_graph_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph_options(network, torch.randn(2, *SHAPE))


def test_the_network_is_left_as_it_was() -> None:
    network = ALL["residual"]().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    as_graph(network, torch.randn(2, *SHAPE))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
